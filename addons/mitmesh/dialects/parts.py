"""Putting an answer's parts together from a stream, within a bound."""

from __future__ import annotations

from collections.abc import Hashable

from mitmesh.dialects.base import Kind, Part
from mitmesh.dialects.walk import size

_OVERHEAD = 100  # bytes that a part counts for besides its text, so that empty ones are bounded too


class Parts:
    """The parts of one answer while they grow. Each open one is named by a key (a block's index); pieces are joined
    when it is closed, for a string that grows piece by piece would be copied each time."""

    __slots__ = ("_left", "_open", "_parts", "size")

    def __init__(self, parts: list[Part], limit: int) -> None:
        self._parts = parts
        self._left = limit
        self.size = 0
        """Bytes of text so far."""
        self._open: dict[Hashable, tuple[Part, list[str]]] = {}

    def open(self, key: Hashable, part: Part) -> bool:
        """A part begins, perhaps with text already in it. False where there is no room for it."""
        self.close(key)
        if not self._take(_OVERHEAD + size(part.text)):
            return False
        self.size += size(part.text)
        self._parts.append(part)
        self._open[key] = (part, [part.text])
        return True

    def last(self, key: Hashable) -> Part | None:
        """The open part of that key."""
        found = self._open.get(key)
        return found[0] if found else None

    def add(self, key: Hashable, text: str) -> bool:
        """More text of an open part; where none is open there is nothing to add to. False where there is no room."""
        found = self._open.get(key)
        if found is None:
            return True
        if not self._take(size(text)):
            return False
        self.size += size(text)
        found[1].append(text)
        return True

    def texts(self) -> list[str]:
        """The texts of all parts, as far as they go."""
        growing = {id(part): pieces for part, pieces in self._open.values()}
        return ["".join(growing.get(id(part), (part.text,))) for part in self._parts]

    def close(self, key: Hashable) -> None:
        """A part is whole."""
        if found := self._open.pop(key, None):
            part, pieces = found
            part.text = "".join(pieces) or ("{}" if part.kind is Kind.TOOL_CALL else "")

    def close_all(self) -> None:
        """No more will come."""
        for key in list(self._open):
            self.close(key)

    def _take(self, amount: int) -> bool:
        if amount > self._left:
            self._left = 0  # nothing after a gap: what is kept is a beginning
            return False
        self._left -= amount
        return True
