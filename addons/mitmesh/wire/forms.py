"""Bodies that are no JSON and can be read all the same: forms, uploads, JSON lines, plain text.

Each is read as a document whose strings are texts, as if it were JSON; a text that is set is spliced into the original
bytes. What is no text (a picture in an upload) is counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, unquote_plus

from mitmesh.wire.jsontext import BadPath, Body

if TYPE_CHECKING:
    from mitmesh.dialects.base import Path

MOST_PIECES = 10_000
"""Texts that one body may hold; one with more is not read."""
_PRINTED = bytes([9, 10, 12, 13, *range(32, 127), *range(128, 256)])
"""All bytes but control characters."""
_ASCII = re.compile(rb"[\x00-\x7f]+")
_DISPOSITION = re.compile(rb"\r\ncontent-disposition:[^\r\n]*", re.IGNORECASE)


@dataclass(slots=True)
class Piece:
    """One text of a body: from which byte to which it stands there, and how it is written."""

    start: int
    end: int
    text: str
    quoted: bool = False
    """Is it URL-encoded?"""
    name: str = ""
    """The field it is the value of."""


class TextBody(Body):
    """A body of pieces. `doc` is the list of their texts; `opaque` are the bytes that are no text."""

    __slots__ = ("_new", "_pieces", "opaque")

    def __init__(self, raw: bytes, pieces: list[Piece], opaque: int = 0) -> None:
        super().__init__(raw, [piece.text for piece in pieces])
        self._pieces, self.opaque = pieces, opaque
        self._new: dict[int, str] = {}

    @property
    def changed(self) -> bool:
        """Was any text set that was not so before?"""
        return bool(self._new)

    def name_of(self, path: Path) -> str:
        """The field that the piece at `path` is the value of; empty where that is not known."""
        index = path[0]
        return self._pieces[index].name if isinstance(index, int) and index < len(self._pieces) else ""

    def set(self, path: Path, value: Any) -> None:
        """Put a text in the place of the piece at `path`. Raises BadPath for any other."""
        index = path[0] if len(path) == 1 else None
        if not isinstance(index, int) or not 0 <= index < len(self._pieces) or not isinstance(value, str):
            raise BadPath("a form has no place for that")
        if value != self._pieces[index].text:
            self._new[index] = self.doc[index] = value

    def render(self) -> bytes:
        """The body's bytes now. Raises ValueError for a text with a lone surrogate."""
        out, copied = [], 0
        for index in sorted(self._new):
            piece, text = self._pieces[index], self._new[index]
            out += [self.raw[copied : piece.start], (quote_plus(text) if piece.quoted else text).encode()]
            copied = piece.end
        return b"".join([*out, self.raw[copied:]])


def read_form(raw: bytes, content_type: str) -> TextBody | None:
    """The body as its Content-Type says it is to be read, else as one text; None for what is none, or has too many."""
    header = Message()
    header["content-type"] = content_type
    kind = header.get_content_type() if content_type else ""
    pieces: list[Piece] | None
    opaque = 0
    if kind == "multipart/form-data" and isinstance(boundary := header.get_param("boundary"), str) and boundary:
        pieces, opaque = _parts(raw, boundary.encode("latin-1", "replace"))
    elif kind == "application/x-www-form-urlencoded":
        pieces = _fields(raw)
    else:
        pieces = _texts(raw, 0, len(raw))
    return None if pieces is None or len(pieces) > MOST_PIECES else TextBody(raw, pieces, opaque)


def _texts(raw: bytes, start: int, end: int) -> list[Piece] | None:
    """Bytes as one text. In what is not UTF-8 each run of ASCII is one: a byte that no encoding has must hide nothing
    beside it. None where they are no text (protobuf often is UTF-8, but has control characters)."""
    part = raw[start:end]
    if part.translate(None, _PRINTED) != b"":
        return None
    try:
        return [Piece(start, end, part.decode())]
    except UnicodeDecodeError:
        runs = _ASCII.finditer(part)
        return [Piece(start + run.start(), start + run.end(), run[0].decode()) for run in runs] or None


def _fields(raw: bytes) -> list[Piece] | None:
    if not raw.isascii() or raw.translate(None, _PRINTED) != b"":
        return _texts(raw, 0, len(raw))  # no form then; as a text it is read all the same
    text, pieces, at = raw.decode(), [], 0
    for field in text.split("&"):
        name, sign, value = field.partition("=")
        if name:
            pieces.append(Piece(at, at + len(name), unquote_plus(name), quoted=True))
        if value:
            start = at + len(name) + len(sign)
            pieces.append(Piece(start, start + len(value), unquote_plus(value), quoted=True, name=unquote_plus(name)))
        at += len(field) + 1
    return pieces


def _parts(raw: bytes, boundary: bytes) -> tuple[list[Piece] | None, int]:
    """The texts of an upload: each part's own, and what its header says of it (a file's name). And the bytes of parts
    that are no text."""
    pieces: list[Piece] = []
    opaque = 0
    mark = b"--" + boundary
    at = raw.find(mark)
    if at < 0:
        return None, 0
    while not raw.startswith(b"--", at + len(mark)):
        head_end = raw.find(b"\r\n\r\n", at)
        following = raw.find(b"\r\n" + mark, max(head_end, at))
        if head_end < 0 or following < 0:
            return None, 0  # no upload that ends in order
        begin = min(head_end + 4, following)
        head = raw[at + len(mark) : head_end]
        for found in _DISPOSITION.finditer(head):
            start = at + len(mark) + found.start() + 2
            pieces += _texts(raw, start, start + len(found[0]) - 2) or []
        texts = _texts(raw, begin, following) if following > begin else []
        if texts is None:
            opaque += following - begin
        else:
            pieces += texts
        at = following + 2
    return pieces, opaque
