"""The JSON text within a string (a tool call's arguments) as people read it, and edits of it that keep it JSON.

A finder must see `bob@example.com` where the text says `bob\\u0040example.com`, and what is put in its place must leave
the document valid. The text need not be valid itself: agents send back what a cut stream left them with.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field

from mitmesh.redaction.escapes import UNICODE, EscapedText, char, is_escaped
from mitmesh.redaction.gaps import GappedText, has_gaps

_STRING = re.compile(r'"((?:[^"\\]++|\\.)*+)"', re.DOTALL)
_PAIR = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_ESCAPE = re.compile(rf"{_PAIR}|{UNICODE}|\\u[0-9a-fA-F]{{4}}|\\.", re.DOTALL)
_DEEPER = re.compile(rf"{_PAIR}|{UNICODE}|\\u[0-9a-fA-F]{{4}}|\\{{4}}|\\\\[nrt]|\\.", re.DOTALL)
"""The same where a string holds JSON in turn, of which white space is read too."""
_NUMBER = re.compile(r"-?[0-9][0-9.eE+-]*")

type Edit = tuple[int, int, str]
"""Start and end in the text as read, and what comes there."""


@dataclass(slots=True)
class _Piece:
    """A run of the text: the content of a string, or what lies between two. `steps` are the places behind each
    escape: (place as read, place as written)."""

    start: int
    end: int
    raw: int
    is_string: bool
    steps: list[tuple[int, int]] = field(default_factory=list)

    def written(self, at: int) -> int:
        """Where in the text as written a place as read lies."""
        step = bisect_right(self.steps, (at, 1 << 62)) - 1
        if step < 0:
            return self.raw + at - self.start
        read, raw = self.steps[step]
        return raw + at - read


class JsonView:
    """One JSON text. `text` is as people read it: its strings without their escapes."""

    __slots__ = ("_pieces", "_raw", "text")

    def __init__(self, raw: str) -> None:
        self._raw = raw
        self._pieces: list[_Piece] | None = None
        self.text = raw if "\\" not in raw else "".join(self._read())

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of a span that lie in one string each, or in a number: an edit of one keeps the JSON valid."""
        pieces = self._all()
        found = []
        for piece in pieces[self._index(start) :]:
            if piece.start >= end:
                break
            left, right = max(start, piece.start), min(end, piece.end)
            if piece.is_string:
                found.append((left, right))
            else:
                found += [
                    n.span() for n in _NUMBER.finditer(self.text, piece.start, piece.end) if _meet(n, left, right)
                ]
        return [(left, right) for left, right in found if left < right]

    def written(self, start: int, end: int) -> list[tuple[int, int]]:
        """The same parts, as places in the text as written."""
        return [
            (self._all()[self._index(left)].written(left), self._all()[self._index(left)].written(right))
            for left, right in self.within(start, end)
        ]

    def edited(self, edits: Iterable[Edit]) -> str:
        """The JSON text with these edits (in order, each within one part); new text needs no escapes."""
        out, copied = [], 0
        for start, end, new in edits:
            piece = self._all()[self._index(start)]
            left, right = piece.written(start), piece.written(end)
            whole = not piece.is_string and _NUMBER.fullmatch(self.text, start, end)
            out += [self._raw[copied:left], f'"{new}"' if whole else new]
            copied = right
        return "".join(out) + self._raw[copied:]

    def _index(self, at: int) -> int:
        return max(0, bisect_right(self._all(), at, key=lambda piece: piece.start) - 1)

    def _all(self) -> list[_Piece]:
        if self._pieces is None:
            for _ in self._read():
                pass
        assert self._pieces is not None
        return self._pieces

    def _read(self) -> Iterable[str]:
        """Cut the raw text into pieces; gives each as it is read."""
        self._pieces, at, done = [], 0, 0
        for found in _STRING.finditer(self._raw):
            yield from self._add(self._raw[done : found.start() + 1], at, done)
            at += found.start() + 1 - done
            text = found[1]
            if "\\" in text:
                piece = _Piece(at, at, found.start(1), True)
                text = _unescaped(text, piece)
                self._pieces.append(piece)
            else:
                self._pieces.append(_Piece(at, at + len(text), found.start(1), True))
            yield text
            at, done = at + len(text), found.end(1)
        yield from self._add(self._raw[done:], at, done)

    def _add(self, text: str, at: int, raw: int) -> Iterable[str]:
        """What lies between two strings, their quotes included."""
        assert self._pieces is not None
        self._pieces.append(_Piece(at, at + len(text), raw, False))
        yield text


def _meet(found: re.Match[str], left: int, right: int) -> bool:
    return found.start() < right and found.end() > left


def _unescaped(text: str, piece: _Piece) -> str:
    """A string's content as read; notes in the piece where the escapes were, and its end."""
    out: list[str] = []
    at, done = piece.start, 0
    for found in (_DEEPER if '\\\\"' in text or '\\":' in text else _ESCAPE).finditer(text):
        plain = text[done : found.start()]
        read = _char(found[0])
        out += [plain, read]
        at += len(plain) + len(read)
        done = found.end()
        if len(read) == 2 and done - found.start() == 4:  # two backslashes: a span may begin or end between them
            piece.steps.append((at - 1, piece.raw + done - 2))
        piece.steps.append((at, piece.raw + done))
    out.append(text[done:])
    piece.end = at + len(text) - done
    return "".join(out)


def _char(escape: str) -> str:
    if escape.startswith("\\\\"):  # deeper than this document
        return _DEEP.get(escape) or char(escape)
    try:
        read: str = json.loads(f'"{escape}"')
    except ValueError:  # no escape of JSON: it is read as it is written
        return escape
    return read


_DEEP = {"\\\\": "\\", "\\" * 4: "\\\\", "\\\\n": "\n", "\\\\r": "\r", "\\\\t": "\t"}


type View = JsonView | EscapedText | GappedText


def view_of(text: str, *, is_json: bool) -> View | None:
    """A view of a text that does not stand as people read it; None for one that does."""
    if is_json:
        return JsonView(text)
    if has_gaps(text):
        return GappedText(text)
    return EscapedText(text) if is_escaped(text) else None


def edited(text: str, view: View | None, edits: Iterable[Edit]) -> str:
    """A text with these edits (in order, without overlap); in JSON, where there is a view of it."""
    if view:
        return view.edited(edits)
    out, copied = [], 0
    for start, end, new in edits:
        out += [text[copied:start], new]
        copied = end
    return "".join(out) + text[copied:]
