"""For tests of OpenAI's dialects: the real SDK on canned answers, and streams cut into events."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx2
from openai import OpenAI

from mitmesh.dialects.base import AnswerReader, Dialect, Event


def client(body: bytes | Iterable[bytes], status: int = 200) -> OpenAI:
    """An SDK client whose every call is answered with `body`: bytes as JSON, an iterable of bytes as a stream."""
    kind = "application/json" if isinstance(body, bytes) else "text/event-stream"

    def answer(request: httpx2.Request) -> httpx2.Response:
        content = body if isinstance(body, bytes) else b"".join(body)
        return httpx2.Response(status, content=content, headers={"content-type": kind})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return OpenAI(api_key="none", base_url="http://test/v1", max_retries=0, http_client=http)


def events(stream: bytes) -> list[tuple[Event, Any]]:
    """The events of a whole SSE stream, each with its parsed payload."""
    return [_event(block + "\n\n") for block in stream.decode().replace("\r\n", "\n").split("\n\n") if block.strip()]


def read_stream(dialect: Dialect, stream: bytes, limit: int = 8_000_000) -> AnswerReader:
    """A reader that was fed a whole stream."""
    reader = dialect.reader(limit)
    for event, doc in events(stream):
        reader.feed(event, doc)
    reader.finish()
    return reader


def _event(block: str) -> tuple[Event, Any]:
    lines = block.splitlines()
    data = "\n".join(line[5:].lstrip() for line in lines if line.startswith("data:"))
    name = next((line[6:].strip() for line in lines if line.startswith("event:")), None)
    try:
        doc = json.loads(data)
    except ValueError:
        doc = None
    return Event(block.encode(), data.encode(), name), doc
