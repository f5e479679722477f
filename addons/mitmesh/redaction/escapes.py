"""A text with JSON in it that nobody declared (a file that a tool read, a log) as people read it, and edits of it.

There `bob\\u0040example.com` is an address, and in `\\nsk-...` the key begins behind the `n`: a finder has to see both.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

UNICODE = r"\\{1,16}u(?![dD][89a-fA-F])[0-9a-fA-F]{4}"
"""A character by its number, however many strings of JSON it lies in."""
_STEP = re.compile(r"\\(?:(?P<number>\\{0,15}u(?![dD][89a-fA-F])[0-9a-fA-F]{4})|\\|(?P<plain>[nrt\"]))")
"""A character by its number (UNICODE but for its first sign), an escaped backslash, another escape. The first sign is
one and the same: so a text without any is passed over in a thousandth of the time."""
_PLAIN = {"n": "\n", "r": "\r", "t": "\t", '"': '"'}
_OTHER = re.compile(r"\\[nrt\"]")
_MEMBER = re.compile(r"""["']\s{1,4}:""")


def is_escaped(text: str) -> bool:
    """Has the text escapes that must be read as what they stand for? Of white space and quotes only where it looks like
    JSON: a path may have a backslash before an `n`."""
    if "\\" not in text:
        return False
    if "\\u" in text:
        return True
    if not _OTHER.search(text):
        return False
    return '":' in text or "':" in text or _MEMBER.search(text) is not None


def char(escape: str) -> str:
    """The character of an escape in UNICODE."""
    return chr(int(escape[-4:], 16))


class EscapedText:
    """Such a text. `text` is as people read it."""

    __slots__ = ("_found", "_more", "_raw", "_read", "_shift", "_written", "text")

    def __init__(self, raw: str) -> None:
        self._raw = raw
        self._found, self._more, self._shift = _STEP.finditer(raw), True, 0
        self._read: list[int] = []
        self._written: list[int] = []
        self.text = _plain(raw)

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of a span that can be edited: all of it."""
        return [(start, end)]

    def written(self, start: int, end: int) -> list[tuple[int, int]]:
        """The same, as places in the text as written."""
        return [(self._place(start), self._place(end))]

    def edited(self, edits: Iterable[tuple[int, int, str]]) -> str:
        """The text as written with these edits (in order, places as read)."""
        out, copied = [], 0
        for start, end, new in edits:
            out += [self._raw[copied : self._place(start)], new]
            copied = self._place(end)
        return "".join(out) + self._raw[copied:]

    def _place(self, at: int) -> int:
        """Where in the text as written a place as read lies."""
        while self._more and (not self._read or self._read[-1] <= at):
            self._find_step()
        step = bisect_right(self._read, at) - 1
        return at if step < 0 else self._written[step] + at - self._read[step]

    def _find_step(self) -> None:
        """Note the next place behind an escape."""
        found = next(self._found, None)
        if found is None:
            self._more = False
        elif found.lastgroup:
            self._shift += found.end() - found.start() - 1
            self._read.append(found.end() - self._shift)
            self._written.append(found.end())


def _plain(raw: str) -> str:
    """The same steps by means that are fast on long texts: most have nothing in them that is to be edited."""
    if "\\u" in raw:
        return _STEP.sub(_one, raw)
    pieces = raw.split("\\")
    out, at, last = [pieces[0]], 1, len(pieces)
    while at < last:
        piece = pieces[at]
        at += 1
        if plain := _PLAIN.get(piece[:1]):
            out += (plain, piece[1:])
        elif piece or at == last:
            out += ("\\", piece)
        else:  # an escaped backslash stays, and what follows it is no escape
            out += ("\\\\", pieces[at])
            at += 1
    return "".join(out)


def _one(found: re.Match[str]) -> str:
    if number := found["number"]:
        return char(number)
    return _PLAIN[found["plain"]] if found["plain"] else found[0]
