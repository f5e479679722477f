"""Answers of our own in the Responses dialect, as OpenAI's SDK reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mitmesh.dialects.base import Answer, Kind, Part, Usage
from mitmesh.dialects.openai_responses import OpenAIResponses
from openai_client import client, events, read_stream

RESPONSES = OpenAIResponses()
HELLO: Any = {"model": "m", "input": "hi"}
TALK = Answer(
    "resp_1",
    "m",
    [Part(Kind.REASONING, "Hm, let me see."), Part(Kind.TEXT, "Hello  there,\nAnn.")],
    "stop",
    Usage(9, 4, cache_read=2, reasoning=1),
)
TOOLS = Answer(
    parts=[Part(Kind.TOOL_CALL, '{"city": "Bern"}', "weather", "call_1"), Part(Kind.TOOL_CALL, "", "now")],
    finish="tool_use",
)
REFUSED = Answer(parts=[Part(Kind.REFUSAL, "I will not.")], finish="max_tokens")


def test_json() -> None:
    """The SDK reads text and usage of a rendered answer."""
    answer = client(RESPONSES.render(TALK)).responses.create(**HELLO)
    assert (answer.id, answer.status, answer.output_text) == ("resp_1", "completed", "Hello  there,\nAnn.")
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (9, 4, 13)
    assert answer.usage.input_tokens_details.cached_tokens == 2


@pytest.mark.parametrize("answer", [TALK, TOOLS], ids=["text", "tools"])
def test_stream(answer: Answer) -> None:
    """The SDK's accumulator takes a rendered stream's every event and gives what the JSON says."""
    with client(RESPONSES.render_stream(answer)).responses.stream(**HELLO) as stream:
        kinds = [event.type for event in stream]
        whole = stream.get_final_response()
    plain = client(RESPONSES.render(answer)).responses.create(**HELLO)
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert whole.output_text == plain.output_text
    assert [item.type for item in whole.output] == [item.type for item in plain.output]
    made: list[Any] = [item for item in whole.output if item.type == "function_call"]
    assert [(item.name, item.arguments) for item in made] == [
        (part.name, part.text or "{}") for part in answer.parts if part.kind is Kind.TOOL_CALL
    ]


def test_deltas_are_words() -> None:
    """Text comes word by word, between the events that open and close it, all numbered in order."""
    found = [doc for _, doc in events(b"".join(RESPONSES.render_stream(TALK)))]
    assert [doc["sequence_number"] for doc in found] == list(range(len(found)))
    spoken = [doc["delta"] for doc in found if doc["type"] == "response.output_text.delta"]
    assert spoken == ["Hello  ", "there,\n", "Ann."]
    names = [doc["type"].removeprefix("response.") for doc in found]
    assert names[-9:] == [
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * 3,
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def test_refused() -> None:
    """A refusal is a part of its own; an answer that ran out of tokens is incomplete."""
    found = [doc for _, doc in events(b"".join(RESPONSES.render_stream(REFUSED)))]
    assert "".join(doc["delta"] for doc in found if doc["type"] == "response.refusal.delta") == "I will not."
    assert found[-1]["type"] == "response.incomplete"
    assert found[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert client(RESPONSES.render(REFUSED)).responses.create(**HELLO).status == "incomplete"


@pytest.mark.parametrize("answer", [TALK, TOOLS, REFUSED], ids=["text", "tools", "refused"])
def test_read_back(answer: Answer) -> None:
    """What we render we read back, as JSON and as a stream."""
    whole = RESPONSES.read_answer(json.loads(RESPONSES.render(answer)))
    streamed = read_stream(RESPONSES, b"".join(RESPONSES.render_stream(answer))).answer
    for read in (whole, streamed):
        assert [(part.kind, part.text) for part in read.parts] == [
            (part.kind, part.text or "{}") for part in answer.parts
        ]
        assert (read.complete, read.usage) == (True, answer.usage)
