"""Answers and streams of the Chat Completions dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cassettes import calls
from mitmesh.dialects.base import Answer, Dialect, Event, Kind, Part, Usage
from mitmesh.dialects.openai_chat import OpenAIChat
from mitmesh.dialects.openai_responses import OpenAIResponses
from openai_client import events, read_stream

CHAT = OpenAIChat()


def chunk(**fields: Any) -> bytes:
    return f"data: {json.dumps({'id': 'c', 'model': 'm', **fields})}\n\n".encode()


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "finish_reason": finish}


def parts(answer: Answer) -> list[tuple[Kind, str]]:
    return [(part.kind, part.text) for part in answer.parts]


def test_recorded_json() -> None:
    """A recorded answer gives its text, finish and usage as recorded."""
    [call] = calls("openrouter_cache")
    answer = CHAT.read_answer(call.answer)
    assert answer.text == "I specialize in caching."
    assert (answer.finish, answer.complete, answer.error) == ("stop", True, None)
    assert answer.usage == Usage(prompt=260, completion=10)


@pytest.mark.parametrize(
    ("name", "call_id", "usage"),
    [
        ("chat_tool_call", "call_z3zH0FnAcFd2NCNeWBiwWclB", Usage(prompt=129, completion=19)),
        ("mistral_tool_call", "GvtRXcOZQ", Usage(prompt=64, completion=6, cache_read=32)),
    ],
)
def test_recorded_tool_call(name: str, call_id: str, usage: Usage) -> None:
    """A recorded tool call has its name, id and arguments; providers' spellings of usage are understood."""
    answer = CHAT.read_answer(calls(name)[0].answer)
    assert answer.parts == [Part(Kind.TOOL_CALL, "{}", "get_file", call_id)]
    assert (answer.finish, answer.usage) == ("tool_calls", usage)


def test_recorded_error() -> None:
    """An error answer has the provider's word for it, and is not complete."""
    answer = CHAT.read_answer(calls("chat_developer_error")[0].answer)
    assert (answer.error, answer.complete, answer.parts) == ("invalid_request_error", False, [])


def test_recorded_stream_with_tools() -> None:
    """A recorded stream gives both tool calls whole, and the usage of its last chunk."""
    reader = read_stream(CHAT, calls("chat_stream_tools")[0].stream)
    assert [(part.name, part.text) for part in reader.answer.parts] == [
        ("get_country", "{}"),
        ("get_product_name", "{}"),
    ]
    assert reader.answer.usage == Usage(prompt=364, completion=40)
    assert (reader.answer.finish, reader.answer.complete) == ("tool_calls", True)


def test_recorded_reasoning() -> None:
    """Reasoning and text are told apart, and the usage that follows the finish does not undo it."""
    answer = read_stream(CHAT, calls("openrouter_stream_reasoning")[0].stream).answer
    assert [kind for kind, _ in parts(answer)] == [Kind.REASONING, Kind.TEXT]
    assert answer.text.endswith("2 + 2 = 4")
    assert (answer.complete, answer.usage) == (True, Usage(prompt=43, completion=36, reasoning=13))


def test_recorded_error_in_a_stream() -> None:
    """Groq's error after the first words ends an answer that is not complete; its next try is."""
    failed, worked = (read_stream(CHAT, call.stream).answer for call in calls("groq_stream_tool_failed"))
    assert (failed.error, failed.complete, failed.text) == ("invalid_request_error", False, "maybe")
    assert (worked.complete, worked.usage) == (True, Usage(prompt=343, completion=180, reasoning=153))
    assert worked.parts[-1].text == '{"response":"no"}'


@pytest.mark.parametrize("name", ["chat_stream", "chat_stream_tools", "openrouter_stream_reasoning"])
def test_truncated_stream(name: str) -> None:
    """A stream cut anywhere before its end is not complete."""
    whole = events(calls(name)[0].stream)
    for end in range(len(whole) - 1):
        reader = CHAT.reader()
        for event, doc in whole[:end]:
            reader.feed(event, doc)
        reader.finish()
        assert not reader.answer.complete


def test_choices() -> None:
    """Several choices are kept apart, and all of them must finish."""
    said = [("0", "a"), ("1", "x"), ("0", "b"), ("1", "y")]
    stream = b"".join(chunk(choices=[delta(int(index), content=text)]) for index, text in said)
    one = stream + chunk(choices=[delta(0, "stop")])
    both = one + chunk(choices=[delta(1, "length")])
    assert not read_stream(CHAT, one + b"data: [DONE]\n\n").answer.complete
    answer = read_stream(CHAT, both + b"data: [DONE]\n\n").answer
    assert (parts(answer), answer.complete) == ([(Kind.TEXT, "ab"), (Kind.TEXT, "xy")], True)


