"""What we write is taken by the `google-genai` SDK for Google's own."""

from __future__ import annotations

import json
from collections.abc import Iterable

import httpx
import pytest
from google import genai
from google.genai import errors, types

from mitmesh.dialects.base import Answer, Event, Framing, Kind, Part, Refusal, Usage
from mitmesh.dialects.gemini import Gemini

DIALECT = Gemini()
ANSWER = Answer(
    id="resp-1",
    model="gemini-2.5-pro",
    parts=[
        Part(Kind.REASONING, "let me see"),
        Part(Kind.TEXT, "It is  näiv \n\nto guess. 🙂 "),
        Part(Kind.TOOL_CALL, '{"city":"Bern","days":[1, 2]}', "get_weather", "c1"),
    ],
    finish="STOP",
    usage=Usage(prompt=100, completion=20, cache_read=30, reasoning=5),
    complete=True,
)
REFUSAL = Refusal(429, "over_budget", "The budget is spent.", "team-daily", "01ARZ3NDEKTSV4RRFFQ69G5FAV", 30)


def client(body: bytes | Iterable[bytes], status: int = 200, kind: str = "application/json") -> genai.Client:
    content = body if isinstance(body, bytes) else b"".join(body)

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=content, headers={"content-type": kind})

    options = types.HttpOptions(client_args={"transport": httpx.MockTransport(answer)})
    return genai.Client(api_key="k", http_options=options)


def check(response: types.GenerateContentResponse) -> None:
    assert response.response_id == "resp-1"
    assert response.model_version == "gemini-2.5-pro"
    assert response.candidates
    assert response.candidates[0].finish_reason is types.FinishReason.STOP
    usage = response.usage_metadata
    assert usage
    assert (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count) == (100, 15, 5)
    assert (usage.cached_content_token_count, usage.total_token_count) == (30, 120)


def test_the_sdk_reads_our_answer() -> None:
    """A rendered answer is an ordinary response to the SDK, tools included."""
    with client(DIALECT.render(ANSWER)) as sdk:
        response = sdk.models.generate_content(model="m", contents="q")
    check(response)
    assert response.text == ANSWER.parts[1].text
    assert response.function_calls
    (call,) = response.function_calls
    assert (call.name, call.id, call.args) == ("get_weather", "c1", {"city": "Bern", "days": [1, 2]})


def test_the_sdk_reads_our_stream() -> None:
    """A rendered stream is an ordinary stream to the SDK, word by word."""
    with client(DIALECT.render_stream(ANSWER), kind="text/event-stream") as sdk:
        chunks = list(sdk.models.generate_content_stream(model="m", contents="q"))
    check(chunks[-1])
    assert [text for chunk in chunks if (text := chunk.text)] == ["It ", "is  ", "näiv \n\n", "to ", "guess. ", "🙂 "]
    calls = [call for chunk in chunks for call in chunk.function_calls or []]
    assert [(call.name, call.args) for call in calls] == [("get_weather", {"city": "Bern", "days": [1, 2]})]


def test_the_sdk_reads_our_array() -> None:
    """Without alt=sse the stream is one JSON array, whose elements are the same chunks."""
    items = list(DIALECT.render_stream(ANSWER, framing=Framing.JSON_ARRAY))
    chunks = json.loads(b"".join(items))
    assert len(items) == len(chunks) + 1, "an event an item, and the closing bracket"
    check(types.GenerateContentResponse.model_validate(chunks[-1]))
    assert DIALECT.read_answer(chunks).text == ANSWER.parts[1].text


def test_what_we_write_we_read() -> None:
    """Our own reader gets the answer back, whole or streamed, but for its reasoning."""
    reader = DIALECT.reader()
    for raw in DIALECT.render_stream(ANSWER):
        reader.feed(Event(raw), json.loads(raw.removeprefix(b"data: ")))
    reader.finish()
    for answer in (DIALECT.read_answer(json.loads(DIALECT.render(ANSWER))), reader.answer):
        assert answer.complete
        assert answer.usage == ANSWER.usage
        assert answer.text == ANSWER.text
        assert [json.loads(part.text) for part in answer.parts[1:]] == [{"city": "Bern", "days": [1, 2]}]


@pytest.mark.parametrize(
    ("finish", "written"),
    [(None, "STOP"), ("STOP", "STOP"), ("MAX_TOKENS", "MAX_TOKENS"), ("length", "MAX_TOKENS"), ("end_turn", "STOP")],
)
def test_foreign_finish_words(finish: str | None, written: str) -> None:
    """Other dialects' finish words are translated, Google's own are kept."""
    assert json.loads(DIALECT.render(Answer(finish=finish)))["candidates"][0]["finishReason"] == written


ERRORS = [
    (400, errors.ClientError, "INVALID_ARGUMENT"),
    (401, errors.ClientError, "UNAUTHENTICATED"),
    (403, errors.ClientError, "PERMISSION_DENIED"),
    (413, errors.ClientError, "INVALID_ARGUMENT"),
    (429, errors.ClientError, "RESOURCE_EXHAUSTED"),
    (500, errors.ServerError, "INTERNAL"),
    (503, errors.ServerError, "UNAVAILABLE"),
]


@pytest.mark.parametrize(("status", "raised", "word"), ERRORS)
def test_refusals_raise_the_sdks_errors(status: int, raised: type[errors.APIError], word: str) -> None:
    """A refusal raises the SDK's ordinary error with our message, rule and id."""
    body = DIALECT.refusal(Refusal(status, "over_budget", "The budget is spent.", "team-daily", "01ID"))
    with client(body, status) as sdk, pytest.raises(raised) as caught:
        sdk.models.generate_content(model="m", contents="q")
    assert (caught.value.code, caught.value.status, caught.value.message) == (status, word, "The budget is spent.")
    (info,) = caught.value.details["error"]["details"]
    assert (info["reason"], info["domain"]) == ("OVER_BUDGET", "mitmesh")
    assert info["metadata"] == {"mesh_id": "01ID", "code": "team-daily"}


def test_when_to_retry_is_said() -> None:
    """A refusal that passes says when, as google.rpc.RetryInfo."""
    details = json.loads(DIALECT.refusal(REFUSAL))["error"]["details"]
    assert details[1] == {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "30s"}


def test_a_stream_error_ends_the_stream() -> None:
    """In an array the error is the last element and closes it; in SSE it is the last event."""
    begun = list(DIALECT.render_stream(ANSWER, framing=Framing.JSON_ARRAY))[:3]
    chunks = json.loads(b"".join([*begun, DIALECT.stream_error(REFUSAL, framing=Framing.JSON_ARRAY)]))
    assert chunks[-1]["error"]["code"] == 429
    assert DIALECT.read_answer(chunks).error == "RESOURCE_EXHAUSTED"
    event = DIALECT.stream_error(REFUSAL)
    assert event.endswith(b"\n\n")
    assert json.loads(event.removeprefix(b"data: ")) == json.loads(DIALECT.refusal(REFUSAL))
