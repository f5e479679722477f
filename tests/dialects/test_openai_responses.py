"""The Responses dialect's streams carry their usage by themselves."""

from __future__ import annotations

import json

from mitmesh.dialects.base import Answer, Refusal
from mitmesh.dialects.openai_responses import OpenAIResponses
from openai_client import events

RESPONSES = OpenAIResponses()


def test_usage_needs_no_asking() -> None:
    """Nothing is added to a request, so nothing has to be taken out of its answer."""
    assert RESPONSES.ask_usage({"stream": True, "input": "hi"}) is None
    assert not any(RESPONSES.only_usage(doc) for _, doc in events(b"".join(RESPONSES.render_stream(Answer()))))


def test_error_event_has_both_shapes() -> None:
    """An error in a stream is flat, as the API documents it, and nested, as its SDK looks for it."""
    raw = RESPONSES.stream_error(Refusal(503, "t", "Why.", "rule", "01A"))
    [(event, doc)] = events(raw)
    assert event.name == "error"
    assert (doc["type"], doc["message"], doc["code"]) == ("error", "Why.", "rule")
    assert doc["error"] == json.loads(RESPONSES.refusal(Refusal(503, "t", "Why.", "rule", "01A")))["error"]
