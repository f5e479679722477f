"""Putting an answer's parts together from a stream, within a bound."""

from __future__ import annotations

from collections.abc import Hashable

from mitmesh.dialects.base import Kind, Part
from mitmesh.dialects.walk import size

_OVERHEAD = 100  # bytes that a part counts for besides its text, so that empty ones are bounded too


class Parts:
    """The parts of one answer while they grow. Each open one is named by a key (a block's index); pieces are joined
    when it is closed, for a string that grows piece by piece would be copied each time."""

    __slots__ = ("_left", "_new", "_news", "_open", "_parts", "_whole", "size")

    def __init__(self, parts: list[Part], limit: int) -> None:
        self._parts = parts
        self._left = limit
        self.size = 0
        """Bytes of text so far, names of tools and what there was no room for included."""
        self._open: dict[Hashable, tuple[Part, list[str]]] = {}
        self._news: list[str] | None = None
        self._new: list[tuple[Part, list[str], str]] | None = None
        self._whole = 0  # parts at the mark

    def open(self, key: Hashable, part: Part) -> bool:
        """A part begins, perhaps with text already in it. False where there is no room for it."""
        self.close(key)
        self._told(part.text)
        self._told(part.name or "")
        if not self._take(_OVERHEAD + size(part.text)):
            return False
        self._parts.append(part)
        self._open[key] = (part, [part.text])
        return True

    def last(self, key: Hashable) -> Part | None:
        """The open part of that key."""
        found = self._open.get(key)
        return found[0] if found else None

    def is_empty(self, key: Hashable) -> bool:
        """Did nothing come yet of the open part of that key?"""
        found = self._open.get(key)
        return found is not None and not any(found[1])

    def add(self, key: Hashable, text: str) -> bool:
        """More text of an open part; where none is open there is nothing to add to. False where there is no room."""
        found = self._open.get(key)
        if found is None:
            return True
        self._told(text)
        if not self._take(size(text)):
            return False
        found[1].append(text)
        if self._new is not None:
            self._new.append((*found, text))
        return True

    def news(self) -> str:
        """What came since it was last asked, as `size` counts it; the first time, all that is kept."""
        if self._news is None:
            growing = {id(part): pieces for part, pieces in self._open.values()}
            self._news = ["".join((part.name or "", *growing.get(id(part), (part.text,)))) for part in self._parts]
        came, self._news = "".join(self._news), []
        return came

    def mark(self) -> None:
        """An event begins, which `undo` may have to take back."""
        self._new, self._whole = [], len(self._parts)

    def undo(self) -> None:
        """Take back what was added since the mark."""
        for part, pieces, text in reversed(self._new or ()):
            pieces.pop()
            part.text = part.text.removesuffix(text)  # if it was closed since
        del self._parts[self._whole :]
        left = set(map(id, self._parts))
        self._open = {key: found for key, found in self._open.items() if id(found[0]) in left}

    def close(self, key: Hashable) -> None:
        """A part is whole."""
        if found := self._open.pop(key, None):
            part, pieces = found
            part.text = "".join(pieces) or ("{}" if part.kind is Kind.TOOL_CALL else "")

    def close_all(self) -> None:
        """No more will come."""
        for key in list(self._open):
            self.close(key)

    def _told(self, text: str) -> None:
        self.size += size(text)
        if self._news is not None and text:
            self._news.append(text)

    def _take(self, amount: int) -> bool:
        if amount > self._left:
            self._left = 0  # nothing after a gap: what is kept is a beginning
            return False
        self._left -= amount
        return True
