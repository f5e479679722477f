"""Writing Anthropic's answers, streams and errors, so that its SDKs take them for its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mitmesh.dialects.base import Answer, Kind, Part, Refusal, Usage
from mitmesh.dialects.walk import arguments, count, encode, obj, sse, words

FINISHES = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
"""Other dialects' words for why an answer ended."""
ERRORS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""Error types by status, as the API documents them (docs.anthropic.com, "Errors")."""

_PREFIXES = {"srvtoolu_": "server_tool_use", "mcptoolu_": "mcp_tool_use"}


def render(answer: Answer) -> bytes:
    """The answer as a JSON message. Reasoning and what is opaque are left out: without its signature thinking is
    refused when the client sends it back."""
    blocks = [_block(part, full=True) for part in _shown(answer)]
    return encode(_message(answer, blocks, _finish(answer), _usage(answer.usage)))


def render_stream(answer: Answer) -> Iterator[bytes]:
    """The answer as server-sent events, text and arguments word by word."""
    usage = _usage(answer.usage)
    start = _message(answer, [], None, {**usage, "output_tokens": 0})
    yield sse({"type": "message_start", "message": start}, "message_start")
    for index, part in enumerate(_shown(answer)):
        begin = {"type": "content_block_start", "index": index, "content_block": _block(part, full=False)}
        yield sse(begin, "content_block_start")
        for word in words(part.text):
            delta = {"type": "content_block_delta", "index": index, "delta": _delta(part, word)}
            yield sse(delta, "content_block_delta")
        yield sse({"type": "content_block_stop", "index": index}, "content_block_stop")
    delta = {"stop_reason": _finish(answer), "stop_sequence": answer.stopped_by}
    yield sse({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta")
    yield sse({"type": "message_stop"}, "message_stop")


def stop(answer: Answer, last: Any) -> bytes:
    """The end of the block that `last` belongs to (a block that only began was never shown), and of the message."""
    out = b""
    if obj(last).get("type") in ("content_block_delta", "content_block_stop"):
        out = sse({"type": "content_block_stop", "index": count(last.get("index"))}, "content_block_stop")
    delta = {"stop_reason": "max_tokens", "stop_sequence": None}
    return out + sse({"type": "message_delta", "delta": delta, "usage": _usage(answer.usage)}, "message_delta")


def error(refusal: Refusal) -> dict[str, Any]:
    """The error document. SDKs raise by status and show `message`; the fields beside `type` and `message` are ours."""
    return {
        "type": "error",
        "error": {
            "type": ERRORS.get(refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error"),
            "message": refusal.message,
            "reason": refusal.type,
            "code": refusal.code,
            "mesh_id": refusal.exchange,
        },
        "request_id": refusal.exchange,
    }


def _shown(answer: Answer) -> list[Part]:
    return [part for part in answer.parts if part.kind in (Kind.TEXT, Kind.TOOL_CALL, Kind.REFUSAL)]


def _message(
    answer: Answer, content: list[dict[str, Any]], stop_reason: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": answer.id or "msg_mitmesh",
        "type": "message",
        "role": "assistant",
        "model": answer.model or "unknown",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": answer.stopped_by if stop_reason else None,
        "usage": usage,
    }


def _block(part: Part, *, full: bool) -> dict[str, Any]:
    if part.kind is not Kind.TOOL_CALL:
        return {"type": "text", "text": part.text if full else ""}
    called = part.call_id or "toolu_mitmesh"
    kind = next((kind for prefix, kind in _PREFIXES.items() if called.startswith(prefix)), "tool_use")
    block = {"type": kind, "id": called, "name": part.name or "", "input": arguments(part.text) if full else {}}
    return block | {"server_name": ""} if kind == "mcp_tool_use" else block


def _delta(part: Part, word: str) -> dict[str, Any]:
    if part.kind is Kind.TOOL_CALL:
        return {"type": "input_json_delta", "partial_json": word}
    return {"type": "text_delta", "text": word}


def _finish(answer: Answer) -> str:
    if answer.finish:
        return FINISHES.get(answer.finish, answer.finish)
    return "tool_use" if any(part.kind is Kind.TOOL_CALL for part in answer.parts) else "end_turn"


def _usage(usage: Usage | None) -> dict[str, Any]:
    usage = usage or Usage()
    written = usage.cache_write_5m + usage.cache_write_1h
    return {
        "input_tokens": max(0, usage.prompt - usage.cache_read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write_5m,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.completion,
    }
