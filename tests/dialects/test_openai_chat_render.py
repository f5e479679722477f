"""Answers of our own in the Chat Completions dialect, as OpenAI's SDK reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState

from mitmesh.dialects.base import Answer, Kind, Part, Usage
from mitmesh.dialects.openai_chat import OpenAIChat
from openai_client import client, events, read_stream

CHAT = OpenAIChat()
HELLO: Any = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TALK = Answer(
    "chatcmpl-1", "m", [Part(Kind.TEXT, "Hello  there,\nAnn. ")], "stop", Usage(9, 4, cache_read=2, reasoning=1)
)
TOOLS = Answer(
    parts=[
        Part(Kind.TEXT, "Let me see."),
        Part(Kind.TOOL_CALL, '{"city": "Bern"}', "weather", "call_1"),
        Part(Kind.TOOL_CALL, "", "now"),
    ],
    finish="tool_use",
)


def test_json() -> None:
    """The SDK reads text, finish and usage of a rendered answer."""
    answer = client(CHAT.render(TALK)).chat.completions.create(**HELLO)
    assert (answer.id, answer.object, answer.model) == ("chatcmpl-1", "chat.completion", "m")
    assert answer.choices[0].message.content == TALK.text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (9, 4, 13)


def test_json_with_tools() -> None:
    """The SDK reads rendered tool calls; each has an id and arguments that are JSON."""
    [choice] = client(CHAT.render(TOOLS)).chat.completions.create(**HELLO).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", "Let me see.")
    made: list[Any] = choice.message.tool_calls or []
    assert [(call.type, call.function.name, call.function.arguments) for call in made] == [
        ("function", "weather", '{"city": "Bern"}'),
        ("function", "now", "{}"),
    ]
    assert made[0].id == "call_1"
    assert made[1].id.startswith("call_")


@pytest.mark.parametrize("answer", [TALK, TOOLS], ids=["text", "tools"])
def test_stream(answer: Answer) -> None:
    """The SDK's accumulator puts a rendered stream together to what the JSON says."""
    state = ChatCompletionStreamState()
    for chunk in client(CHAT.render_stream(answer)).chat.completions.create(**HELLO, stream=True):
        state.handle_chunk(chunk)
    whole = state.get_final_completion()
    plain = client(CHAT.render(answer)).chat.completions.create(**HELLO)
    made = [(call.function.name, call.function.arguments) for call in whole.choices[0].message.tool_calls or []]
    expected: list[Any] = list(plain.choices[0].message.tool_calls or [])
    assert made == [(call.function.name, call.function.arguments) for call in expected]
    assert whole.choices[0].message.content == plain.choices[0].message.content
    assert whole.choices[0].finish_reason == plain.choices[0].finish_reason
    assert (whole.usage and whole.usage.total_tokens) == (plain.usage and plain.usage.total_tokens)


def test_order_of_a_stream() -> None:
    """Role first, then word by word, finish, usage, [DONE]; without `usage` no usage."""
    found = events(b"".join(CHAT.render_stream(TALK)))
    deltas = [doc["choices"][0]["delta"] for _, doc in found[:-2]]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "Hello  "},
        {"content": "there,\n"},
        {"content": "Ann. "},
        {},
    ]
    assert CHAT.only_usage(found[-2][1])
    assert found[-1][0].data == b"[DONE]"
    assert not any(CHAT.only_usage(doc) for _, doc in events(b"".join(CHAT.render_stream(TALK, usage=False))))


@pytest.mark.parametrize("answer", [TALK, TOOLS], ids=["text", "tools"])
def test_read_back(answer: Answer) -> None:
    """What we render we read back, as JSON and as a stream."""
    whole = CHAT.read_answer(json.loads(CHAT.render(answer)))
    streamed = read_stream(CHAT, b"".join(CHAT.render_stream(answer))).answer
    for read in (whole, streamed):
        assert [(part.kind, part.text or "{}") for part in read.parts] == [
            (part.kind, part.text or "{}") for part in answer.parts
        ]
        assert read.complete
    assert streamed.usage == whole.usage


@pytest.mark.parametrize(
    ("word", "finish"),
    [("end_turn", "stop"), ("STOP", "stop"), ("max_tokens", "length"), ("SAFETY", "content_filter"), (None, "stop")],
)
def test_other_dialects_words(word: str | None, finish: str) -> None:
    """An answer that came in another dialect ends with this one's word."""
    doc = json.loads(CHAT.render(Answer(parts=[Part(Kind.TEXT, "a")], finish=word)))
    assert doc["choices"][0]["finish_reason"] == finish


def test_kinds() -> None:
    """Reasoning and refusals have their fields; an empty answer is an empty text."""
    answer = Answer(parts=[Part(Kind.REASONING, "hm"), Part(Kind.REFUSAL, "no"), Part(Kind.OPAQUE)])
    message = json.loads(CHAT.render(answer))["choices"][0]["message"]
    assert message == {"role": "assistant", "content": None, "refusal": "no", "reasoning_content": "hm"}
    assert json.loads(CHAT.render(Answer()))["choices"][0]["message"]["content"] == ""
