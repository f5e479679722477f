"""Bodies that are no JSON and can be read all the same: forms, uploads, JSON lines, plain text.

Each is read as a document whose strings are texts, as if it were JSON; a text that is set is spliced into the original
bytes. What is no text (a picture in an upload) is counted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, unquote_to_bytes

from mitmesh.wire.charset import decoded, encoded, wide
from mitmesh.wire.jsontext import BadPath, Body
from mitmesh.wire.multipart import is_multipart, parts

if TYPE_CHECKING:
    from mitmesh.dialects.base import Path

MOST_PIECES = 10_000
"""Texts that one body may hold."""
_CONTROLS = bytes([*range(8), 11, *range(14, 27), *range(28, 32), 127])
"""Control characters that texts do not have (escapes of terminals they do)."""
_FEW = 50
"""One control character of so many bytes may be in what does not say that it is a text."""
_TEXT = re.compile(r"text/|application/.*(json|xml|yaml|toml|script|sql|csv|urlencoded|graphql|x-sh)")
_BINARY = re.compile(
    r"image/(?!svg)|audio/|video/(?!mp2t)|font/|application/.*(proto|grpc|cbor|msgpack|thrift|avro|eventstream|zip|pdf|gzip)"
)
"""Types whose bytes are no text where they have a control character: an edit would damage them."""


class TooManyPieces(ValueError):
    """A form with more than MOST_PIECES texts."""


@dataclass(slots=True)
class Piece:
    """One text of a body: from which byte to which it stands there, and how it is written."""

    start: int
    end: int
    text: str
    encoding: str = "utf-8"
    quoted: bool = False
    """Is it URL-encoded?"""
    name: str = ""
    """The field it is the value of."""

    def written(self, text: str) -> bytes:
        """Another text as it would stand there. Raises ValueError for one with a lone surrogate."""
        raw = encoded(text, self.encoding)
        return quote_plus(raw).encode() if self.quoted else raw


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

    def named(self, name: str) -> list[str]:
        """The values of the fields of that name."""
        return [piece.text for piece in self._pieces if piece.name == name]

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
            piece = self._pieces[index]
            out += [self.raw[copied : piece.start], piece.written(self._new[index])]
            copied = piece.end
        return b"".join([*out, self.raw[copied:]])


def read_form(raw: bytes, content_type: str) -> TextBody | None:
    """The body as its Content-Type says it is to be read, else as one text; None for what is none. Raises BadUpload,
    TooManyPieces."""
    kind, charset = _type(content_type)
    opaque = 0
    pieces: list[Piece] | None
    if is_multipart(content_type):
        pieces, opaque = _parts(raw, content_type)
    elif kind == "application/x-www-form-urlencoded":
        pieces = _fields(raw)
    else:
        pieces = _texts(raw, 0, len(raw), kind, charset)
    if pieces is not None and len(pieces) > MOST_PIECES:
        raise TooManyPieces
    return None if pieces is None else TextBody(raw, pieces, opaque)


def _type(content_type: str) -> tuple[str, str]:
    """The type that a Content-Type names (empty: none) and its charset."""
    header = Message()
    header["content-type"] = content_type
    charset = header.get_param("charset", "")
    return header.get_content_type() if content_type else "", charset if isinstance(charset, str) else ""


def _texts(raw: bytes, start: int, end: int, kind: str, charset: str = "") -> list[Piece] | None:
    """Bytes as one text; None where they are none."""
    part = raw[start:end]
    if not _is_text(part, kind):
        return None
    text, encoding = decoded(part, charset)
    return [Piece(start, end, text, encoding)] if text else []


def _is_text(part: bytes, kind: str) -> bool:
    """What calls itself a text is one, whatever is in it. Of anything else the bytes decide."""
    if _TEXT.match(kind):
        return True
    controls = len(part) - len(part.translate(None, _CONTROLS))
    if _BINARY.match(kind):
        return not controls and b"\x1b" not in part
    return controls <= 1 + len(part) // _FEW or wide(part)


def is_binary(content_type: str) -> bool:
    """Does it say that its bytes are no text: media, an archive, a protocol's messages?"""
    return _BINARY.match(_type(content_type)[0]) is not None


def _fields(raw: bytes) -> list[Piece] | None:
    if not raw.isascii():
        return _texts(raw, 0, len(raw), "text/plain")  # no form then; as a text it is read all the same
    text, pieces, at = raw.decode(), [], 0
    for field in text.split("&"):
        name, sign, value = field.partition("=")
        for start, said, key in ((at, name, ""), (at + len(name) + len(sign), value, name)):
            if said:
                of = decoded(unquoted(key))[0]
                pieces.append(Piece(start, start + len(said), *decoded(unquoted(said)), quoted=True, name=of))
        at += len(field) + 1
    return pieces


def unquoted(said: str) -> bytes:
    """A form's or a query's word as the bytes it stands for."""
    return unquote_to_bytes(said.replace("+", " "))


def _parts(raw: bytes, content_type: str) -> tuple[list[Piece], int]:
    """The texts of an upload: each part's own and its header (which has a file's name). And the bytes of parts that are
    no text. Raises BadUpload."""
    pieces: list[Piece] = []
    opaque = 0
    for part in parts(raw, content_type):
        pieces += _texts(raw, *part.head, "text/plain") or []
        texts = _texts(raw, *part.content, *_type(part.kind))
        for text in texts or ():
            text.name = part.name
        if texts is None:
            opaque += part.content[1] - part.content[0]
        else:
            pieces += texts
    return pieces, opaque
