"""Reading requests of the Responses dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mitmesh.dialects.base import Call, DialectError, Operation, Path, Provenance
from mitmesh.dialects.openai_chat_request import ROLES, content, tool_names
from mitmesh.dialects.openai_common import bare_call, claim, is_true, model_of, require, tokens_limit
from mitmesh.dialects.openai_texts import IDENTIFIERS, UNKNOWN, Finder
from mitmesh.dialects.walk import items, obj, string

_SYSTEM, _TOOLS, _FIRST = 0, 1, 2  # message numbers: instructions, tool definitions, then prompt variables and items
_DONE = ("instructions", "input", "tools", "text", "prompt")
_OWN = {
    "reasoning": Provenance.ASSISTANT,
    "compaction": Provenance.ASSISTANT,
    "program": Provenance.TOOL_CALL,
    "mcp_approval_request": Provenance.TOOL_CALL,
    "mcp_approval_response": Provenance.TOOL_RESULT,
    "mcp_list_tools": Provenance.TOOL_DEFINITION,
    "additional_tools": Provenance.TOOL_DEFINITION,
}
_RESULTS = frozenset({"output", "outputs", "results", "error"})
"""Fields of a tool call's item in which the provider's own tool answers."""


def read(doc: Any, path: str, headers: Mapping[str, str]) -> Call:
    """A request as a Call. Raises DialectError."""
    if doc is None:
        return bare_call(path, headers)
    doc = require(doc)
    counts = urlsplit(path).path.endswith("/input_tokens")
    call = Call(Operation.COUNT_TOKENS if counts else Operation.CHAT, model_of(doc, path), is_true(doc.get("stream")))
    call.max_tokens = tokens_limit(doc, "max_output_tokens")
    call.tools = tool_names(doc.get("tools"))
    finder = Finder()
    finder.walk(doc.get("instructions"), ("instructions",), Provenance.SYSTEM, _SYSTEM)
    finder.walk(doc.get("tools"), ("tools",), Provenance.TOOL_DEFINITION, _TOOLS)
    finder.walk(doc.get("text"), ("text",), Provenance.TOOL_DEFINITION, _TOOLS, IDENTIFIERS | {"verbosity"})
    first = _prompt(doc.get("prompt"), finder)
    reference = _input(doc.get("input"), first, finder)
    finder.fields(doc, _DONE)
    finder.fill(call)
    call.history_at_provider = string(doc.get("previous_response_id")) or _conversation(doc) or reference
    for item in items(doc.get("input")):
        if isinstance(item, dict) and "tools" in item:
            call.tools += tool_names(item["tools"])
    return claim(call, doc, headers)


def _conversation(doc: dict[str, Any]) -> str | None:
    conversation = doc.get("conversation")
    return string(conversation) or string(obj(conversation).get("id"))


def _prompt(prompt: Any, finder: Finder) -> int:
    """A prompt kept at the provider, with our variables; the number of the message after it."""
    if not isinstance(prompt, dict):
        finder.walk(prompt, ("prompt",), Provenance.METADATA, -1, UNKNOWN)
        return _FIRST
    for key, value in prompt.items():
        if key == "variables":
            finder.walk(value, ("prompt", key), Provenance.USER, _FIRST, UNKNOWN)
        else:
            finder.walk(value, ("prompt", key), Provenance.METADATA)
    return _FIRST + 1


def _input(value: Any, number: int, finder: Finder) -> str | None:
    """The input; returns the first reference to an item the provider keeps."""
    if value is None or isinstance(value, str):
        finder.walk(value, ("input",), Provenance.USER, number)
        return None
    if not isinstance(value, list):
        raise DialectError("input: must be a string or a list")
    reference = None
    for index, item in enumerate(value):
        if not isinstance(item, dict):
            raise DialectError(f"input[{index}]: must be an object")
        if item.get("type") == "item_reference":
            reference = reference or string(item.get("id"))
        _item(item, ("input", index), number + index, finder)
    return reference


def _item(item: dict[str, Any], at: Path, number: int, finder: Finder) -> None:
    kind = item.get("type")
    if kind == "message" or (kind is None and "role" in item):
        _message(item, at, number, finder)
        return
    provenance = _provenance(kind) if isinstance(kind, str) else None
    if provenance is None:
        names = IDENTIFIERS if kind == "item_reference" else UNKNOWN
        finder.walk(item, at, Provenance.METADATA, -1, names)
        return
    finder.provider = provenance in (Provenance.ASSISTANT, Provenance.TOOL_CALL)
    for key, value in item.items():
        into = Provenance.TOOL_RESULT if key in _RESULTS and provenance is Provenance.TOOL_CALL else provenance
        if key == "results" and kind == "file_search_call":
            into = Provenance.DOCUMENT
        content(value, (*at, key), into, number, finder)
    finder.provider = False


def _provenance(kind: str) -> Provenance | None:
    if kind in _OWN:
        return _OWN[kind]
    if kind.endswith("_output"):
        return Provenance.TOOL_RESULT
    return Provenance.TOOL_CALL if kind.endswith("_call") else None


def _message(item: dict[str, Any], at: Path, number: int, finder: Finder) -> None:
    role = item.get("role")
    speaker = ROLES.get(role, Provenance.USER) if isinstance(role, str) else Provenance.USER
    finder.provider = speaker is Provenance.ASSISTANT
    for key, value in item.items():
        if key == "content":
            content(value, (*at, key), speaker, number, finder)
        else:
            names = IDENTIFIERS if key in IDENTIFIERS else UNKNOWN
            finder.walk(value, (*at, key), Provenance.METADATA, -1, names)
    finder.provider = False
