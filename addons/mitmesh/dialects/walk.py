"""Ways through parsed JSON that the dialects share: finding strings, reading fields of unsure type, writing events."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from mitmesh.dialects.base import Path, Provenance, Text

NOTHING: frozenset[str] = frozenset()
SCHEMA_TYPES = frozenset({"string", "object", "array", "number", "integer", "boolean", "null"})
"""JSON Schema's values of `type`, in lower case (Gemini writes them in upper case): no texts, and most of the strings
of a tool definition."""

_NAME = re.compile(r"(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_.:/-]{1,128}")
_WORD = re.compile(r"\S+\s*|\s+")


def strings(
    value: Any, path: Path = (), skip: frozenset[str] = NOTHING, schema: bool = False
) -> Iterator[tuple[Path, str]]:
    """Every non-empty string at and below `value` with its path, in document order, but those directly under a key in
    `skip` that look like a name, and in a `schema` the type names. Iterative: as deep as the document goes."""
    todo: list[tuple[Path, Any]] = [(path, value)]
    while todo:
        path, value = todo.pop()
        if isinstance(value, str):
            if value:
                yield path, value
        elif isinstance(value, list):
            todo.extend([((*path, index), value[index]) for index in range(len(value) - 1, -1, -1)])
        elif isinstance(value, dict):
            for key in reversed(value):
                below = value[key]
                if isinstance(below, str):
                    if (key in skip and is_name(below)) or (schema and is_schema_type(key, below)):
                        continue
                elif not isinstance(below, (dict, list)):
                    continue
                todo.append(((*path, key), below))


def is_schema_type(key: str, value: str) -> bool:
    """Is this `"type": "string"` or the like?"""
    return key == "type" and value.lower() in SCHEMA_TYPES


def is_name(value: str) -> bool:
    """Does it look like an id or an API's own word: no spaces, no `@`, not digits alone, at most 128 characters?"""
    return _NAME.fullmatch(value) is not None or not value


_SEALED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-\r\n"


def is_sealed(value: Any) -> bool:
    """Does it look like what a provider signed or encrypted, or like media: base64, and no number? Else it is a text,
    whatever its key says."""
    if not isinstance(value, str) or not value.isascii():
        return False
    raw = value.encode()
    return not raw.translate(None, _SEALED) and bool(raw.translate(None, b"0123456789+/=_-\r\n"))


class Finder:
    """Collects a request's text positions and counts what is opaque (bytes). `provider`: is what is looked at now the
    provider's own message, so that it may have sealed parts?"""

    __slots__ = ("opaque", "provider", "texts")

    def __init__(self) -> None:
        self.texts: list[Text] = []
        self.opaque = 0
        self.provider = False

    def text(self, path: Path, provenance: Provenance, text: str, message: int) -> None:
        """One text position; an empty string is none."""
        if text:
            self.texts.append(Text(path, provenance, text, message))

    def every(
        self, value: Any, path: Path, provenance: Provenance, message: int = -1, skip: frozenset[str] = NOTHING
    ) -> None:
        """Every string at and below `value` is a text, but those directly under a key in `skip`."""
        self.texts.extend([Text(at, provenance, text, message) for at, text in strings(value, path, skip)])

    def tool(self, value: Any, path: Path, message: int) -> None:
        """Every string of a tool's definition, its schema's type names and the fields in IDENTIFIERS excepted."""
        found = strings(value, path, schema=True)
        self.texts.extend([Text(at, Provenance.TOOL_DEFINITION, text, message) for at, text in found])

    def hide(self, value: Any) -> None:
        """Whatever strings are at and below `value` are carried, not read."""
        self.opaque += sum(size(text) for _, text in strings(value))


def size(text: str) -> int:
    """Length in bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def obj(value: Any) -> dict[str, Any]:
    """The value where it is an object, an empty one where it is something else."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The value where it is a list, an empty one where it is something else."""
    return value if isinstance(value, list) else []


def more_than(doc: dict[str, Any], known: frozenset[str]) -> bool:
    """Has the object any field but these that is not empty?"""
    return any(value and name not in known for name, value in doc.items())


def string(value: Any) -> str | None:
    """The value where it is a non-empty string."""
    return value if isinstance(value, str) and value else None


_MOST = 2**40
"""No number of tokens that anybody means; and what is larger than 2**63 no database takes."""


def count(value: Any) -> int:
    """The value where it is a number of something, 0 where it is something else."""
    return value if type(value) is int and 0 < value < _MOST else 0


def limit(value: Any) -> int | None:
    """The value where it is a positive whole number, at most 2**40."""
    return min(value, _MOST) if type(value) is int and value > 0 else None


def arguments(text: str) -> dict[str, Any]:
    """A tool call's arguments from their JSON text; empty where they are no object (a cut stream)."""
    try:
        return obj(json.loads(text)) if text else {}
    except (ValueError, RecursionError):
        return {}


def dump(value: Any) -> str:
    """Compact JSON text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encode(value: Any) -> bytes:
    """Compact JSON in UTF-8; a lone surrogate, which UTF-8 cannot say, stays a JSON escape."""
    return dump(value).encode("utf-8", "backslashreplace")


def sse(value: Any, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + encode(value) + b"\n\n"


def words(text: str) -> list[str]:
    """The text in pieces that each end with a word's trailing space; joined they are the text. A piece is a word, or in
    a long text several: an event for each word would take seconds to write."""
    if len(text) <= _WORD_BY_WORD:
        return _WORD.findall(text)
    return re.findall(rf"[\s\S]{{{len(text) // _PIECES}}}\S*\s*|[\s\S]+", text)


_WORD_BY_WORD, _PIECES = 2_000, 256
"""Characters of a text that is given word by word, and about how many pieces a longer one becomes."""
