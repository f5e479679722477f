"""The content of Anthropic's messages: blocks, and what in them is a text.

Inside a message every object is a block. Of a block of a known type the fields in `CONTENT` are its content and any
other field is metadata; of an unknown type all fields are content. Strings directly under a key in `IDENTIFIERS` that
look like a name are no texts; those in `OPAQUE`, in the provider's own messages, are signed or encrypted where they
look so, and are counted, not read, as are media and credentials. That holds for blocks alone: in tool input, metadata
and unknown fields every string is a text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mitmesh.dialects.base import Path, Provenance, Text
from mitmesh.dialects.openai_texts import is_media
from mitmesh.dialects.walk import NOTHING, Finder, is_name, is_sealed

IDENTIFIERS = frozenset(
    {"type", "id", "tool_use_id", "tool_id", "tool_name", "file_id", "media_type", "ttl", "error_code", "file_type"}
)
"""Keys of any block whose strings are ids or the API's own words."""
NAMES = IDENTIFIERS | frozenset({"name", "server_name", "mcp_server_name", "toolset_name", "model"})
"""The same for blocks that define, call or list tools, where names are bound to `[a-zA-Z0-9_-]`."""
OPAQUE = frozenset({"signature", "encrypted_content", "encrypted_index", "encrypted_stdout"})
"""Keys of the provider's blocks whose strings are never read or touched."""
_UNSEALED = frozenset({"text", "image", "document", "search_result", "tool_result", "mcp_tool_result"})
"""Types of blocks of which nothing is sealed."""
CONTENT: dict[str, tuple[str, ...]] = {
    "text": ("text", "citations"),
    "image": ("source",),
    "document": ("title", "context", "source"),
    "search_result": ("title", "source", "content"),
    "tool_use": ("input",),
    "server_tool_use": ("input",),
    "mcp_tool_use": ("input",),
    "tool_result": ("content",),
    "mcp_tool_result": ("content",),
    "container_upload": (),
    "compaction": ("content",),
}
"""The fields that are a block's content, by its type, in reading order."""
_DEFINES_TOOLS = frozenset({"tool_addition", "tool_removal", "mcp_tool_listing"})
_NAMES_TOOLS = _DEFINES_TOOLS | {"tool_use", "server_tool_use", "mcp_tool_use", "mcp_tool_result", "tool_reference"}
_DEPTH = 24  # blocks in blocks, as path length; what lies deeper is read as text, whatever it calls itself


def node(find: Finder, value: Any, path: Path, provenance: Provenance, message: int) -> None:
    """The texts of a message's content: a string, a block, or a list of either."""
    if isinstance(value, str):
        find.text(path, provenance, value, message)
    elif len(path) > _DEPTH:
        find.every(value, path, provenance, message)
    elif isinstance(value, dict):
        block(find, value, path, provenance, message)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            if isinstance(below, dict):
                block(find, below, (*path, index), provenance, message)
            else:
                node(find, below, (*path, index), provenance, message)


def block(find: Finder, value: dict[str, Any], path: Path, provenance: Provenance, message: int) -> None:
    """The texts of one block."""
    kind = value.get("type")
    if not isinstance(kind, str):
        kind = ""
    elif kind == "text" and len(value) == 2 and isinstance(text := value.get("text"), str):
        if text:  # nearly every block is this
            find.texts.append(Text((*path, "text"), provenance, text, message))
        return
    sealed = _sealed(kind, value) if find.provider else NOTHING
    known = CONTENT.get(kind)
    provenance = _provenance(kind, provenance)
    names = NAMES if kind in _NAMES_TOOLS else IDENTIFIERS
    for key in value if known is None or len(known) < 2 else _reading_order(value, known):
        below = value[key]
        if isinstance(below, str):
            if key in names and is_name(below):
                continue
            if key in sealed and (key == "thinking" or is_sealed(below)):
                find.hide(below)
                continue
        elif not isinstance(below, (dict, list)):
            continue
        _field(find, kind, key, below, (*path, key), provenance, message)


def _sealed(kind: str, value: dict[str, Any]) -> frozenset[str]:
    """The keys of a block of the provider's that are sealed. Its thinking is where it is signed, for then the provider
    takes it back only as it was."""
    if kind == "thinking":
        return OPAQUE | {"thinking"} if is_sealed(value.get("signature")) else NOTHING
    if kind == "redacted_thinking":
        return frozenset({"data"})
    return NOTHING if kind in _UNSEALED else OPAQUE


def _field(find: Finder, kind: str, key: str, value: Any, path: Path, provenance: Provenance, message: int) -> None:
    """The texts of one field of a block of that kind."""
    known = CONTENT.get(kind)
    if known is not None and key not in known:
        skip = IDENTIFIERS if key in ("cache_control", "caller") else NOTHING
        find.every(value, path, Provenance.METADATA, -1, skip)
    elif key == "input" and kind.endswith("tool_use"):
        find.every(value, path, Provenance.TOOL_CALL, message)
    elif key == "source" and isinstance(value, dict):
        _source(find, value, path, provenance, message)
    elif provenance is Provenance.TOOL_DEFINITION:
        find.tool(value, path, message)
    else:
        node(find, value, path, provenance, message)


def _reading_order(value: dict[str, Any], known: tuple[str, ...]) -> Iterable[str]:
    return (*(key for key in known if key in value), *(key for key in value if key not in known))


def _source(find: Finder, source: dict[str, Any], path: Path, provenance: Provenance, message: int) -> None:
    """Where an image or document comes from: media is opaque, plain text and nested content are texts."""
    for key, value in source.items():
        if isinstance(value, str) and key in IDENTIFIERS and is_name(value):
            continue
        is_url = key == "url" and isinstance(value, str) and is_media(value)
        if is_url or (key == "data" and source.get("type") == "base64" and is_sealed(value)):
            find.hide(value)
        elif key in ("url", "file_id"):
            find.every(value, (*path, key), Provenance.METADATA)
        else:
            node(find, value, (*path, key), provenance, message)


def _provenance(kind: str, outer: Provenance) -> Provenance:
    """Who wrote a block's content. What lies within a tool's result stays a tool's result."""
    if kind.endswith("tool_result"):
        return Provenance.TOOL_RESULT
    if kind in _DEFINES_TOOLS:
        return Provenance.TOOL_DEFINITION
    if kind in ("document", "search_result") and outer is not Provenance.TOOL_RESULT:
        return Provenance.DOCUMENT
    return outer


def tool(find: Finder, tool: Any, path: Path) -> None:
    """The texts of one tool's definition; all tools together are message 1."""
    if not isinstance(tool, dict):
        find.every(tool, path, Provenance.TOOL_DEFINITION, 1)
        return
    for key, value in tool.items():
        if key in NAMES and isinstance(value, str) and is_name(value):
            continue
        if key == "cache_control":
            find.every(value, (*path, key), Provenance.METADATA, -1, IDENTIFIERS)
        else:
            find.tool(value, (*path, key), 1)