def test_calls_that_share_an_index() -> None:
    """A new id under an old index is a new call (Gemini's OpenAI endpoint)."""
    made = [{"index": 0, "id": call_id, "function": {"name": call_id, "arguments": "{}"}} for call_id in ("one", "two")]
    answer = read_stream(CHAT, b"".join(chunk(choices=[delta(tool_calls=[call])]) for call in made)).answer
    assert [(part.name, part.text) for part in answer.parts] == [("one", "{}"), ("two", "{}")]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"reasoning_content": "hm", "content": "a"}, [(Kind.REASONING, "hm"), (Kind.TEXT, "a")]),
        ({"refusal": "no"}, [(Kind.REFUSAL, "no")]),
        ({"reasoning_details": [{"text": "h"}, {"summary": "m"}]}, [(Kind.REASONING, "hm")]),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "a"},
                ]
            },
            [(Kind.REASONING, "hm"), (Kind.TEXT, "a")],
        ),
        ({"function_call": {"name": "f", "arguments": "{1}"}}, [(Kind.TOOL_CALL, "{1}")]),
        ({"tool_calls": [{"id": "c", "custom": {"name": "f", "input": "raw"}}]}, [(Kind.TOOL_CALL, "raw")]),
        ({"audio": {"id": "a", "data": "AAAA", "transcript": "hi"}}, [(Kind.TEXT, "hi"), (Kind.OPAQUE, "")]),
    ],
)
@pytest.mark.parametrize("body", ["message", "delta"])
def test_fields(body: str, message: dict[str, Any], expected: list[tuple[Kind, str]]) -> None:
    """Each provider's field for what was said is known, in answers and in streams alike."""
    doc = {"choices": [{"index": 0, body: message, "finish_reason": None}]}
    assert parts(CHAT.read_answer(doc)) == expected
    assert parts(read_stream(CHAT, chunk(**doc)).answer) == expected


def test_legacy_completions() -> None:
    """A legacy completion's text is text."""
    answer = CHAT.read_answer({"choices": [{"text": "hello", "index": 0, "finish_reason": "stop"}]})
    assert (answer.text, answer.complete) == ("hello", True)


def test_limit() -> None:
    """Beyond its limit a reader keeps no more text and says so; finish and usage are read all the same."""
    body = [chunk(choices=[delta(content="word ")]) for _ in range(1000)]
    end = chunk(choices=[delta(0, "stop")], usage={"prompt_tokens": 1, "completion_tokens": 2})
    reader = read_stream(CHAT, b"".join(body) + end + b"data: [DONE]\n\n", limit=500)
    assert reader.cut
    assert 0 < len(reader.answer.text) <= 500
    assert (reader.answer.complete, reader.answer.usage) == (True, Usage(1, 2))


@pytest.mark.parametrize(
    "name", ["chat_stream", "chat_stream_tools", "openrouter_stream_reasoning", "groq_stream_tool_failed"]
)
def test_event_texts_join_to_the_answer(name: str) -> None:
    """The texts of a stream's events, joined by channel, are its answer's parts; each path leads to its text."""
    stream = calls(name)[-1].stream
    joined: dict[str, str] = {}
    for _, doc in events(stream):
        for text in CHAT.event_texts(doc):
            joined[text.channel] = joined.get(text.channel, "") + text.text
            assert follow(doc, text.path) == text.text
            assert text.is_json is (text.kind is Kind.TOOL_CALL)
    assert sorted(joined.values()) == sorted(text for _, text in parts(read_stream(CHAT, stream).answer))


def test_answer_texts() -> None:
    """A whole answer's texts have paths into it."""
    doc = calls("chat_tool_call")[0].answer
    [text] = CHAT.answer_texts(doc)
    assert (text.path, text.is_json) == (("choices", 0, "message", "tool_calls", 0, "function", "arguments"), True)
    assert [text.text for text in CHAT.answer_texts(calls("openrouter_cache")[0].answer)] == [
        "I specialize in caching."
    ]


def follow(doc: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        doc = doc[step]
    return doc


KEYS = st.sampled_from(
    [
        "choices",
        "delta",
        "message",
        "content",
        "tool_calls",
        "function",
        "arguments",
        "index",
        "id",
        "usage",
        "error",
        "finish_reason",
        "text",
        "audio",
        "images",
        "reasoning_details",
        "prompt_tokens",
        "input_tokens",
        "x_groq",
        "output",
        "item",
        "part",
        "response",
        "type",
        "response.completed",
        "status",
        "delta",
        "output_index",
        "summary",
        "incomplete_details",
    ]
)
LEAVES = st.none() | st.integers() | st.sampled_from(
    ["", "a", "response.output_text.delta", "response.output_item.done", "response.completed", "error", "message",
     "mcp_call", "completed", "image_generation_call", "response.output_item.added", "content_part.done"]
)  # fmt: skip
DOCS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=15
)


@settings(max_examples=200, deadline=None)
@given(docs=st.lists(DOCS, max_size=3))
@pytest.mark.parametrize("dialect", [CHAT, OpenAIResponses()], ids=lambda dialect: dialect.name)
def test_nothing_a_provider_sends_raises(dialect: Dialect, docs: list[Any]) -> None:
    """Reading answers and events never raises, and every text position leads to its text."""
    reader = dialect.reader(1_000)
    for doc in docs:
        dialect.read_answer(doc)
        reader.feed(Event(b"", json.dumps(doc).encode()), doc)
        for text in [*dialect.answer_texts(doc), *dialect.event_texts(doc)]:
            assert follow(doc, text.path) == text.text
    reader.finish()
