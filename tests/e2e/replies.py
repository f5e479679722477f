"""What the fake provider says, in each provider's own shapes, proven by the SDKs in test_provider.py.

Every answer carries the same usage in its provider's words, so that one assertion holds for all.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from e2e.prompt_cache import PromptCache, Refused
from e2e.server import Seen

TEXT = "Es war einmal – once upon a time 🦊 – a fox who read every byte twice."
ARGUMENTS = {"city": "Zürich", "days": 3}
VECTOR = [0.25, -0.5, 1.0]

PROMPT, CACHED, COMPLETION = 25, 8, 9
"""Tokens: the whole prompt, what of it was read from a cache, and the completion."""


@dataclass
class Reply:
    """An answer before anything is done to it: a JSON body, or the events of a stream."""

    content_type: str
    pieces: list[bytes]
    stream: bool = False
    status: int = 200

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


def reply(seen: Seen, text: str = TEXT) -> Reply:
    """The ordinary answer to a request, 404 for what no provider here knows."""
    path, method = seen.path, seen.target.partition("?")[0].rpartition(":")[2]
    if seen.method == "GET":
        return _models(seen)
    if path.endswith("/count_tokens"):
        return _json({"input_tokens": PROMPT})
    if path.endswith("/messages"):
        return _anthropic(seen.json, text)
    if path.endswith("/chat/completions"):
        return _chat(seen.json, text)
    if path.endswith("/responses"):
        return _responses(seen.json, text)
    if path.endswith("/embeddings"):
        return _embeddings(seen.json)
    if method == "countTokens":
        return _json({"totalTokens": PROMPT})
    if method in ("generateContent", "streamGenerateContent"):
        return _gemini(seen, text, stream=method == "streamGenerateContent")
    if path == "/echo":
        return Reply(seen.header("content-type") or "application/octet-stream", [seen.body])
    return _json({"error": {"message": f"no such path: {path}", "type": "not_found_error"}}, 404)


def words(text: str) -> list[str]:
    """The text word by word, spaces kept."""
    first, *rest = text.split(" ")
    return [first, *(" " + word for word in rest)]


def sse(doc: Any, name: str | None = None) -> bytes:
    """One event; JSON with raw UTF-8, as the providers send it."""
    event = f"event: {name}\n" if name else ""
    return f"{event}data: {json.dumps(doc, ensure_ascii=False)}\n\n".encode()


def _json(doc: Any, status: int = 200) -> Reply:
    return Reply("application/json", [json.dumps(doc, ensure_ascii=False).encode()], status=status)


def _stream(events: Iterator[bytes]) -> Reply:
    return Reply("text/event-stream; charset=utf-8", list(events), stream=True)


def _models(seen: Seen) -> Reply:
    if seen.path.endswith("/v1beta/models"):
        return _json({"models": [{"name": "models/gemini-2.5-flash", "displayName": "Gemini 2.5 Flash"}]})
    if seen.header("anthropic-version"):
        model = {
            "type": "model",
            "id": "claude-haiku-4-5",
            "display_name": "Claude",
            "created_at": "2025-01-01T00:00:00Z",
        }
        return _json({"data": [model], "has_more": False, "first_id": model["id"], "last_id": model["id"]})
    if seen.path.endswith("/models"):
        gpt = {"id": "gpt-4o-mini", "object": "model", "created": 1, "owned_by": "openai"}
        return _json({"object": "list", "data": [gpt]})
    if seen.path == "/large":
        return Reply("application/octet-stream", [b"x" * 65536] * 64, stream=True)
    return _json({"error": {"message": f"no such path: {seen.path}", "type": "not_found_error"}}, 404)


def _embeddings(doc: Any) -> Reply:
    texts = doc["input"] if isinstance(doc["input"], list) else [doc["input"]]
    vector: Any = VECTOR
    if doc.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{len(VECTOR)}f", *VECTOR)).decode()
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, _ in enumerate(texts)]
    usage = {"prompt_tokens": PROMPT, "total_tokens": PROMPT}
    return _json({"object": "list", "model": doc["model"], "data": data, "usage": usage})


# --- OpenAI Chat Completions ---


def _chat(doc: Any, text: str) -> Reply:
    tool = doc["tools"][0]["function"]["name"] if doc.get("tools") and doc["messages"][-1]["role"] != "tool" else None
    usage = {
        "prompt_tokens": PROMPT,
        "completion_tokens": COMPLETION,
        "total_tokens": PROMPT + COMPLETION,
        "prompt_tokens_details": {"cached_tokens": CACHED},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
    base = {"id": "chatcmpl-fake", "created": 1_760_000_000, "model": doc["model"], "system_fingerprint": "fp_fake"}
    if doc.get("stream"):
        wants_usage = (doc.get("stream_options") or {}).get("include_usage")
        return _stream(_chat_events(base, text, tool, usage if wants_usage else None))
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if tool:
        function = {"name": tool, "arguments": json.dumps(ARGUMENTS)}
        message |= {"content": None, "tool_calls": [{"id": "call_fake", "type": "function", "function": function}]}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls" if tool else "stop"}
    return _json({**base, "object": "chat.completion", "choices": [choice], "usage": usage})


def _chat_events(base: dict[str, Any], text: str, tool: str | None, usage: dict[str, Any] | None) -> Iterator[bytes]:
    extra: dict[str, Any] = {} if usage is None else {"usage": None}
    base = {**base, "object": "chat.completion.chunk"}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse({**base, "choices": [choice], **extra})

    yield chunk({"role": "assistant", "content": None if tool else "", "refusal": None})
    if tool:
        first = {"index": 0, "id": "call_fake", "type": "function", "function": {"name": tool, "arguments": ""}}
        yield chunk({"tool_calls": [first]})
        for piece in words(json.dumps(ARGUMENTS)):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    else:
        for word in words(text):
            yield chunk({"content": word})
    yield chunk({}, "tool_calls" if tool else "stop")
    if usage is not None:
        yield sse({**base, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


# --- OpenAI Responses ---


def _responses(doc: Any, text: str) -> Reply:
    asked = doc.get("tools") and not (
        isinstance(doc["input"], list) and doc["input"][-1].get("type") == "function_call_output"
    )
    tool = doc["tools"][0]["name"] if asked else None
    whole = {
        "id": "resp_fake",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": doc.get("instructions"),
        "model": doc["model"],
        "output": [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "metadata": {},
        "usage": None,
    }
    done = {**whole, "status": "completed", "output": [_responses_item(text, tool, "completed")]}
    done["usage"] = {
        "input_tokens": PROMPT,
        "input_tokens_details": {"cached_tokens": CACHED},
        "output_tokens": COMPLETION,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": PROMPT + COMPLETION,
    }
    if not doc.get("stream"):
        return _json(done)
    return _stream(
        sse({**event, "sequence_number": n}, event["type"])
        for n, event in enumerate(_responses_events(whole, done, text, tool))
    )


def _responses_item(text: str, tool: str | None, status: str) -> dict[str, Any]:
    if tool:
        call = {"id": "fc_fake", "type": "function_call", "call_id": "call_fake", "name": tool, "status": status}
        return {**call, "arguments": json.dumps(ARGUMENTS) if status == "completed" else ""}
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    content = [part] if status == "completed" else []
    return {"id": "msg_fake", "type": "message", "role": "assistant", "status": status, "content": content}


def _responses_events(whole: Any, done: Any, text: str, tool: str | None) -> Iterator[dict[str, Any]]:
    yield {"type": "response.created", "response": whole}
    yield {"type": "response.in_progress", "response": whole}
    item = _responses_item(text, tool, "in_progress")
    yield {"type": "response.output_item.added", "output_index": 0, "item": item}
    where = {"item_id": item["id"], "output_index": 0}
    if tool:
        arguments = json.dumps(ARGUMENTS)
        for piece in words(arguments):
            yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
        yield {"type": "response.function_call_arguments.done", **where, "name": tool, "arguments": arguments}
    else:
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        where["content_index"] = 0
        yield {"type": "response.content_part.added", **where, "part": part}
        for word in words(text):
            yield {"type": "response.output_text.delta", **where, "delta": word, "logprobs": []}
        yield {"type": "response.output_text.done", **where, "text": text, "logprobs": []}
        yield {"type": "response.content_part.done", **where, "part": {**part, "text": text}}
    yield {"type": "response.output_item.done", "output_index": 0, "item": done["output"][0]}
    yield {"type": "response.completed", "response": done}


# --- Anthropic Messages ---

_PROMPTS = PromptCache()
_USAGE = {"input_tokens": PROMPT - CACHED, "cache_creation_input_tokens": 0, "cache_read_input_tokens": CACHED}


def _anthropic(doc: Any, text: str) -> Reply:
    last = doc["messages"][-1]["content"]
    answered = isinstance(last, list) and any(block.get("type") == "tool_result" for block in last)
    tool = doc["tools"][0]["name"] if doc.get("tools") and not answered else None
    try:
        usage = _PROMPTS.usage(doc) or {**_USAGE}
    except Refused as error:
        return _json({"type": "error", "error": {"type": "invalid_request_error", "message": str(error)}}, 400)
    message: dict[str, Any] = {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": doc["model"],
        "content": [{"type": "text", "text": text}],
        "stop_reason": "tool_use" if tool else "end_turn",
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": COMPLETION},
    }
    if tool:
        message["content"] = [{"type": "tool_use", "id": "toolu_fake", "name": tool, "input": ARGUMENTS}]
    if not doc.get("stream"):
        return _json(message)
    return _stream(sse(event, event["type"]) for event in _anthropic_events(message, text, tool, usage))


def _anthropic_events(message: Any, text: str, tool: str | None, usage: Any) -> Iterator[dict[str, Any]]:
    start = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    block: dict[str, Any] = {"type": "text", "text": ""}
    if tool:
        block = {**message["content"][0], "input": {}}
    yield {"type": "content_block_start", "index": 0, "content_block": block}
    yield {"type": "ping"}
    for piece in words(json.dumps(ARGUMENTS) if tool else text):
        delta = {"type": "input_json_delta", "partial_json": piece} if tool else {"type": "text_delta", "text": piece}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
    yield {"type": "content_block_stop", "index": 0}
    end = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": COMPLETION}}
    yield {"type": "message_stop"}


# --- Gemini generateContent ---


def _gemini(seen: Seen, text: str, *, stream: bool) -> Reply:
    doc = seen.json
    model = seen.path.rpartition("/")[2].partition(":")[0]
    declared = [f for tool in doc.get("tools", []) for f in tool.get("functionDeclarations", [])]
    answered = any("functionResponse" in part for part in doc["contents"][-1]["parts"])
    parts: list[dict[str, Any]] = [{"text": piece} for piece in (words(text) if stream else [text])]
    if declared and not answered:
        parts = [{"functionCall": {"name": declared[0]["name"], "args": ARGUMENTS}}]
    docs = [_gemini_doc(model, part, last=part is parts[-1]) for part in parts]
    if not stream:
        return _json(docs[0])
    if "alt=sse" in seen.target:
        return _stream(f"data: {json.dumps(d, ensure_ascii=False)}\r\n\r\n".encode() for d in docs)
    texts = [json.dumps(d, ensure_ascii=False, indent=2) for d in docs]
    pieces = [("[" if n == 0 else ",\r\n") + piece for n, piece in enumerate(texts)]
    return Reply("application/json; charset=UTF-8", [p.encode() for p in [*pieces, "]"]], stream=True)


def _gemini_doc(model: str, part: dict[str, Any], *, last: bool) -> dict[str, Any]:
    usage = {"promptTokenCount": PROMPT, "cachedContentTokenCount": CACHED, "totalTokenCount": PROMPT}
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [part]}, "index": 0}
    if last:
        candidate["finishReason"] = "STOP"
        usage |= {"candidatesTokenCount": COMPLETION, "totalTokenCount": PROMPT + COMPLETION}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "fake"}
