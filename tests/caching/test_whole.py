"""An answer that has more in it than is rendered again is not kept: a hit would give less."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cached import chat
from mitmesh.caching.eligible import whole
from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Answer, Event
from mitmesh.rules.cache import Cache

RULES = Cache(tool_calls=True)
CITED = [{"type": "url_citation"}]
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def completion(top: dict[str, Any] | None = None, choice: dict[str, Any] | None = None, **message: Any) -> Any:
    said = {"role": "assistant", "content": "Paris.", "refusal": None, "annotations": [], **message}
    choices = [{"index": 0, "message": said, "logprobs": None, "finish_reason": "stop", **(choice or {})}]
    return {"id": "1", "model": "m", "system_fingerprint": "fp", "choices": choices, **(top or {})}


def response(*items: Any, text: dict[str, Any] | None = None, **message: Any) -> Any:
    part = {"type": "output_text", "text": "Paris.", "annotations": [], "logprobs": [], **(text or {})}
    said = {"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [part], **message}
    return {"id": "r1", "status": "completed", "model": "m", "output": [*items, said]}


def message(*blocks: Any, **fields: Any) -> Any:
    content = [{"type": "text", "text": "Paris.", "citations": None}, *blocks]
    return {"type": "message", "id": "1", "model": "m", "content": content, "stop_reason": "end_turn", **fields}


def gemini(*parts: Any, **candidate: Any) -> Any:
    said = {"content": {"role": "model", "parts": [{"text": "Paris."}, *parts]}, "finishReason": "STOP", "index": 0}
    return {"candidates": [{**said, "safetyRatings": [{}], "avgLogprobs": -0.1, **candidate}], "modelVersion": "m"}


@pytest.mark.parametrize(
    ("dialect", "doc"),
    [
        ("openai_chat", completion()),
        ("openai_chat", completion(tool_calls=[CALL])),
        ("openai_chat", completion(reasoning_content="hm")),
        ("openai_responses", response()),
        ("openai_responses", response({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"})),
        ("anthropic", message()),
        ("anthropic", message({"type": "tool_use", "id": "t", "name": "f", "input": {}})),
        ("anthropic", message(stop_reason="stop_sequence", stop_sequence="END")),
        ("gemini", gemini()),
        ("gemini", gemini({"functionCall": {"name": "f", "args": {}}})),
    ],
)
def test_said_whole(dialect: str, doc: Any) -> None:
    """What is rendered again is all there was."""
    assert whole(DIALECTS[dialect].read_answer(doc), chat(), RULES)


@pytest.mark.parametrize(
    ("dialect", "doc"),
    [
        ("openai_chat", completion(annotations=CITED)),
        ("openai_chat", completion(reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}])),
        ("openai_chat", completion(a_field_of_tomorrow={"x": 1})),
        ("openai_chat", completion(content=[{"type": "text", "text": "Paris."}])),
        ("openai_chat", completion(tool_calls=[{**CALL, "extra_content": {"google": {}}}])),
        ("openai_chat", completion(tool_calls=[{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}])),
        ("openai_chat", completion(choice={"index": 1})),
        ("openai_chat", completion(choice={"logprobs": {"content": [{}]}})),
        ("openai_chat", completion({"citations": ["https://x"]})),
        ("openai_chat", {**completion(), "choices": completion()["choices"] * 2}),
        ("openai_chat", {"id": "1", "choices": [{"index": 0, "text": "Paris.", "finish_reason": "stop"}]}),
        ("openai_responses", response({"type": "reasoning", "id": "rs_1", "summary": []})),
        ("openai_responses", response({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x"})),
        ("openai_responses", response(text={"annotations": CITED})),
        ("openai_responses", response(text={"logprobs": [{}]})),
        ("openai_responses", response(status="incomplete")),
        ("openai_responses", response(phase="commentary")),
        ("anthropic", message({"type": "text", "text": "a", "citations": [{"type": "char_location"}]})),
        ("anthropic", message({"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "x"}})),
        ("gemini", gemini(groundingMetadata={"webSearchQueries": ["x"]})),
        ("gemini", gemini(citationMetadata={"citations": [{}]})),
        ("gemini", gemini({"text": "", "thoughtSignature": "x"})),
        ("gemini", gemini(index=1)),
        ("gemini", {**gemini(), "candidates": gemini()["candidates"] * 2}),
    ],
)
def test_more_than_is_rendered(dialect: str, doc: Any) -> None:
    """Citations, a second choice, items and signatures with an id of their own, forms of their own."""
    answer = DIALECTS[dialect].read_answer(doc)
    assert answer.complete and not whole(answer, chat(), RULES)


def streamed(dialect: str, docs: list[Any]) -> Answer:
    reader = DIALECTS[dialect].reader()
    for doc in docs:
        reader.feed(Event(b"", json.dumps(doc).encode()), doc)
    reader.feed(Event(b"", b"[DONE]"), None)
    reader.finish()
    return reader.answer


def chunks(*choices: Any) -> list[Any]:
    return [{"id": "1", "model": "m", "choices": [choice]} for choice in choices]


def blocks(delta: Any, block: Any) -> list[Any]:
    return [
        {"type": "message_start", "message": {"id": "1", "model": "m", "usage": {}}},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}},
        {"type": "message_stop"},
    ]


TEXT, SAID = {"type": "text", "text": ""}, {"type": "text_delta", "text": "Paris."}
FIRST, LAST = {"index": 0, "delta": {"content": "Paris."}}, {"index": 0, "delta": {}, "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("dialect", "docs", "kept"),
    [
        ("openai_chat", chunks(FIRST, LAST), True),
        ("openai_chat", chunks(FIRST, {"index": 0, "delta": {"annotations": CITED}}, LAST), False),
        ("openai_chat", chunks(FIRST, LAST, {**FIRST, "index": 1}, {**LAST, "index": 1}), False),
        ("anthropic", blocks(SAID, TEXT), True),
        ("anthropic", blocks({"type": "citations_delta", "citation": {}, "text": "x"}, TEXT), False),
        ("anthropic", blocks(SAID, {**TEXT, "citations": [{}]}), False),
    ],
)
def test_streams(dialect: str, docs: list[Any], kept: bool) -> None:
    """The same of what comes in pieces."""
    answer = streamed(dialect, docs)
    assert answer.complete and answer.text and whole(answer, chat(), RULES) is kept


@pytest.mark.parametrize(
    ("done", "output", "kept"),
    [
        ([], [], True),
        ([{"type": "reasoning", "id": "rs_1", "summary": []}], [], False),
        ([], [{"type": "reasoning", "id": "rs_1", "summary": []}], False),
    ],
)
def test_streams_of_items(done: list[Any], output: list[Any], kept: bool) -> None:
    """An item counts by its own event, and in the whole response at the end."""
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "Paris."}
    items = [{"type": "response.output_item.done", "output_index": 1, "item": item} for item in done]
    last = {"type": "response.completed", "response": {**response(), "output": output}}
    answer = streamed("openai_responses", [delta, *items, last])
    assert answer.complete and answer.text and whole(answer, chat(), RULES) is kept


def test_the_stop_sequence_is_said_again() -> None:
    """As JSON, and at a stream's end."""
    dialect = DIALECTS["anthropic"]
    answer = streamed("anthropic", blocks(SAID, TEXT))
    assert json.loads(dialect.render(answer))["stop_sequence"] == "END"
    stream = b"".join(dialect.render_stream(answer)).splitlines()
    events = [json.loads(line[6:]) for line in stream if line.startswith(b"data: ")]
    assert events[0]["message"]["stop_sequence"] is None
    assert [event["delta"]["stop_sequence"] for event in events if event["type"] == "message_delta"] == ["END"]
