"""Reading a Gemini request: its text positions in conversation order, and what it asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, unquote

from mitmesh.dialects.base import Call, DialectError, Framing, Operation, Path, Provenance
from mitmesh.dialects.gemini_parts import camel, read_part
from mitmesh.dialects.walk import NOTHING, Finder, is_name, limit, obj, string

OPERATIONS = {
    "generateContent": Operation.CHAT,
    "streamGenerateContent": Operation.CHAT,
    "countTokens": Operation.COUNT_TOKENS,
    "embedContent": Operation.EMBEDDINGS,
    "batchEmbedContents": Operation.EMBEDDINGS,
}
"""What each method of a model asks for; any other is `other`."""
SETTINGS: dict[str, frozenset[str]] = {
    "safetySettings": frozenset({"category", "threshold", "method"}),
    "toolConfig": frozenset({"mode"}),
    "generationConfig": frozenset({"responseMimeType", "response_mime_type", "mediaResolution", "media_resolution"}),
}
"""Top-level objects of settings, and their keys that hold the API's own words."""
ENUMERATED = frozenset({"model", "cachedContent", "taskType", "serviceTier"})
"""Top-level fields that hold a name or one of a few words."""

_ROLES = {
    "user": Provenance.USER,
    "model": Provenance.ASSISTANT,
    "system": Provenance.SYSTEM,
    "function": Provenance.TOOL_RESULT,
    "tool": Provenance.TOOL_RESULT,
}
_PATH = re.compile(r"/(?:models|endpoints|tunedModels)/(?P<model>[^/:]+)(?::(?P<method>\w+))?/?$")
_NESTED = "generateContentRequest"  # how countTokens may carry a whole request


def read(doc: Any, path: str, headers: Mapping[str, str]) -> Call:
    """A request as a Call. Raises DialectError where no provider would take it."""
    model, method = _target(path)
    call = Call(OPERATIONS.get(method or "", Operation.OTHER), model, method == "streamGenerateContent")
    if doc is None and call.operation is Operation.OTHER:
        if method is None and re.search(r"/models(/[^/:]+)?/?$", path.partition("?")[0]):
            call.operation = Operation.MODELS
        return call
    if not isinstance(doc, dict):
        raise DialectError("the body is not a JSON object")
    find = Finder()
    if call.operation is Operation.OTHER:
        find.every(doc, (), Provenance.METADATA)
    else:
        _request(find, call, doc, (), 2)
        _require(call, doc)
    call.model = call.model or _name(doc.get("model"))
    call.texts, call.opaque_bytes = find.texts, find.opaque
    return call


def framing(call: Call, path: str) -> Framing:
    """SSE where the query says `alt=sse`; a stream without it is one JSON array."""
    if not call.stream:
        return Framing.NONE
    query = parse_qs(path.partition("?")[2])
    asked = query.get("alt") or query.get("$alt") or [""]
    return Framing.SSE if asked[-1].lower() == "sse" else Framing.JSON_ARRAY


def _target(path: str) -> tuple[str | None, str | None]:
    found = _PATH.search(unquote(path.partition("?")[0]))
    return (found["model"], found["method"]) if found else (None, None)


def _name(model: Any) -> str | None:
    name = string(model)
    return name.rpartition("/")[2] if name else None


def _require(call: Call, doc: dict[str, Any]) -> None:
    fields = {camel(key) for key in doc}
    wanted = {"contents", "content", "requests", _NESTED}
    if call.operation is not Operation.EMBEDDINGS and not fields & wanted:
        raise DialectError("contents is missing")


