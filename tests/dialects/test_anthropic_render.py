"""What we write is taken by the `anthropic` SDK for Anthropic's own."""

from __future__ import annotations

import json
from collections.abc import Iterable

import anthropic
import httpx2
import pytest

from mitmesh.dialects.anthropic import Anthropic
from mitmesh.dialects.base import Answer, Event, Kind, Part, Refusal, Usage

DIALECT = Anthropic()
ANSWER = Answer(
    id="msg_1",
    model="claude-sonnet-4-5",
    parts=[
        Part(Kind.REASONING, "let me see"),
        Part(Kind.TEXT, "It is  näiv \n\nto guess. 🙂 "),
        Part(Kind.TOOL_CALL, '{"city":"Bern","days":[1, 2]}', "get_weather", "toolu_1"),
        Part(Kind.TOOL_CALL, "{}", "now", "toolu_2"),
    ],
    finish="tool_use",
    usage=Usage(prompt=100, completion=20, cache_read=30, cache_write_5m=4, cache_write_1h=6),
    complete=True,
)
REFUSAL = Refusal(429, "over_budget", "The budget is spent.", "team-daily", "01ARZ3NDEKTSV4RRFFQ69G5FAV", 30)


def client(body: bytes | Iterable[bytes], status: int = 200, kind: str = "application/json") -> anthropic.Anthropic:
    content = body if isinstance(body, bytes) else b"".join(body)

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=content, headers={"content-type": kind})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(api_key="k", http_client=http, max_retries=0)


def check(message: anthropic.types.Message) -> None:
    text, call, bare = message.content
    assert isinstance(text, anthropic.types.TextBlock)
    assert isinstance(call, anthropic.types.ToolUseBlock)
    assert isinstance(bare, anthropic.types.ToolUseBlock)
    assert text.text == ANSWER.parts[1].text
    assert (call.name, call.id, call.input) == ("get_weather", "toolu_1", {"city": "Bern", "days": [1, 2]})
    assert (bare.name, bare.input) == ("now", {})
    assert (message.id, message.model, message.stop_reason) == ("msg_1", "claude-sonnet-4-5", "tool_use")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (60, 20)
    assert (message.usage.cache_read_input_tokens, message.usage.cache_creation_input_tokens) == (30, 10)


def test_the_sdk_reads_our_answer() -> None:
    """A rendered answer is an ordinary message to the SDK, tools included."""
    message = client(DIALECT.render(ANSWER)).messages.create(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "q"}]
    )
    check(message)


def test_the_sdk_reads_our_stream() -> None:
    """A rendered stream is an ordinary message stream to the SDK, word by word."""
    body = DIALECT.render_stream(ANSWER)
    with client(body, kind="text/event-stream").messages.stream(
        model="m", max_tokens=9, messages=[{"role": "user", "content": "q"}]
    ) as stream:
        pieces = list(stream.text_stream)
        message = stream.get_final_message()
    check(message)
    assert pieces == ["It ", "is  ", "näiv \n\n", "to ", "guess. ", "🙂 "]


def test_what_we_write_we_read() -> None:
    """Our own reader gets the answer back, whole or streamed, but for its reasoning."""
    for answer in (DIALECT.read_answer(json.loads(DIALECT.render(ANSWER))), read_stream(DIALECT.render_stream(ANSWER))):
        assert answer.complete
        assert answer.usage == ANSWER.usage
        assert answer.text == ANSWER.text
        assert [json.loads(part.text) for part in answer.parts[1:]] == [{"city": "Bern", "days": [1, 2]}, {}]


def read_stream(stream: Iterable[bytes]) -> Answer:
    reader = DIALECT.reader()
    for raw in stream:
        assert raw.endswith(b"\n\n"), "one event an item"
        reader.feed(Event(raw), json.loads(raw.partition(b"data: ")[2]))
    reader.finish()
    return reader.answer


def test_an_empty_answer_renders() -> None:
    """An answer of which nothing is known is still a message."""
    assert read_stream(DIALECT.render_stream(Answer())).finish == "end_turn"
    assert json.loads(DIALECT.render(Answer()))["usage"]["input_tokens"] == 0


def test_foreign_and_broken_parts_render() -> None:
    """Other dialects' finish words are translated; cut arguments become an empty object; lone surrogates stay JSON."""
    answer = Answer(parts=[Part(Kind.TOOL_CALL, '{"a":', "f", None), Part(Kind.TEXT, "\ud800")], finish="length")
    doc = json.loads(DIALECT.render(answer))
    assert doc["stop_reason"] == "max_tokens"
    assert doc["content"][0]["input"] == {}
    assert doc["content"][1]["text"] == "\ud800"


def test_server_tool_calls_are_not_the_clients_to_run() -> None:
    """A call the provider ran itself is rendered as such."""
    answer = Answer(parts=[Part(Kind.TOOL_CALL, "{}", "web_search", "srvtoolu_1")])
    assert json.loads(DIALECT.render(answer))["content"][0]["type"] == "server_tool_use"


ERRORS = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.AuthenticationError, "authentication_error"),
    (403, anthropic.PermissionDeniedError, "permission_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (413, anthropic.APIStatusError, "request_too_large"),
    (422, anthropic.UnprocessableEntityError, "invalid_request_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (500, anthropic.InternalServerError, "api_error"),
    (502, anthropic.InternalServerError, "api_error"),
    (503, anthropic.InternalServerError, "overloaded_error"),
]


@pytest.mark.parametrize(("status", "raised", "kind"), ERRORS)
def test_refusals_raise_the_sdks_errors(status: int, raised: type[Exception], kind: str) -> None:
    """A refusal raises the SDK's ordinary error, with our message, rule and id in its body."""
    body = DIALECT.refusal(Refusal(status, "over_budget", "The budget is spent.", "team-daily", "01ID"))
    with pytest.raises(raised, match=r"The budget is spent\.") as caught:
        client(body, status).messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "q"}])
    error = caught.value.body["error"]  # type: ignore[attr-defined]
    assert (error["type"], error["code"], error["mesh_id"]) == (kind, "team-daily", "01ID")


def test_a_stream_error_raises_in_the_sdk() -> None:
    """An error event after the first words raises while the stream is read."""
    begun = list(DIALECT.render_stream(ANSWER))[:5]
    body = [*begun, DIALECT.stream_error(REFUSAL)]
    with (
        pytest.raises(anthropic.APIStatusError, match=r"The budget is spent\."),
        client(body, kind="text/event-stream").messages.stream(
            model="m", max_tokens=9, messages=[{"role": "user", "content": "q"}]
        ) as stream,
    ):
        list(stream.text_stream)
