"""Reading Anthropic answers and streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cassettes import Recorded, calls, names
from mitmesh.dialects.anthropic_answer import Reader, answer_texts, event_texts, read_answer, usage
from mitmesh.dialects.base import AnswerText, Event, Kind, Usage

RECORDED = [call for name in names("api.anthropic.com") for call in calls(name) if "anthropic.com" in call.host]
STREAMS = [call for call in RECORDED if call.stream]
WHOLE = [call for call in RECORDED if call.answer]


def events(call: Recorded) -> list[dict[str, Any]]:
    lines = call.stream.decode().split("\n")
    return [json.loads(line[5:]) for line in lines if line.startswith("data:")]


def feed(docs: list[Any], limit: int = 8_000_000, finish: bool = True) -> Reader:
    reader = Reader(limit)
    for doc in docs:
        reader.feed(Event(b""), doc)
    if finish:
        reader.finish()
    return reader


@pytest.mark.parametrize("call", STREAMS, ids=lambda call: call.path)
def test_recorded_streams(call: Recorded) -> None:
    """Text, reasoning, id, finish and usage of a recorded stream are what its events say."""
    docs = events(call)
    answer = feed(docs).answer
    deltas = [doc["delta"] for doc in docs if doc["type"] == "content_block_delta"]
    assert answer.complete
    assert answer.id == docs[0]["message"]["id"]
    assert answer.model == docs[0]["message"]["model"]
    assert "".join(part.text for part in answer.parts if part.kind is Kind.TEXT) == "".join(
        delta.get("text", "") for delta in deltas
    )
    assert "".join(part.text for part in answer.parts if part.kind is Kind.REASONING) == "".join(
        delta.get("thinking", "") for delta in deltas
    )
    last = next(doc for doc in reversed(docs) if doc["type"] == "message_delta")
    assert answer.finish == last["delta"]["stop_reason"]
    assert answer.usage is not None
    assert answer.usage.completion == last["usage"]["output_tokens"]
    assert answer.usage.prompt == sum(
        last["usage"][key] for key in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    )
    for part in answer.parts:
        if part.kind is Kind.TOOL_CALL:
            assert isinstance(json.loads(part.text), dict)
            assert part.name
            assert part.call_id


@pytest.mark.parametrize("call", WHOLE, ids=lambda call: call.path)
def test_recorded_answers(call: Recorded) -> None:
    """Text, finish and usage of a recorded answer are what it says; a token count is complete and costs nothing."""
    answer = read_answer(call.answer)
    assert answer.complete
    if "count_tokens" in call.path:
        assert answer.usage is None
        return
    assert [part.text for part in answer.parts if part.kind is Kind.TEXT] == [
        block["text"] for block in call.answer["content"] if block["type"] == "text"
    ]
    assert answer.usage is not None
    assert answer.usage.completion == call.answer["usage"]["output_tokens"]


@pytest.mark.parametrize("call", STREAMS[:3], ids=lambda call: call.path)
def test_a_truncated_stream_is_not_complete(call: Recorded) -> None:
    """Cut anywhere before its last event, a stream keeps its text so far and is incomplete."""
    docs = events(call)
    whole = feed(docs).answer.text
    for end in range(len(docs)):
        answer = feed(docs[:end]).answer
        assert not answer.complete
        assert whole.startswith(answer.text)


USAGES = [
    ({}, Usage()),
    ({"input_tokens": 5, "output_tokens": 2}, Usage(5, 2)),
    ({"input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 2}, Usage(8, 2, 3)),
    # only the sum: five-minute writes
    ({"input_tokens": 5, "cache_creation_input_tokens": 7}, Usage(12, 0, 0, 7)),
    # sum and breakdown: counted once
    (
        {
            "input_tokens": 5,
            "cache_creation_input_tokens": 7,
            "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        },
        Usage(12, 0, 0, 3, 4),
    ),
    # a breakdown alone
    ({"cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}}, Usage(7, 0, 0, 3, 4)),
    # a breakdown that explains only a part
    (
        {"cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 4}},
        Usage(9, 0, 0, 5, 4),
    ),
    ({"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 4}}, Usage(0, 9, reasoning=4)),
    (
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "iterations": [
                {"type": "message", "input_tokens": 1, "output_tokens": 1},
                {"type": "compaction", "input_tokens": 10, "output_tokens": 20, "cache_read_input_tokens": 5},
            ],
        },
        Usage(16, 21, 5),
    ),
    ({"input_tokens": "5", "output_tokens": -1, "cache_creation": 4, "iterations": 3}, Usage()),
]


@pytest.mark.parametrize(("doc", "expected"), USAGES)
def test_usage(doc: dict[str, Any], expected: Usage) -> None:
    """No token is counted twice and none is lost."""
    assert usage(doc) == expected


def test_usage_of_a_stream_is_cumulative() -> None:
    """A later count replaces an earlier one; what is not said again stands."""
    start = {"input_tokens": 10, "output_tokens": 1, "cache_creation_input_tokens": 4}
    docs = [
        {"type": "message_start", "message": {"id": "m", "usage": start}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 5}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 9, "input_tokens": None},
        },
    ]
    assert feed(docs).answer.usage == Usage(14, 9, 0, 4)


def test_an_error_event_ends_incomplete() -> None:
    """After an error event the answer bears the error's type and is not complete, whatever follows."""
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "private"}}
    stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    answer = feed([error, stop, {"type": "message_stop"}]).answer
    assert (answer.error, answer.complete) == ("overloaded_error", False)
    assert read_answer(error).error == "overloaded_error"


