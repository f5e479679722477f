"""A text with signs in it that nobody sees (colours of a terminal, bytes of no encoding), as people read it.

`ann\\xff@example.com` and an address of which a tool has marked half in red are addresses. An edit takes with it what
stands unseen in what it replaces, and at its ends.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from mitmesh.redaction.escapes import EscapedText, is_escaped
from mitmesh.wire.charset import SIGNS

_GAP = re.compile(rf"(?:[{SIGNS}]|\x1b\[[0-9;?]{{0,16}}[A-Za-z])+")


def has_gaps(text: str) -> bool:
    """Is there anything in it that is not seen?"""
    if "\x1b[" in text:
        return True
    if text.isascii():
        return False
    raw = text.encode("utf-8", "surrogatepass")  # a search of bytes takes a hundredth of the pattern's time
    return b"\xef\x9e" in raw or b"\xef\x9f" in raw


class GappedText:
    """Such a text. `text` is as people read it."""

    __slots__ = ("_ends", "_inner", "_raw", "_seen", "_starts", "text")

    def __init__(self, raw: str) -> None:
        self._raw = raw
        self._seen: list[int] = []
        self._starts: list[int] = []
        self._ends: list[int] = []
        unseen = 0
        for gap in _GAP.finditer(raw):
            self._seen.append(gap.start() - unseen)
            self._starts.append(gap.start())
            self._ends.append(gap.end())
            unseen += gap.end() - gap.start()
        plain = _GAP.sub("", raw)
        self._inner = EscapedText(plain) if is_escaped(plain) else None
        self.text = self._inner.text if self._inner else plain

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of a span that can be edited: all of it."""
        return [(start, end)]

    def written(self, start: int, end: int) -> list[tuple[int, int]]:
        """The same, as places in the text as written."""
        if self._inner:
            start, end = self._inner.written(start, end)[0]
        before, behind = bisect_left(self._seen, start), bisect_right(self._seen, end) - 1
        left = self._starts[before] if self._at(before, start) else self._place(start)
        return [(left, self._ends[behind] if self._at(behind, end) else self._place(end))]

    def edited(self, edits: Iterable[tuple[int, int, str]]) -> str:
        """The text as written with these edits (in order, places as read)."""
        out, copied = [], 0
        for start, end, new in edits:
            (left, right), *_ = self.written(start, end)
            out += [self._raw[copied:left], new]
            copied = max(copied, right)
        return "".join(out) + self._raw[copied:]

    def _at(self, gap: int, place: int) -> bool:
        return 0 <= gap < len(self._seen) and self._seen[gap] == place

    def _place(self, at: int) -> int:
        """Where in the text as written a place as read lies, which is no gap's."""
        gap = bisect_left(self._seen, at) - 1
        return at if gap < 0 else self._ends[gap] + at - self._seen[gap]
