"""Writing Gemini's answers, streams and errors, so that its SDKs take them for its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mitmesh.dialects.base import Answer, Framing, Kind, Part, Refusal, Usage
from mitmesh.dialects.walk import arguments, count, encode, items, obj, sse, words

FINISHES = {
    "length": "MAX_TOKENS",
    "max_tokens": "MAX_TOKENS",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
}
"""Other dialects' words for why an answer ended; what is neither listed nor Google's own is STOP."""
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Canonical codes by HTTP status (google.rpc.Code)."""


def render(answer: Answer) -> bytes:
    """The answer as one JSON document. Reasoning and what is opaque are left out."""
    return encode(_document(answer, [_part(part) for part in _shown(answer)], last=True))


def render_stream(answer: Answer, framing: Framing) -> Iterator[bytes]:
    """The answer as chunks, text word by word, as server-sent events or as one JSON array."""
    chunks = _chunks(answer)
    if framing is not Framing.JSON_ARRAY:
        yield from (sse(chunk) for chunk in chunks)
        return
    opening = b"["
    for chunk in chunks:
        yield opening + encode(chunk)
        opening = b",\r\n"
    yield b"\r\n]\r\n"


def error(refusal: Refusal) -> dict[str, Any]:
    """The error document (google.rpc.Status). The reason is the refusal's type in upper case."""
    fallback = "INTERNAL" if refusal.status >= 500 else "INVALID_ARGUMENT"
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": refusal.type.upper(),
            "domain": "mitmesh",
            "metadata": {"mesh_id": refusal.exchange, "code": refusal.code},
        }
    ]
    if refusal.retry_after is not None:
        delay = f"{refusal.retry_after}s"
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    status = STATUSES.get(refusal.status, fallback)
    return {"error": {"code": refusal.status, "message": refusal.message, "status": status, "details": details}}


def stream_error(refusal: Refusal, framing: Framing) -> bytes:
    """The error as a stream's last event. In an array at least one element is taken to have gone before."""
    if framing is Framing.JSON_ARRAY:
        return b",\r\n" + encode(error(refusal)) + b"\r\n]\r\n"
    return sse(error(refusal))


def stop(answer: Answer, last: Any, framing: Framing) -> bytes:
    """A last chunk: of each candidate that began, or would speak now, and has not ended, that the tokens ran out."""
    document = _document(replace(answer, finish="max_tokens"), [{"text": ""}], last=True)
    speaking = (count(obj(candidate).get("index")) for candidate in items(obj(last).get("candidates")))
    (candidate,) = document["candidates"]
    document["candidates"] = [{**candidate, "index": index} for index in sorted({*answer.open, *speaking} or {0})]
    return b",\r\n" + encode(document) if framing is Framing.JSON_ARRAY else sse(document)


def _chunks(answer: Answer) -> Iterator[dict[str, Any]]:
    for part in _shown(answer):
        if part.kind is Kind.TOOL_CALL:
            yield _document(answer, [_part(part)], last=False)
        else:
            for word in words(part.text):
                yield _document(answer, [{"text": word}], last=False)
    yield _document(answer, [{"text": ""}], last=True)


def _shown(answer: Answer) -> list[Part]:
    return [part for part in answer.parts if part.kind in (Kind.TEXT, Kind.TOOL_CALL, Kind.REFUSAL)]


def _part(part: Part) -> dict[str, Any]:
    if part.kind is not Kind.TOOL_CALL:
        return {"text": part.text}
    call: dict[str, Any] = {"name": part.name or "", "args": arguments(part.text)}
    if part.call_id:
        call["id"] = part.call_id
    return {"functionCall": call}


def _document(answer: Answer, parts: list[dict[str, Any]], *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    document: dict[str, Any] = {"candidates": [candidate]}
    if last:
        candidate["finishReason"] = _finish(answer.finish)
        document["usageMetadata"] = _usage(answer.usage or Usage())
    document["modelVersion"] = answer.model or "unknown"
    document["responseId"] = answer.id or "mitmesh"
    return document


def _finish(finish: str | None) -> str:
    return finish if finish and finish.isupper() else FINISHES.get(finish or "", "STOP")


def _usage(usage: Usage) -> dict[str, int]:
    counts = {
        "promptTokenCount": usage.prompt,
        "candidatesTokenCount": max(0, usage.completion - usage.reasoning),
        "totalTokenCount": usage.total,
    }
    if usage.cache_read:
        counts["cachedContentTokenCount"] = usage.cache_read
    if usage.reasoning:
        counts["thoughtsTokenCount"] = usage.reasoning
    return counts