def test_text_kept_is_bounded() -> None:
    """Beyond its limit the reader keeps no more text and says so; usage and finish are still read."""
    start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    more = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x" * 100}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    reader = feed([start, *[more] * 50, end], limit=1000)
    assert reader.cut
    assert len(reader.answer.text) == 900
    assert reader.answer.usage == Usage(0, 3)
    assert not feed([start, more, end], limit=1000).cut
    assert feed([{**start, "index": index} for index in range(100)], limit=1000).cut


def test_event_texts() -> None:
    """Deltas of a block share its channel, argument pieces are JSON, thinking and signatures are no texts."""

    def delta(**fields: Any) -> list[AnswerText]:
        return event_texts({"type": "content_block_delta", "index": 2, "delta": fields})

    assert delta(type="text_delta", text="hi") == [AnswerText(("delta", "text"), "2", Kind.TEXT, "hi")]
    assert delta(type="input_json_delta", partial_json='{"a') == [
        AnswerText(("delta", "partial_json"), "2", Kind.TOOL_CALL, '{"a', is_json=True)
    ]
    assert delta(type="thinking_delta", thinking="hm") == delta(type="signature_delta", signature="s") == []
    citation = {"type": "char_location", "cited_text": "c", "encrypted_index": "e"}
    assert [(text.text, text.channel) for text in delta(type="citations_delta", citation=citation)] == [("c", "")]
    result = {"type": "mcp_tool_result", "tool_use_id": "m_1", "content": [{"type": "text", "text": "r"}]}
    assert event_texts({"type": "content_block_start", "index": 1, "content_block": result}) == [
        AnswerText(("content_block", "content", 0, "text"), "", Kind.TEXT, "r")
    ]
    assert event_texts({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "t"}}) == [
        AnswerText(("content_block", "text"), "1", Kind.TEXT, "t")
    ]
    assert [text.text for text in event_texts({"type": "error", "error": {"type": "api_error", "message": "m"}})] == [
        "m"
    ]
    assert [text.text for text in event_texts({"type": "novel", "x": ["y"]})] == ["y"]
    assert event_texts({"type": "ping"}) == event_texts(None) == []


def test_answer_texts() -> None:
    """Text, citations and each string of a tool's input are positions of a whole answer; signed thinking is not."""
    doc = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "hi", "citations": [{"type": "x", "cited_text": "c"}]},
            {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"a": ["b"]}},
        ],
        "stop_sequence": "END OF",
        "usage": {"service_tier": "standard"},
    }
    assert [(text.kind.value, text.text) for text in answer_texts(doc)] == [
        ("text", "hi"),
        ("text", "c"),
        ("tool_call", "b"),
        ("text", "END OF"),
    ]


@pytest.mark.parametrize("call", STREAMS, ids=lambda call: call.path)
def test_channels_of_recorded_streams_join_to_their_texts(call: Recorded) -> None:
    """Event texts joined by channel are the answer's own text and arguments."""
    joined: dict[str, str] = {}
    for doc in events(call):
        for text in event_texts(doc):
            if text.channel:
                joined[text.channel] = joined.get(text.channel, "") + text.text
    parts = feed(events(call)).answer.parts
    grown = [part.text for part in parts if part.kind in (Kind.TEXT, Kind.TOOL_CALL) and part.text not in ("", "{}")]
    assert [text for text in joined.values() if text] == grown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "message", "index", "delta", "content_block", "usage", "text", "error", "content", "id"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
TYPES = st.sampled_from(
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "error",
        "message",
    ]
)


def test_a_type_that_is_none() -> None:
    """A list where a word should be raises nothing (found by the property test below)."""
    feed([{"type": "content_block_delta", "index": 0, "delta": {"type": []}}])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.builds(lambda kind, doc: {**doc, "type": kind} if isinstance(doc, dict) else doc, TYPES, JSON)))
def test_no_answer_raises(docs: list[Any]) -> None:
    """Whatever a provider sends, reading it raises nothing."""
    feed(docs)
    for doc in docs:
        read_answer(doc)
        answer_texts(doc)
        event_texts(doc)
