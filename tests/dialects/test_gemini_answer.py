"""Reading Gemini answers and streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cassettes import Recorded, calls, names
from mitmesh.dialects.base import AnswerText, Event, Kind, Usage
from mitmesh.dialects.gemini_answer import Reader, answer_texts, read_answer, usage

RECORDED = [
    call
    for name in names("generativelanguage")
    for call in calls(name)
    if "ontent" in call.path and "googleapis" in call.host
]
STREAMS = [call for call in RECORDED if call.stream and "streamGenerate" in call.path]
WHOLE = [call for call in RECORDED if call.answer and ":generateContent" in call.path]


def events(call: Recorded) -> list[dict[str, Any]]:
    lines = call.stream.decode().replace("\r\n", "\n").split("\n")
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def feed(docs: list[Any], limit: int = 8_000_000) -> Reader:
    reader = Reader(limit)
    for doc in docs:
        reader.feed(Event(b""), doc)
    reader.finish()
    return reader


def parts_of(doc: dict[str, Any]) -> list[dict[str, Any]]:
    return list(doc["candidates"][0].get("content", {}).get("parts", []))


@pytest.mark.parametrize("call", STREAMS, ids=lambda call: call.path)
def test_recorded_streams(call: Recorded) -> None:
    """Text, calls, id, finish and usage of a recorded stream are what its chunks say."""
    docs = events(call)
    answer = feed(docs).answer
    last = docs[-1]
    assert answer.complete
    assert (answer.id, answer.model) == (last["responseId"], last["modelVersion"])
    assert answer.finish == last["candidates"][0]["finishReason"]
    parts = [part for doc in docs for part in parts_of(doc)]
    assert "".join(part.text for part in answer.parts if part.kind is Kind.TEXT) == "".join(
        part.get("text", "") for part in parts if not part.get("thought")
    )
    assert [(part.name, json.loads(part.text)) for part in answer.parts if part.kind is Kind.TOOL_CALL] == [
        (part["functionCall"]["name"], part["functionCall"]["args"]) for part in parts if "functionCall" in part
    ]
    counted = last["usageMetadata"]
    assert answer.usage is not None
    assert answer.usage.total == counted["promptTokenCount"] + counted.get("toolUsePromptTokenCount", 0) + counted.get(
        "candidatesTokenCount", 0
    ) + max(doc["usageMetadata"].get("thoughtsTokenCount", 0) for doc in docs)


@pytest.mark.parametrize("call", WHOLE, ids=lambda call: call.path)
def test_recorded_answers(call: Recorded) -> None:
    """Text, finish and usage of a recorded answer are what it says."""
    answer = read_answer(call.answer)
    assert answer.complete
    assert answer.finish == call.answer["candidates"][0]["finishReason"]
    assert answer.text == "".join(part.get("text", "") for part in parts_of(call.answer))
    assert answer.usage is not None
    assert answer.usage.total == call.answer["usageMetadata"]["totalTokenCount"]


@pytest.mark.parametrize("call", STREAMS, ids=lambda call: call.path)
def test_a_truncated_stream_is_not_complete(call: Recorded) -> None:
    """Cut before its finish reason, a stream keeps its text so far and is incomplete."""
    docs = events(call)
    for end in range(len(docs)):
        if not any("finishReason" in doc["candidates"][0] for doc in docs[:end]):
            assert not feed(docs[:end]).answer.complete


USAGES = [
    ({}, Usage()),
    ({"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}, Usage(5, 2)),
    ({"promptTokenCount": 5, "toolUsePromptTokenCount": 4}, Usage(9)),
    ({"promptTokenCount": 5, "cachedContentTokenCount": 3}, Usage(5, 0, 3)),
    ({"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 7}, Usage(5, 9, reasoning=7)),
    ({"promptTokenCount": "5", "candidatesTokenCount": None, "thoughtsTokenCount": -1}, Usage()),
]


@pytest.mark.parametrize(("doc", "expected"), USAGES)
def test_usage(doc: dict[str, Any], expected: Usage) -> None:
    """Cached tokens are within the prompt, thoughts and tool prompts beside it."""
    assert usage(doc) == expected


def chunk(*parts: Any, **candidate: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, **candidate}]}


def test_parts_grow_by_kind() -> None:
    """Text continues text and thought continues thought; a call between them parts them."""
    docs = [
        chunk({"text": "hm", "thought": True}),
        chunk({"text": "m", "thought": True}),
        chunk({"text": "a"}),
        chunk({"text": "b"}, {"functionCall": {"name": "f", "args": {"x": 1}, "id": "c"}}),
        chunk({"text": "c", "thoughtSignature": "s"}, finishReason="STOP"),
    ]
    parts = feed(docs).answer.parts
    assert [(part.kind.value, part.text) for part in parts] == [
        ("reasoning", "hmm"),
        ("text", "ab"),
        ("tool_call", '{"x":1}'),
        ("text", "c"),
    ]
    assert read_answer(docs).text == "ab\nc"


def test_arguments_in_pieces() -> None:
    """Streamed argument strings are kept joined, and share a channel in the events."""
    docs = [
        chunk({"functionCall": {"name": "f", "willContinue": True}}),
        chunk({"functionCall": {"partialArgs": [{"jsonPath": "$.city", "stringValue": "Be"}], "willContinue": True}}),
        chunk({"functionCall": {"partialArgs": [{"jsonPath": "$.city", "stringValue": "rn"}]}}),
        chunk(finishReason="STOP"),
    ]
    (part,) = feed(docs).answer.parts
    assert (part.name, "Bern" in part.text) == ("f", True)
    values = [text for doc in docs for text in answer_texts(doc) if text.path[-1] == "stringValue"]
    assert [(text.channel, text.text) for text in values] == [("0.$.city", "Be"), ("0.$.city", "rn")]


def test_candidates_are_apart() -> None:
    """Each candidate grows its own parts, and the answer is complete when all are finished."""

    def both(first: str, second: str, **fields: Any) -> dict[str, Any]:
        return {
            "candidates": [
                {"index": 1, "content": {"parts": [{"text": second}]}, **fields},
                {"index": 0, "content": {"parts": [{"text": first}]}, **fields},
            ]
        }

    docs = [both("a", "x"), both("b", "y")]
    assert [part.text for part in feed(docs).answer.parts] == ["xy", "ab"]
    one = {"candidates": [{"index": 0, "finishReason": "STOP"}]}
    assert not feed([*docs, one]).answer.complete
    other = {"candidates": [{"index": 1, "finishReason": "MAX_TOKENS"}]}
    answer = feed([*docs, one, other]).answer
    assert (answer.complete, answer.finish) == (True, "STOP")


def test_errors_and_blocks() -> None:
    """An error gives its status and is incomplete, in an array too; a blocked prompt is a whole answer."""
    error = {"error": {"code": 429, "message": "private", "status": "RESOURCE_EXHAUSTED"}}
    for doc in (error, [error], [chunk({"text": "a"}, finishReason="STOP"), error]):
        answer = read_answer(doc)
        assert (answer.error, answer.complete) == ("RESOURCE_EXHAUSTED", False)
    blocked = read_answer({"promptFeedback": {"blockReason": "SAFETY"}})
    assert (blocked.finish, blocked.complete) == ("SAFETY", True)


@pytest.mark.parametrize(
    "doc", [{"totalTokens": 5}, {"embedding": {"values": [0.1]}}, {"embeddings": []}, {"models": []}]
)
def test_other_operations_answers_are_complete(doc: Any) -> None:
    """Token counts, embeddings and lists of models are whole answers without usage."""
    answer = read_answer(doc)
    assert (answer.complete, answer.usage) == (True, None)


def test_text_kept_is_bounded() -> None:
    """Beyond its limit the reader keeps no more text and says so."""
    reader = feed([chunk({"text": "x" * 100})] * 50, limit=1000)
    assert (reader.cut, len(reader.answer.text)) == (True, 900)
    assert feed([chunk({"functionCall": {"name": "f", "args": {}}})] * 50, limit=1000).cut


def test_texts_of_a_chunk() -> None:
    """A candidate's text and thought continue each by itself; what comes whole has no channel; signatures are none."""
    doc = chunk(
        {"text": "hm", "thought": True},
        {"text": "hi", "thoughtSignature": "sig"},
        {"functionCall": {"name": "f", "args": {"a": ["b"]}}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "o"}},
        groundingMetadata={"webSearchQueries": ["w q"]},
        finishReason="STOP",
    )
    head = ("candidates", 0, "content", "parts")
    assert answer_texts({**doc, "responseId": "r1", "modelVersion": "g"}) == [
        AnswerText((*head, 0, "text"), "0.reasoning", Kind.REASONING, "hm"),
        AnswerText((*head, 1, "text"), "0.text", Kind.TEXT, "hi"),
        AnswerText((*head, 2, "functionCall", "args", "a", 0), "", Kind.TOOL_CALL, "b"),
        AnswerText((*head, 3, "codeExecutionResult", "output"), "", Kind.TEXT, "o"),
        AnswerText(("candidates", 0, "groundingMetadata", "webSearchQueries", 0), "", Kind.TEXT, "w q"),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "candidates",
                    "content",
                    "parts",
                    "text",
                    "functionCall",
                    "partialArgs",
                    "stringValue",
                    "args",
                    "index",
                    "usageMetadata",
                    "error",
                    "promptFeedback",
                    "finishReason",
                    "name",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(JSON, max_size=4), JSON)
def test_no_answer_raises(docs: list[Any], part: Any) -> None:
    """Whatever a provider sends, reading it raises nothing."""
    docs = [*docs, chunk(part), chunk({"functionCall": part}), {"candidates": part}]
    feed(docs)
    read_answer(docs)
    for doc in docs:
        read_answer(doc)
        answer_texts(doc)