def _request(find: Finder, call: Call, doc: dict[str, Any], base: Path, first: int) -> int:
    """The texts of one request, at `base`; its contents are numbered from `first`. Returns the next free number."""
    fields: dict[str, list[str]] = {}
    for key in doc:
        fields.setdefault(camel(key), []).append(key)
    for key in fields.pop("systemInstruction", ()):
        _content(find, doc[key], (*base, key), 0, Provenance.SYSTEM)
    for key in fields.pop("tools", ()):
        _tools(find, call, doc[key], (*base, key))
    for name in ("contents", "content"):
        for key in fields.pop(name, ()):
            first = _contents(find, doc[key], (*base, key), first)
    for name in ("requests", _NESTED):
        for key in fields.pop(name, ()):
            first = _requests(find, call, doc[key], (*base, key), first)
    for name, keys in fields.items():
        for key in keys:
            _setting(find, call, name, doc[key], (*base, key))
    return first


def _requests(find: Finder, call: Call, value: Any, path: Path, first: int) -> int:
    """Requests within a request: batchEmbedContents has a list, countTokens one."""
    if isinstance(value, dict):
        call.model = call.model or _name(value.get("model"))
        return _request(find, call, value, path, first)
    if not isinstance(value, list):
        raise DialectError(f"{path[-1]} is neither an object nor a list")
    for index, below in enumerate(value):
        if not isinstance(below, dict):
            raise DialectError(f"{path[-1]}[{index}] is not an object")
        first = _request(find, call, below, (*path, index), first)
    return first


def _contents(find: Finder, value: Any, path: Path, first: int) -> int:
    if not isinstance(value, list):
        _content(find, value, path, first)
        return first + 1
    for index, content in enumerate(value):
        if not isinstance(content, (dict, str)):
            raise DialectError(f"{path[-1]}[{index}] is not an object")
        _content(find, content, (*path, index), first + index)
    return first + len(value)


def _content(find: Finder, content: Any, path: Path, message: int, provenance: Provenance | None = None) -> None:
    """One content: its role and parts. `provenance` is given where the role does not matter."""
    if not isinstance(content, dict):
        find.every(content, path, provenance or Provenance.USER, message)
        return
    who = provenance or _ROLES.get(string(content.get("role")) or "", Provenance.USER)
    find.provider = who is Provenance.ASSISTANT
    for key, value in content.items():
        at = (*path, key)
        if key == "parts" and isinstance(value, list):
            for index, part in enumerate(value):
                read_part(find, part, (*at, index), who, message)
        elif key == "parts":
            read_part(find, value, at, who, message)
        elif key != "role" or not isinstance(value, str) or value not in _ROLES:
            find.every(value, at, Provenance.METADATA)


def _tools(find: Finder, call: Call, value: Any, path: Path) -> None:
    """Function declarations and the provider's own tools."""
    for index, tool in enumerate(value) if isinstance(value, list) else ((None, value),):
        at = path if index is None else (*path, index)
        if not isinstance(tool, dict):
            find.tool(tool, at, 1)
            continue
        for key, below in tool.items():
            if camel(key) != "functionDeclarations" or not isinstance(below, list):
                call.tools.append(key)
                find.tool(below, (*at, key), 1)
                continue
            for number, declared in enumerate(below):
                _declaration(find, call, declared, (*at, key, number))


def _declaration(find: Finder, call: Call, declared: Any, path: Path) -> None:
    if name := string(obj(declared).get("name")):
        call.tools.append(name)
    if not isinstance(declared, dict):
        find.tool(declared, path, 1)
        return
    for key, value in declared.items():
        if key not in ("name", "behavior") or not isinstance(value, str) or not is_name(value):
            find.tool(value, (*path, key), 1)


def _setting(find: Finder, call: Call, name: str, value: Any, path: Path) -> None:
    """A field outside the conversation; `name` is its name in camelCase."""
    if name == "cachedContent":
        call.history_at_provider = string(value)
    if name == "generationConfig":
        given = {camel(key): below for key, below in obj(value).items()}
        call.max_tokens = limit(given.get("maxOutputTokens")) or call.max_tokens
    if not (name in ENUMERATED and isinstance(value, str) and is_name(value)):
        find.every(value, path, Provenance.METADATA, -1, SETTINGS.get(name, NOTHING))
