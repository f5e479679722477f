"""The parts of an upload (RFC 7578), where every reader would cut it alike; what readers differ about is refused.

Something before the first part or behind the last, a boundary within a part, lines that end otherwise, a second
boundary, a transfer encoding: one reader skips it and another takes it for content, so nobody could say what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value

_BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]")
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*(?:\r\n[ \t][^\r\n\0]*)*")
_ENCODED_WORD = re.compile(rb"=\?[^? ]+\?[bqBQ]\?")
_PLAIN = ("", "7bit", "8bit", "binary")


class BadUpload(ValueError):
    """Readers may differ about what this upload says; the message tells why, never its content."""


@dataclass(slots=True, frozen=True)
class Part:
    """One part, as places in the body: its header block and its content; and what it gives of itself: its Content-Type
    and the name of its field."""

    head: tuple[int, int]
    content: tuple[int, int]
    kind: str
    name: str


def is_multipart(content_type: str) -> bool:
    """Does a Content-Type say that the body is in parts?"""
    return content_type.lstrip().lower().startswith("multipart/")


def parts(raw: bytes, content_type: str) -> Iterator[Part]:
    """The parts, in order. Raises BadUpload."""
    mark = b"--" + _boundary(content_type)
    if not raw.startswith(mark):
        raise BadUpload("it does not begin with its boundary")
    at, marks = 0, 1
    while not raw.startswith(b"--", at + len(mark)):
        if not raw.startswith(b"\r\n", at + len(mark)):
            raise BadUpload("a line begins with its boundary and goes on otherwise")
        start = at + len(mark) + 2
        following = raw.find(b"\r\n" + mark, start - 2)
        head_end = raw.find(b"\r\n\r\n", start - 2, following + 2)
        if following < 0 or head_end < 0:
            raise BadUpload("it does not end in order, or a part has no header")
        content = min(head_end + 4, following)
        kind, name = _said(raw[start : max(start, head_end)])
        yield Part((start, max(start, head_end)), (content, following), kind, name)
        at, marks = following + 2, marks + 1
    if raw[at + len(mark) + 2 :].strip(b" \t\r\n"):
        raise BadUpload("something stands behind its last part")
    if raw.count(mark) != marks:
        raise BadUpload("its boundary stands within a part")


def _boundary(content_type: str) -> bytes:
    header = Message()
    header["content-type"] = content_type
    given = [value for name, value in header.get_params([]) if name.lower() == "boundary"]
    if len(given) != 1 or content_type.lower().count("boundary") != 1 + given[0].lower().count("boundary"):
        raise BadUpload("its Content-Type does not give one boundary")
    if not _BOUNDARY.fullmatch(given[0]):
        raise BadUpload("its boundary is none")
    return given[0].encode()


def _said(head: bytes) -> tuple[str, str]:
    """The Content-Type and the field's name that a part's header gives. Raises BadUpload where the header can be read
    in two ways."""
    at, named = 0, set()
    kind = field = ""
    while at < len(head):
        if (found := _HEADER.match(head, at)) is None or head[found.end() : found.end() + 2] not in (b"", b"\r\n"):
            raise BadUpload("a part's header has a line that is none")
        name, _, value = found[0].partition(b":")
        name = name.lower()
        if name in named or _ENCODED_WORD.search(value):
            raise BadUpload("a part's header gives a field twice, or an encoded one")
        named.add(name)
        if name == b"content-transfer-encoding" and value.decode("latin-1").strip().lower() not in _PLAIN:
            raise BadUpload("a part has a transfer encoding")
        if name == b"content-type":
            kind = value.decode("latin-1").strip()
        if name == b"content-disposition":
            field = _field(value.decode("utf-8", "replace").strip())
        at = found.end() + 2
    return kind, field


def _field(disposition: str) -> str:
    """The name that a Content-Disposition gives. Raises BadUpload for two of them."""
    header = Message()
    header["content-disposition"] = disposition
    given = [value for name, value in header.get_params([], "content-disposition") if name.lower() == "name"]
    if len(given) > 1:
        raise BadUpload("a part's header names two fields")
    return collapse_rfc2231_value(given[0]) if given else ""
