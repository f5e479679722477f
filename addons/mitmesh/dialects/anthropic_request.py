"""Reading an Anthropic Messages request: its text positions in conversation order, and what it asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from mitmesh.dialects.anthropic_blocks import node, tool
from mitmesh.dialects.base import Call, DialectError, Operation, Path, Provenance
from mitmesh.dialects.walk import NOTHING, Finder, arguments, is_name, items, limit, obj, string

ENUMERATED = frozenset({"model", "service_tier", "inference_geo", "speed", "anthropic_version"})
"""Top-level fields that hold a name or one of a few words."""
SETTINGS = {
    "thinking": frozenset({"type", "display"}),
    "tool_choice": frozenset({"type", "name"}),
    "cache_control": frozenset({"type", "ttl"}),
    "context_management": frozenset({"type"}),
}
"""Top-level objects of settings, and their keys that hold the API's own words."""

_CONVERSATION = frozenset({"system", "tools", "messages"})
_ROLES = {"user": Provenance.USER, "assistant": Provenance.ASSISTANT, "system": Provenance.SYSTEM}
_PATH = re.compile(r"/model/(?P<bedrock>[^/]+)/invoke|/models/(?P<vertex>[^/:]+):\w*rawPredict", re.IGNORECASE)
_STREAM = re.compile(r"/invoke-with-response-stream$|:streamRawPredict$", re.IGNORECASE)
_USER_ID = re.compile(r"user_.*_account_(?P<account>.*)_session_(?P<session>.+)", re.DOTALL)


def operation(path: str) -> Operation:
    """What a path asks for. `path` may carry a query."""
    route = _route(path)
    if route.endswith("/count_tokens") or "/count-tokens:" in route:
        return Operation.COUNT_TOKENS
    if route.endswith("/messages") or _PATH.search(route):
        return Operation.CHAT
    return Operation.MODELS if re.search(r"/models(/[^/:]+)?$", route) else Operation.OTHER


def read(doc: Any, path: str, headers: Mapping[str, str]) -> Call:
    """A request as a Call. Raises DialectError where no provider would take it."""
    call = Call(operation(path))
    if doc is None and call.operation in (Operation.MODELS, Operation.OTHER):
        return call
    if not isinstance(doc, dict):
        raise DialectError("the body is not a JSON object")
    find = Finder()
    if call.operation in (Operation.CHAT, Operation.COUNT_TOKENS):
        _conversation(doc, find)
    for key, value in doc.items():
        if key not in _CONVERSATION or call.operation in (Operation.MODELS, Operation.OTHER):
            _setting(find, key, value)
    call.texts, call.opaque_bytes = find.texts, find.opaque
    call.model = _model(doc, path)
    call.stream = doc.get("stream") is True or bool(_STREAM.search(_route(path)))
    call.max_tokens = limit(doc.get("max_tokens"))
    call.tools = [name for tool in items(doc.get("tools")) if (name := _tool_name(obj(tool)))]
    call.history_at_provider = string(obj(doc.get("thread")).get("previous_message_id"))
    call.session, call.account = _claims(obj(doc.get("metadata")).get("user_id"), headers)
    return call


def _conversation(doc: dict[str, Any], find: Finder) -> None:
    messages = doc.get("messages")
    if not isinstance(messages, list):
        raise DialectError("messages is not a list")
    if "system" in doc:
        node(find, doc["system"], ("system",), Provenance.SYSTEM, 0)
    for index, definition in enumerate(items(doc.get("tools"))):
        tool(find, definition, ("tools", index))
    if "tools" in doc and not isinstance(doc["tools"], list):
        find.every(doc["tools"], ("tools",), Provenance.TOOL_DEFINITION, 1)
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise DialectError(f"messages[{index}] is not an object")
        provenance = _ROLES.get(string(message.get("role")) or "", Provenance.USER)
        find.provider = provenance is Provenance.ASSISTANT
        for key, value in message.items():
            if key == "content":
                node(find, value, ("messages", index, "content"), provenance, index + 2)
            elif key != "role" or not isinstance(value, str) or value not in _ROLES:
                find.every(value, ("messages", index, key), Provenance.METADATA)
    find.provider = False


def _tool_name(tool: dict[str, Any]) -> str | None:
    return string(tool.get("name")) or string(tool.get("mcp_server_name")) or string(tool.get("type"))


def _setting(find: Finder, key: str, value: Any) -> None:
    """A top-level field outside the conversation."""
    if isinstance(value, str) and key in ENUMERATED and is_name(value):
        return
    if key == "mcp_servers" and isinstance(value, list):
        for index, server in enumerate(value):
            _mcp_server(find, server, (key, index))
    elif key == "fallback_credit_token":
        find.hide(value)
    else:
        find.every(value, (key,), Provenance.METADATA, -1, SETTINGS.get(key, NOTHING))


def _mcp_server(find: Finder, server: Any, path: Path) -> None:
    """A server the provider is to call. The client's credential for it is neither read nor touched."""
    if not isinstance(server, dict):
        find.every(server, path, Provenance.METADATA)
        return
    for key, value in server.items():
        if key == "authorization_token":
            find.hide(value)
        elif key not in ("type", "name") or not isinstance(value, str) or not is_name(value):
            find.every(value, (*path, key), Provenance.METADATA)


def _route(path: str) -> str:
    """The path without its query; a colon may come encoded. Nothing else is decoded: Bedrock's ids may hold a slash."""
    return path.partition("?")[0].replace("%3A", ":").replace("%3a", ":").rstrip("/")


def _model(doc: dict[str, Any], path: str) -> str | None:
    """Where the path names a model that one is called, whatever the body says (Bedrock, Vertex)."""
    if found := _PATH.search(_route(path)):
        model = unquote(found["bedrock"] or found["vertex"])
        if model != "count-tokens":
            return model
    return string(doc.get("model"))


def _claims(user_id: Any, headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Session and account as Claude Code claims them: in `metadata.user_id`, joined by underscores or (since 2.1) as
    JSON, and the session in a header too."""
    session = headers.get("x-claude-code-session-id") or headers.get("X-Claude-Code-Session-Id")
    account = None
    if isinstance(user_id, str) and user_id.startswith("{"):
        claims = arguments(user_id)
        session, account = session or string(claims.get("session_id")), string(claims.get("account_uuid"))
    elif isinstance(user_id, str) and (found := _USER_ID.fullmatch(user_id)):
        session, account = session or found["session"], found["account"] or None
    return session, account
