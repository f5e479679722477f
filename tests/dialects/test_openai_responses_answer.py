"""Answers and streams of the Responses dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cassettes import calls
from mitmesh.dialects.base import Kind, Part, Usage
from mitmesh.dialects.openai_responses import OpenAIResponses
from openai_client import events, read_stream

RESPONSES = OpenAIResponses()


def stream(*docs: dict[str, Any]) -> bytes:
    return b"".join(f"event: {doc['type']}\ndata: {json.dumps(doc)}\n\n".encode() for doc in docs)


def test_recorded_json() -> None:
    """A recorded answer gives text, finish and usage."""
    answer = RESPONSES.read_answer(calls("gemini_to_responses")[4].answer)
    assert answer.parts == [Part(Kind.TEXT, "For order-456, refunds are also allowed for up to 30 days.")]
    assert (answer.model, answer.finish, answer.complete) == ("gpt-5.4-2026-03-05", "completed", True)
    assert answer.usage is not None
    assert (answer.usage.prompt, answer.usage.reasoning) == (433, 0)


def test_recorded_tool_call() -> None:
    """A recorded function call has its name, call id and arguments; encrypted reasoning is no text."""
    answer = RESPONSES.read_answer(calls("responses_file")[0].answer)
    assert answer.parts == [Part(Kind.TOOL_CALL, "{}", "get_file", "call_R6bJDwb07GPVOj1V6CSEo4GZ")]


def test_recorded_stream() -> None:
    """A recorded stream gives its text once, though it says it five times."""
    answer = read_stream(RESPONSES, calls("responses_stream_tools")[1].stream).answer
    assert answer.parts == [Part(Kind.TEXT, "The capital of France is Paris.")]
    assert (answer.finish, answer.complete, answer.usage) == ("completed", True, Usage(278, 9))


def test_recorded_stream_with_reasoning() -> None:
    """Usage comes with the last event; the tool call is whole."""
    answer = read_stream(RESPONSES, calls("responses_stream_usage")[0].stream).answer
    assert answer.parts == [Part(Kind.TOOL_CALL, '{"result":6666}', "final_result", "call_CWXgs68YprAjp6t0371hiPOI")]
    assert answer.usage == Usage(prompt=53, completion=469, reasoning=448)


def test_recorded_background() -> None:
    """A background answer is incomplete until it is made, and taken up in the middle of its stream it still is read."""
    polled = [RESPONSES.read_answer(call.answer) for call in calls("responses_background")]
    assert [answer.complete for answer in polled] == [False, False, True]
    assert [answer.usage is None for answer in polled] == [True, True, False]
    resumed = read_stream(RESPONSES, calls("responses_background_stream")[1].stream).answer
    assert resumed.text
    assert resumed.complete


@pytest.mark.parametrize("name", ["responses_stream_usage", "responses_stream_tools"])
def test_truncated_stream(name: str) -> None:
    """A stream cut anywhere before its end is not complete."""
    whole = events(calls(name)[0].stream)
    for end in range(len(whole)):
        reader = RESPONSES.reader()
        for event, doc in whole[:end]:
            reader.feed(event, doc)
        reader.finish()
        assert not reader.answer.complete


@pytest.mark.parametrize(
    ("doc", "finish", "complete", "error"),
    [
        ({"status": "completed"}, "completed", True, None),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "max_output_tokens",
            True,
            None,
        ),
        ({"status": "failed", "error": {"code": "server_error", "message": "SECRET"}}, "failed", False, "server_error"),
        ({"status": "in_progress"}, None, False, None),
        ({"status": "queued"}, None, False, None),
        ({"error": {"type": "invalid_request_error"}}, None, False, "invalid_request_error"),
    ],
)
def test_ends(doc: dict[str, Any], finish: str | None, complete: bool, error: str | None) -> None:
    """How an answer ended is read alike from JSON and from a stream's last event."""
    streamed = stream({"type": f"response.{doc.get('status', 'failed')}", "response": doc})
    answers = [RESPONSES.read_answer(doc)]
    if finish:
        answers.append(read_stream(RESPONSES, streamed).answer)
    for answer in answers:
        assert (answer.finish, answer.complete, answer.error) == (finish, complete, error)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"type": "error", "code": "server_error", "message": "SECRET"}, "server_error"),
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "SECRET"}}, "rate_limit_error"),
    ],
)
def test_error_event(event: dict[str, Any], error: str) -> None:
    """An error event, flat or nested, gives its word and never its message."""
    assert read_stream(RESPONSES, stream(event)).answer.error == error


def test_items() -> None:
    """Text, refusal, reasoning and the provider's own tools are parts, each of its kind."""
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
        {"type": "web_search_call", "id": "ws_1", "action": {"type": "search", "query": "q"}},
        {"type": "image_generation_call", "result": "AAAA"},
        {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "raw"},
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"}],
        },
    ]
    expected = [
        Part(Kind.REASONING, "hm"),
        Part(Kind.TOOL_CALL, '{"type":"search","query":"q"}', "web_search_call", "ws_1"),
        Part(Kind.OPAQUE),
        Part(Kind.TOOL_CALL, "raw", "f", "c"),
        Part(Kind.TEXT, "a"),
        Part(Kind.REFUSAL, "no"),
    ]
    assert RESPONSES.read_answer({"status": "completed", "output": output}).parts == expected


def test_tools_without_deltas() -> None:
    """A tool call that was not streamed is read from its finished item."""
    item = {"type": "web_search_call", "id": "ws_1"}
    done = item | {"action": {"query": "q"}}
    events = stream(
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
    )
    reader = read_stream(RESPONSES, events)
    assert reader.parts.size == len('web_search_call{"query":"q"}'), "a limit counts it while it runs"
    assert read_stream(RESPONSES, events, limit=110).cut
    assert reader.answer.parts == [Part(Kind.TOOL_CALL, '{"query":"q"}', "web_search_call", "ws_1")]


def test_limit() -> None:
    """Beyond its limit a reader keeps no more text and says so."""
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "word "}
    end = {"type": "response.completed", "response": {"status": "completed"}}
    reader = read_stream(RESPONSES, stream(*[delta] * 1000, end), limit=500)
    assert reader.cut
    assert 0 < len(reader.answer.text) <= 500
    assert reader.answer.complete
