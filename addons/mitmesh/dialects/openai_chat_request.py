"""Reading requests of the Chat Completions dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mitmesh.dialects.base import Call, DialectError, Operation, Path, Provenance
from mitmesh.dialects.openai_common import bare_call, claim, is_true, model_of, require, tokens_limit
from mitmesh.dialects.openai_texts import IDENTIFIERS, UNKNOWN, Finder
from mitmesh.dialects.walk import is_sealed, items, obj, string

ROLES = {
    "system": Provenance.SYSTEM,
    "developer": Provenance.SYSTEM,
    "user": Provenance.USER,
    "assistant": Provenance.ASSISTANT,
    "tool": Provenance.TOOL_RESULT,
    "function": Provenance.TOOL_RESULT,
}
"""Who speaks in a role; an unknown role counts as a user."""
DOCUMENTS = frozenset({"file", "input_file", "document", "document_url"})
"""Types of content parts that carry a document."""

_SPOKEN: tuple[tuple[str, Provenance | None], ...] = (
    ("reasoning_content", None),
    ("reasoning", None),
    ("content", None),
    ("refusal", None),
    ("audio", None),
    ("tool_calls", Provenance.TOOL_CALL),
    ("function_call", Provenance.TOOL_CALL),
)
_SIGNED = ("reasoning_details", "thinking_blocks")
_SEALED_TEXT = frozenset({"text", "thinking", "signature"})
_PLAIN = frozenset({"role", "content"})
_TEXT_PART = frozenset({"type", "text"})
_SPOKEN_KEYS = frozenset(key for key, _ in _SPOKEN) | frozenset(_SIGNED)
_MESSAGE_IDS = frozenset({"role", "id", "tool_call_id"})
_DONE = ("suffix", "tools", "functions", "response_format", "prediction")


def read(doc: Any, path: str, headers: Mapping[str, str]) -> Call:
    """A request as a Call. Raises DialectError."""
    if doc is None:
        return bare_call(path, headers)
    doc = require(doc)
    call = Call(Operation.CHAT, model_of(doc, path), is_true(doc.get("stream")))
    call.max_tokens = tokens_limit(doc, "max_completion_tokens", "max_tokens")
    call.tools = tool_names(doc.get("tools")) + tool_names(doc.get("functions"))
    finder = Finder()
    if "messages" in doc:
        _messages(doc, finder)
    elif "prompt" in doc:
        _definitions(doc, finder, 1)
        _prompt(doc["prompt"], finder)
    elif urlsplit(path).path.endswith("/completions"):
        raise DialectError("messages: missing")
    else:
        call.operation = Operation.OTHER
        _definitions(doc, finder, 0)
    _afterwards(doc, finder)
    finder.fields(doc, (*_DONE, "messages" if "messages" in doc else "prompt"))
    finder.fill(call)
    return claim(call, doc, headers)


def tool_names(tools: Any) -> list[str]:
    """The names of tool definitions, in either of OpenAI's shapes; built-in tools go by their type."""
    names: list[str] = []
    for tool in items(tools):
        kind = string(obj(tool).get("type"))
        inner = obj(obj(tool).get(kind or "function"))
        name = string(inner.get("name")) or string(obj(tool).get("name")) or string(obj(tool).get("server_label"))
        if name or kind:
            names.append(name or kind or "")
        names += tool_names(obj(tool).get("tools"))
    return names


def _messages(doc: dict[str, Any], finder: Finder) -> None:
    messages = doc["messages"]
    if not isinstance(messages, list):
        raise DialectError("messages: must be a list")
    leading = 0
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise DialectError(f"messages[{index}]: must be an object")
        if leading == index and message.get("role") in ("system", "developer"):
            leading += 1
    for index in range(leading):
        _message(messages[index], ("messages", index), index, finder)
    tools = max(1, leading)
    _definitions(doc, finder, tools)
    for index in range(leading, len(messages)):
        _message(messages[index], ("messages", index), tools + 1 + index - leading, finder)


def _definitions(doc: dict[str, Any], finder: Finder, number: int) -> None:
    for key in ("tools", "functions", "response_format"):
        if key in doc:
            finder.walk(doc[key], (key,), Provenance.TOOL_DEFINITION, number)


def _message(message: dict[str, Any], at: Path, number: int, finder: Finder) -> None:
    role = message.get("role")
    speaker = ROLES.get(role, Provenance.USER) if isinstance(role, str) else Provenance.USER
    if message.keys() == _PLAIN and isinstance(role, str) and role in ROLES and type(message["content"]) is str:
        finder.text(message["content"], (*at, "content"), speaker, number)
        return
    finder.provider = speaker is Provenance.ASSISTANT
    for key in _SIGNED:
        for index, block in enumerate(items(message.get(key))):
            signed_block(block, (*at, key, index), number, finder)
    for key, provenance in _SPOKEN:
        if message.get(key) is not None:
            content(message[key], (*at, key), provenance or speaker, number, finder)
    for key, value in message.items():
        if value is not None and (key not in _SPOKEN_KEYS or (key in _SIGNED and not isinstance(value, list))):
            names = IDENTIFIERS if key in _MESSAGE_IDS else UNKNOWN
            finder.walk(value, (*at, key), Provenance.METADATA, -1, names)
    finder.provider = False


def content(value: Any, at: Path, speaker: Provenance, number: int, finder: Finder) -> None:
    """Content as a string or as a list of parts; parts that carry a document are documents."""
    if not isinstance(value, list):
        finder.walk(value, at, speaker, number)
        return
    for index, part in enumerate(value):
        if type(part) is dict and part.keys() == _TEXT_PART and type(part["text"]) is str and part["type"] == "text":
            finder.text(part["text"], (*at, index, "text"), speaker, number)
            continue
        kind = part.get("type") if isinstance(part, dict) else None
        if finder.provider and kind in ("thinking", "redacted_thinking"):
            signed_block(part, (*at, index), number, finder)
            continue
        provenance = Provenance.DOCUMENT if isinstance(kind, str) and kind in DOCUMENTS else speaker
        finder.walk(part, (*at, index), provenance, number)


def signed_block(block: Any, at: Path, number: int, finder: Finder) -> None:
    """A block of reasoning that goes back to its provider: text, unless the provider signed or encrypted it."""
    if not isinstance(block, dict) or not finder.provider:
        finder.walk(block, at, Provenance.ASSISTANT, number)
        return
    signed = is_sealed(block.get("signature"))
    for key, value in block.items():
        if (signed and key in _SEALED_TEXT) or (key == "data" and is_sealed(value)):
            finder.seal(value)
        else:
            finder.walk(value, (*at, key), Provenance.ASSISTANT, number)


def _prompt(prompt: Any, finder: Finder) -> None:
    """The prompt of a legacy completion: a string, strings, a token array or several."""
    if isinstance(prompt, str):
        finder.text(prompt, ("prompt",), Provenance.USER, 2)
        return
    if not isinstance(prompt, list):
        raise DialectError("prompt: must be a string or a list")
    finder.tokens(prompt)
    for index, one in enumerate(prompt):
        finder.walk(one, ("prompt", index), Provenance.USER, 2 + index, UNKNOWN)


def _afterwards(doc: dict[str, Any], finder: Finder) -> None:
    """What is not a message but goes to the model after them."""
    number = finder.spoken[-1].message + 1 if finder.spoken else 2
    if "prediction" in doc:
        finder.walk(doc["prediction"], ("prediction",), Provenance.DOCUMENT, number)
    if "suffix" in doc:
        finder.walk(doc["suffix"], ("suffix",), Provenance.USER, number)
