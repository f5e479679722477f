"""Text positions of answers and events of the Responses dialect."""

from __future__ import annotations

from typing import Any

import pytest

from cassettes import calls
from mitmesh.dialects.base import Kind
from mitmesh.dialects.openai_responses import OpenAIResponses
from openai_client import events

RESPONSES = OpenAIResponses()


def test_a_stream_says_everything_again() -> None:
    """Deltas, done text, done part, done item and final answer are each a channel with the whole text."""
    channels: dict[str, str] = {}
    for _, doc in events(calls("responses_stream_tools")[1].stream):
        for text in RESPONSES.event_texts(doc):
            channels[text.channel] = channels.get(text.channel, "") + text.text
    assert set(channels.values()) == {"The capital of France is Paris."}
    assert sorted(channels) == [
        "completed.0.content.0.text",
        "response.content_part:0:0.done.text",
        "response.output_item:0:0.done.content.0.text",
        "response.output_text:0:0",
        "response.output_text:0:0.done.text",
    ]


def test_arguments_are_json() -> None:
    """Arguments are JSON wherever a stream says them."""
    found = [
        text
        for _, doc in events(calls("responses_stream_usage")[0].stream)
        for text in RESPONSES.event_texts(doc)
        if text.kind is Kind.TOOL_CALL
    ]
    assert len(found) == 6 + 3
    assert all(text.is_json for text in found)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "response.refusal.delta", "delta": "no"}, [(("delta",), Kind.REFUSAL, "no")]),
        ({"type": "response.reasoning_summary_text.delta", "delta": "hm"}, [(("delta",), Kind.REASONING, "hm")]),
        ({"type": "response.unheard_of.delta", "delta": "x"}, [(("delta",), Kind.TOOL_CALL, "x")]),
        ({"type": "response.audio.delta", "delta": "AAAA"}, []),
        ({"type": "response.output_text.delta", "delta": ""}, []),
        ({"type": "response.output_text.done", "text": "a"}, [(("text",), Kind.TEXT, "a")]),
        (
            {"type": "response.reasoning_summary_part.done", "part": {"type": "summary_text", "text": "hm"}},
            [(("part", "text"), Kind.REASONING, "hm")],
        ),
        (
            {
                "type": "response.output_item.done",
                "item": {"type": "shell_call", "id": "s", "action": {"type": "exec", "commands": ["ls"]}},
            },
            [(("item", "action", "commands", 0), Kind.TOOL_CALL, "ls")],
        ),
        ({"type": "response.created", "response": {"instructions": "Be brief", "output": []}}, []),
        ({"type": "error", "message": "x"}, []),
        (None, []),
    ],
)
def test_events(event: Any, expected: list[Any]) -> None:
    """Each event's texts, with the paths to them; media, empty texts and what is echoed are none."""
    assert [(text.path, text.kind, text.text) for text in RESPONSES.event_texts(event)] == expected


def test_parts_of_an_item_have_their_own_channels() -> None:
    """Two parts of one item, and two items, are different texts."""
    deltas = [
        {"type": "response.output_text.delta", "output_index": item, "content_index": part, "delta": "a"}
        for item in (0, 1)
        for part in (0, 1)
    ]
    assert len({RESPONSES.event_texts(delta)[0].channel for delta in deltas}) == 4


def test_answer() -> None:
    """A whole answer's texts lie in its output."""
    [text] = RESPONSES.answer_texts(calls("gemini_to_responses")[4].answer)
    assert text.path == ("output", 0, "content", 0, "text")
    [text] = RESPONSES.answer_texts(calls("responses_file")[0].answer)
    assert (text.path, text.is_json) == (("output", 1, "arguments"), True)
