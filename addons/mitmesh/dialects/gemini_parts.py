"""The parts of Gemini's contents, and what in them is a text.

Google takes every field in camelCase and in snake_case, so fields are looked up by their camelCase name. Strings under
a key in `IDENTIFIERS` that look like a name are no texts; inline data and thought signatures are counted, not read;
every other string is a text.
"""

from __future__ import annotations

from typing import Any

from mitmesh.dialects.base import Path, Provenance
from mitmesh.dialects.walk import Finder, is_name, is_sealed, items

IDENTIFIERS = frozenset({"id", "name", "mimeType", "language", "outcome", "toolType", "scheduling", "level"})
"""Keys of parts and tools, in camelCase, whose strings are names, ids or the API's own words."""
_FREE = {
    "functionCall": Provenance.TOOL_CALL,
    "toolCall": Provenance.TOOL_CALL,
    "executableCode": Provenance.TOOL_CALL,
    "functionResponse": Provenance.TOOL_RESULT,
    "toolResponse": Provenance.TOOL_RESULT,
    "codeExecutionResult": Provenance.TOOL_RESULT,
}
"""Parts that are calls and results, and who wrote what is in them."""
_LONGEST_FIELD = 64  # characters; a longer key is none of Google's


def camel(key: str) -> str:
    """A field's name in camelCase."""
    if "_" not in key or len(key) > _LONGEST_FIELD:
        return key
    head, *rest = key.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest) if head else key


def read_part(find: Finder, part: Any, path: Path, provenance: Provenance, message: int) -> None:
    """The texts of one part."""
    if not isinstance(part, dict):
        find.every(part, path, provenance, message)
        return
    for key, value in part.items():
        name = camel(key)
        if name == "text" and isinstance(value, str):
            find.text((*path, key), provenance, value, message)
        elif name == "thoughtSignature" and find.provider and is_sealed(value):
            find.hide(value)
        elif name in ("inlineData", "fileData"):
            _media(find, value, (*path, key))
        elif name in _FREE:
            _exchanged(find, value, (*path, key), _FREE[name], message)
        else:
            find.every(value, (*path, key), Provenance.METADATA)


def _media(find: Finder, value: Any, path: Path) -> None:
    if not isinstance(value, dict):
        find.every(value, path, Provenance.METADATA)
        return
    for key, below in value.items():
        if key == "data" and is_sealed(below):
            find.hide(below)
        elif camel(key) != "mimeType" or not isinstance(below, str) or not is_name(below):
            find.every(below, (*path, key), Provenance.METADATA)


def _exchanged(find: Finder, value: Any, path: Path, provenance: Provenance, message: int) -> None:
    """A call or its result: arguments and responses are documents of their own, where no key means anything."""
    if not isinstance(value, dict):
        find.every(value, path, provenance, message)
        return
    for key, below in value.items():
        name = camel(key)
        if isinstance(below, str) and name in IDENTIFIERS and is_name(below):
            continue
        if name == "parts":
            for index, part in enumerate(items(below)):
                read_part(find, part, (*path, key, index), provenance, message)
            if not isinstance(below, list):
                find.every(below, (*path, key), provenance, message)
        else:
            find.every(below, (*path, key), provenance, message)
