"""What dialects say of streams and requests for redaction: ends of texts, more of a text, JSON as text, history."""

from __future__ import annotations

from typing import Any

import pytest

from mitmesh.dialects import get
from mitmesh.dialects.base import only


@pytest.mark.parametrize(
    ("dialect", "doc", "ends"),
    [
        ("openai_chat", None, [""]),
        ("openai_chat", {"error": {"message": "x"}}, [""]),
        ("openai_chat", {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]}, []),
        ("openai_chat", {"choices": [{"index": 1, "finish_reason": "stop"}, {"index": 10, "delta": {}}]}, ["1"]),
        ("openai_responses", {"type": "response.output_text.delta", "output_index": 0, "delta": "x"}, []),
        (
            "openai_responses",
            {"type": "response.output_text.done", "output_index": 0, "text": "x"},
            ["response.output_text:0:0", "response.output_text:0:0.done.text"],
        ),
        ("openai_responses", {"type": "response.completed", "response": {}}, [""]),
        ("openai_responses", {"type": "error", "message": "x"}, [""]),
        ("anthropic", {"type": "content_block_stop", "index": 3}, ["3"]),
        ("anthropic", {"type": "message_delta", "delta": {}}, [""]),
        ("anthropic", {"type": "ping"}, []),
        ("gemini", {"candidates": [{"finishReason": "STOP", "index": 2}]}, ["2"]),
        ("gemini", {"candidates": [{"content": {}}]}, []),
        ("generic", {"x": "y"}, [""]),
        ("generic", {"text": "y"}, []),
        ("generic", None, [""]),
    ],
)
def test_ends(dialect: str, doc: Any, ends: list[str]) -> None:
    """Which texts get no more after an event."""
    assert get(dialect).ends(doc) == ends


def test_only() -> None:
    """Of an event nothing is said again but where its text belongs."""
    call = {"index": 1, "id": "c", "function": {"name": "f", "arguments": "old"}}
    doc = {"id": "x", "usage": {"n": 1}, "choices": [{"index": 0, "delta": {"role": "r", "tool_calls": [call]}}]}
    path = ("choices", 0, "delta", "tool_calls", 0, "function", "arguments")
    wanted = {"index": 0, "delta": {"tool_calls": [{"index": 1, "function": {"arguments": "new"}}]}}
    assert only(doc, path, "new") == {"id": "x", "choices": [wanted]}


@pytest.mark.parametrize(
    ("dialect", "doc"),
    [
        ("openai_chat", {"response_format": {"type": "json_object"}}),
        ("openai_responses", {"text": {"format": {"type": "json_schema"}}}),
        ("anthropic", {"output_config": {"format": {"type": "json_schema"}}}),
        ("anthropic", {"output_format": {"type": "json_schema"}}),
        ("gemini", {"generation_config": {"response_mime_type": "application/json"}}),
    ],
)
def test_structured(dialect: str, doc: Any) -> None:
    """Who asks for JSON as text, and who does not."""
    assert get(dialect).structured(doc)
    assert not get(dialect).structured({"text": {"format": {"type": "text"}}, "response_format": {"type": "text"}})


@pytest.mark.parametrize(
    ("dialect", "doc", "keeps"),
    [
        ("openai_responses", {}, True),
        ("openai_responses", {"store": True}, True),
        ("openai_responses", {"store": False}, False),
        ("anthropic", {"thread": {}}, True),
        ("anthropic", {}, False),
        ("openai_chat", {"store": True}, True),
        ("openai_chat", {}, False),
    ],
)
def test_keeps(dialect: str, doc: Any, keeps: bool) -> None:
    """Which calls a provider keeps, so that later ones can go on from them or read them."""
    assert get(dialect).keeps(doc) is keeps
