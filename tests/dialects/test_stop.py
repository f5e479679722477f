"""How each dialect caps an answer, and ends a stream before its time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Answer, Event, Framing, Refusal
from mitmesh.wire.frames import framer
from mitmesh.wire.jsontext import Body, dumps


@pytest.mark.parametrize(
    ("dialect", "provider", "doc", "field", "value"),
    [
        ("openai_chat", "openai", {"messages": []}, ("max_completion_tokens",), 9),
        ("openai_chat", "azure", {"messages": []}, ("max_completion_tokens",), 9),
        ("openai_chat", "groq", {"messages": []}, ("max_tokens",), 9),
        ("openai_chat", "openai", {"prompt": "x"}, ("max_tokens",), 9),
        ("openai_responses", "openai", {"input": "x"}, ("max_output_tokens",), 9),
        ("anthropic", "anthropic", {"messages": []}, ("max_tokens",), 9),
        ("gemini", "google", {"contents": []}, ("generationConfig",), {"maxOutputTokens": 9}),
        ("gemini", "google", {"generation_config": {}}, ("generation_config", "maxOutputTokens"), 9),
        (
            "gemini",
            "google",
            {"generationConfig": {"max_output_tokens": 0}},
            ("generationConfig", "max_output_tokens"),
            9,
        ),
    ],
)
def test_a_cap_is_read_again(dialect: str, provider: str, doc: Any, field: tuple[str, ...], value: Any) -> None:
    """Set where the API has it, and then it is what the dialect reads."""
    kind = DIALECTS[dialect]
    edit = kind.cap_output(doc, 9, provider)
    assert edit == (field, value)
    body = Body(dumps(doc).encode(), doc)
    body.set(*edit)
    again = json.loads(body.render())
    path = "/v1beta/models/g:generateContent" if dialect == "gemini" else "/v1/x"
    assert kind.read({"model": "m", "contents": [], "messages": [], **again}, path, {}).max_tokens == 9


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
@pytest.mark.parametrize("doc", [None, [], "x", {"generationConfig": 5}, {"n": "many", "requests": []}])
def test_odd_documents(dialect: str, doc: Any) -> None:
    """Nothing raises, and one answer is asked for."""
    assert DIALECTS[dialect].choices(doc) == 1
    DIALECTS[dialect].cap_output(doc, 9, "openai")
    DIALECTS[dialect].stop(Answer(), doc)


def test_choices() -> None:
    """How many answers at once."""
    assert DIALECTS["openai_chat"].choices({"n": 3}) == 3
    assert DIALECTS["openai_chat"].choices({"n": 2, "best_of": 5}) == 5
    assert DIALECTS["gemini"].choices({"generation_config": {"candidate_count": 4}}) == 4


CHAT = {"choices": [{"index": 1, "delta": {"content": "x"}}]}
TEXT = {"choices": [{"index": 0, "text": "x"}]}
BLOCK = {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "x"}}
DELTA = {"type": "response.output_text.delta", "sequence_number": 7, "delta": "x"}


def stopped(
    dialect: str, last: Any, framing: Framing = Framing.SSE, before: Sequence[Any] = ()
) -> list[tuple[str | None, Any]]:
    """The events that end a stream before `last`."""
    reader = DIALECTS[dialect].reader()
    reader.answer.id, reader.answer.model = "id-1", "m"
    for doc in before:
        reader.feed(Event(b""), doc)
    reader.parts.mark()
    reader.feed(Event(b""), last)
    reader.parts.undo()
    reader.finish()
    raw = DIALECTS[dialect].stop(reader.answer, last, framing=framing)
    events: list[Event] = [*(cut := framer(framing)).feed(raw), *cut.flush()]
    return [(event.name, json.loads(event.data)) for event in events if event.data]


def test_chat_finishes_the_choice_that_spoke() -> None:
    [(_, doc)] = stopped("openai_chat", CHAT)
    assert doc["id"] == "id-1" and doc["object"] == "chat.completion.chunk"
    assert doc["choices"] == [{"index": 1, "delta": {}, "logprobs": None, "finish_reason": "length"}]
    [(_, doc)] = stopped("openai_chat", TEXT)
    assert doc["object"] == "text_completion" and doc["choices"][0]["text"] == ""


def choice(index: int, finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, **said, "finish_reason": finish}]}


@pytest.mark.parametrize("said", [{"delta": {"content": "x"}}, {"text": "x"}], ids=["chat", "completions"])
def test_chat_finishes_every_choice_that_began(said: dict[str, Any]) -> None:
    """With `n: 3` that are two, where one has ended; the reason in the event that is not delivered is none."""
    before = [choice(2, **said), choice(0, **said), choice(1, **said), choice(0, "stop", **said)]
    for last in (choice(1, **said), choice(1, "stop", **said)):
        ends = [doc["choices"] for _, doc in stopped("openai_chat", last, before=before)]
        assert [(end["index"], end["finish_reason"]) for (end,) in ends] == [(1, "length"), (2, "length")]
        assert all(end.keys() & {"text", "delta"} == said.keys() for (end,) in ends)


def candidates(*indices: int, finish: str | None = None) -> dict[str, Any]:
    content = {"parts": [{"text": "x"}], "role": "model"}
    return {"candidates": [{"content": content, "index": index, "finishReason": finish} for index in indices]}


def test_gemini_finishes_every_candidate_that_began() -> None:
    """The same, in one chunk."""
    before = [candidates(0, 1), candidates(2), candidates(1, finish="STOP")]
    for last in (candidates(0), candidates(0, finish="STOP")):
        [(_, doc)] = stopped("gemini", last, before=before)
        assert [(each["index"], each["finishReason"]) for each in doc["candidates"]] == [
            (0, "MAX_TOKENS"),
            (2, "MAX_TOKENS"),
        ]


def test_anthropic_closes_the_block_and_the_message() -> None:
    names = [name for name, _ in stopped("anthropic", BLOCK)]
    assert names == ["content_block_stop", "message_delta"]
    assert stopped("anthropic", BLOCK)[1][1]["delta"]["stop_reason"] == "max_tokens"
    assert [name for name, _ in stopped("anthropic", {"type": "content_block_start", "index": 0})] == ["message_delta"]


def test_responses_are_incomplete() -> None:
    [(name, doc)] = stopped("openai_responses", DELTA)
    assert name == doc["type"] == "response.incomplete" and doc["sequence_number"] == 7
    assert doc["response"]["status"] == "incomplete" and doc["response"]["id"] == "id-1"
    assert doc["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    raw = DIALECTS["openai_responses"].stream_error(Refusal(429, "t", "m", "c", "x"), last=DELTA)
    assert json.loads(framer(Framing.SSE).feed(raw)[0].data)["sequence_number"] == 8


NAMES = {
    "message": {"type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary"},
    "reasoning": {"type": "reasoning", "id": "rs_1"},
    "function_call": {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f"},
    "custom_tool_call": {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "f"},
    "web_search_call": {"type": "web_search_call", "id": "ws_1"},
}


def began(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    item = {**NAMES[kind], **fields, "status": "in_progress"}
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def whole(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    item = {**NAMES[kind], **fields, "status": "completed"}
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def said(index: int, what: str, delta: str, **place: int) -> dict[str, Any]:
    return {"type": f"response.{what}.delta", "output_index": index, "delta": delta, **place}


TEXT_PART = {"type": "output_text", "annotations": [], "logprobs": []}


@pytest.mark.parametrize(
    ("before", "last", "output"),
    [
        (
            [
                began(0, "reasoning", summary=[]),
                said(0, "reasoning_summary_text", "why", summary_index=0),
                whole(0, "reasoning", summary=[]),
                began(1, "message", content=[]),
                said(1, "output_text", "so ", content_index=0),
                said(1, "output_text", "far", content_index=0),
                said(1, "refusal", "no", content_index=1),
            ],
            said(1, "output_text", " and no more", content_index=0),
            [
                {**NAMES["reasoning"], "status": "completed", "summary": [{"type": "summary_text", "text": "why"}]},
                {
                    **NAMES["message"],
                    "status": "incomplete",
                    "content": [{**TEXT_PART, "text": "so far"}, {"type": "refusal", "refusal": "no"}],
                },
            ],
        ),
        (
            [
                began(0, "function_call", arguments=""),
                said(0, "function_call_arguments", '{"a": "wo'),
            ],
            said(0, "function_call_arguments", 'rd"}'),
            [{**NAMES["function_call"], "status": "incomplete", "arguments": '{"a": "wo'}],
        ),
        (
            [began(0, "function_call", arguments="")],
            said(0, "function_call_arguments", "{"),
            [{**NAMES["function_call"], "status": "incomplete", "arguments": ""}],
        ),
        (
            [began(0, "custom_tool_call", input=""), said(0, "custom_tool_call_input", "SELECT")],
            whole(0, "custom_tool_call", input="SELECT 1"),
            [{**NAMES["custom_tool_call"], "status": "incomplete", "input": "SELECT"}],
        ),
        (
            [
                began(0, "web_search_call", action={"query": "x"}),
                whole(0, "web_search_call", action={"query": "x"}),
            ],
            began(1, "function_call", arguments=""),
            [{**NAMES["web_search_call"], "status": "completed"}],
        ),
    ],
    ids=["message", "call", "empty call", "custom call", "search"],
)
def test_responses_say_their_items_again(before: list[Any], last: Any, output: list[Any]) -> None:
    """As far as they were delivered, under the names that the client knows them by; only what is whole is completed."""
    [(_, doc)] = stopped("openai_responses", last, before=before)
    assert doc["response"]["output"] == output


def test_responses_without_a_beginning() -> None:
    """What nobody told the beginning of has a name of ours."""
    [(_, doc)] = stopped("openai_responses", said(0, "output_text", "b"), before=[said(0, "output_text", "a")])
    [item] = doc["response"]["output"]
    assert (item["type"], item["status"], item["content"][0]["text"]) == ("message", "incomplete", "a")


def test_gemini_gives_a_finish_reason() -> None:
    [(_, doc)] = stopped("gemini", {})
    assert doc["candidates"][0]["finishReason"] == "MAX_TOKENS"
    kind = DIALECTS["gemini"]
    first = b"[" + json.dumps({"candidates": []}).encode()
    end = kind.stop(Answer(), {}, framing=Framing.JSON_ARRAY)
    error = kind.stream_error(Refusal(429, "t", "m", "c", "x"), framing=Framing.JSON_ARRAY)
    docs = json.loads(first + end + error)
    assert [*map(list, docs)][1][0] == "candidates" and docs[2]["error"]["code"] == 429
