"""Writing answers and streams of the Chat Completions dialect, so that OpenAI's SDK takes them for its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from mitmesh.dialects.base import Answer, Kind, Part, Usage
from mitmesh.dialects.openai_common import FILTERED, LENGTH, answer_id, new_id
from mitmesh.dialects.walk import count, encode, items, obj, sse, words

_FINISHES = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
_FIELDS = {Kind.TEXT: "content", Kind.REASONING: "reasoning_content", Kind.REFUSAL: "refusal"}


def render(answer: Answer) -> bytes:
    """The answer as a chat completion with one choice."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    for kind, field in _FIELDS.items():
        if said := [part.text for part in answer.parts if part.kind is kind]:
            message[field] = "\n".join(said)
    if calls := _calls(answer):
        message["tool_calls"] = [_call(part) for part in calls]
    elif message["content"] is None and message["refusal"] is None:
        message["content"] = ""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
    doc = _head(answer, "chat.completion") | {"choices": [choice]}
    if answer.usage:
        doc["usage"] = usage(answer.usage)
    return encode(doc)


def render_stream(answer: Answer, *, usage: bool) -> Iterator[bytes]:
    """The answer as server-sent events: role, words, tool calls, finish, usage where wanted, `[DONE]`."""
    head = _head(answer, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse(head | {"choices": [choice]})

    yield chunk({"role": "assistant", "content": ""})
    said: set[str] = set()
    tool = 0
    for part in answer.parts:
        if part.kind is Kind.TOOL_CALL:
            yield from (chunk({"tool_calls": [piece]}) for piece in _call_pieces(part, tool))
            tool += 1
        elif field := _FIELDS.get(part.kind):
            if field in said:
                yield chunk({field: "\n"})
            said.add(field)
            yield from (chunk({field: word}) for word in words(part.text))
    yield chunk({}, _finish(answer))
    if usage and answer.usage:
        yield sse(head | {"choices": [], "usage": _usage(answer.usage)})
    yield b"data: [DONE]\n\n"


def stop(answer: Answer, last: Any) -> bytes:
    """A chunk for each choice that began, or would speak now, and has not ended: it ran out of tokens. In completions,
    as they have it."""
    speaking = [obj(choice) for choice in items(obj(last).get("choices"))]
    is_text = any("text" in choice for choice in speaking)
    head = _head(answer, "text_completion" if is_text else "chat.completion.chunk")
    said: dict[str, Any] = {"text": ""} if is_text else {"delta": {}}
    ending = {*answer.open, *(count(choice.get("index")) for choice in speaking)} or {0}
    choices = ({"index": index, **said, "logprobs": None, "finish_reason": "length"} for index in sorted(ending))
    return b"".join(sse(head | {"choices": [choice]}) for choice in choices)


def usage(used: Usage) -> dict[str, Any]:
    """Usage in Chat Completions' spelling."""
    return {
        "prompt_tokens": used.prompt,
        "completion_tokens": used.completion,
        "total_tokens": used.total,
        "prompt_tokens_details": {"cached_tokens": used.cache_read},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning},
    }


_usage = usage  # render_stream has a parameter of that name


def _head(answer: Answer, kind: str) -> dict[str, Any]:
    return {
        "id": answer_id(answer, "chatcmpl-"),
        "object": kind,
        "created": int(time.time()),
        "model": answer.model or "unknown",
    }


def _calls(answer: Answer) -> list[Part]:
    return [part for part in answer.parts if part.kind is Kind.TOOL_CALL]


def _call(part: Part) -> dict[str, Any]:
    function = {"name": part.name or "", "arguments": part.text or "{}"}
    return {"id": part.call_id or new_id("call_"), "type": "function", "function": function}


def _call_pieces(part: Part, index: int) -> Iterator[dict[str, Any]]:
    begin = _call(part)
    text = begin["function"]["arguments"]
    begin["function"]["arguments"] = ""
    yield {"index": index} | begin
    for word in words(text):
        yield {"index": index, "function": {"arguments": word}}


def _finish(answer: Answer) -> str:
    """The answer's finish reason in this dialect's words."""
    word = (answer.finish or "").lower()
    if word in _FINISHES:
        return word
    if word in LENGTH:
        return "length"
    if word in FILTERED:
        return "content_filter"
    return "tool_calls" if _calls(answer) else "stop"
