"""Bytes as text and back, every byte kept: UTF-8, UTF-16 and UTF-32 by their marks or their looks, or as declared.

A byte that is no UTF-8 becomes a private sign of its own (see SIGNS), which nobody's text has, so that what stands
around it is read, and it leaves as it came.
"""

from __future__ import annotations

import codecs
import re

SIGNS = "\uf780-\uf7ff"
"""The signs for single bytes from 0x80 to 0xff, as a range of a character class."""
_SIGN = re.compile(f"[{SIGNS}]")
_TO_SIGNS = {0xDC80 + n: 0xF780 + n for n in range(128)}
_TO_BYTES = {sign: byte for byte, sign in _TO_SIGNS.items()}
BYTES = "bytes"
"""The encoding of a text with such signs."""
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
_FEW = 20
"""One character of so many with a zero byte makes bytes that are no UTF-8 UTF-16: a space, a full stop, an address."""


def decoded(raw: bytes, declared: str = "") -> tuple[str, str]:
    """The text that the bytes are, and its encoding for `encoded`. `declared` is a charset, known or not. Never raises,
    and nothing is lost."""
    for encoding in (*_marked(raw), *_looks(raw), "utf-8", *_known(declared)):
        try:
            text = raw.decode(encoding)
            if text.encode(encoding) == raw:
                return text, encoding
        except (UnicodeError, LookupError):
            continue
    text = raw.decode("utf-8", "surrogateescape")
    return (raw.decode("latin-1"), "latin-1") if _SIGN.search(text) else (text.translate(_TO_SIGNS), BYTES)


def encoded(text: str, encoding: str) -> bytes:
    """The bytes of a text. Raises UnicodeError for what the encoding cannot say."""
    if encoding == BYTES:
        return text.translate(_TO_BYTES).encode("utf-8", "surrogateescape")
    return text.encode(encoding)


def wide(raw: bytes) -> bool:
    """Is it UTF-16 or UTF-32, by its mark or by its looks?"""
    return bool(_marked(raw) or _looks(raw))


def _marked(raw: bytes) -> list[str]:
    return [encoding for mark, encoding in _MARKS if raw.startswith(mark)]


def _looks(raw: bytes) -> list[str]:
    """UTF-16 without a mark: every zero byte is the same half of its character, and there are some; what is UTF-8 too
    has one in nearly every character. (A text with a few zeros is a text with a few zeros.)"""
    if len(raw) % 2 or b"\0" not in raw:
        return []
    low, high = raw[::2].count(0), raw[1::2].count(0)
    if (low and high) or max(low, high) * _FEW * 2 < len(raw):
        return []
    if max(low, high) * 2.2 < len(raw):
        try:
            raw.decode()
        except UnicodeDecodeError:
            pass
        else:
            return []
    return ["utf-16-be" if low else "utf-16-le"]


def _known(declared: str) -> list[str]:
    """A declared charset; none but those that are text to text, and keep ASCII."""
    try:
        name = codecs.lookup(declared).name if declared else ""
    except (LookupError, ValueError):
        return []
    return [name] if name.startswith(("iso8859", "cp125", "utf-16", "utf-32", "koi8", "mac-roman")) else []
