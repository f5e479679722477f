"""What no stage changed leaves exactly as it came, and comes back exactly as it was sent."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from cassettes import calls
from e2e.mesh import Mesh
from e2e.provider import Provider, Script, packed, recorded
from e2e.sdks import KEY, Way

BODIES = {
    "spacing": b' {\t"model" :"gpt-4o-mini" ,\r\n "messages":[ { "content":"a" , "role":"user"}\n]\n}\n ',
    "escapes": rb'{"messages":[{"role":"user","content":"\u00e9\/\ud83e\udd8a\u0041\b"}],"model":"gpt-4o-mini"}',
    "numbers": b'{"model":"gpt-4o-mini","temperature":1.0e-0,"seed":-0,"messages":[{"role":"user","content":"a"}]}',
    "unknown": b'{"zz":{"y":[1,{"x":null}]},"messages":[{"role":"user","content":"a","q":[]}],"model":"gpt-4o-mini"}',
    "unicode": '{"model":"gpt-4o-mini","messages":[{"role":"user","content":"☀ 🦊 \u2028 é e\u0301"}]}'.encode(),
}
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json", "x-own": "kept"}


@pytest.fixture
def client(way: Way) -> Any:
    """An HTTP client that goes this way."""
    with way.client(httpx, [], asynchronous=False) as client:
        yield client


def url(way: Way, path: str, host: str = "api.openai.com") -> str:
    return (way.base or f"https://{host}") + path


@pytest.mark.parametrize("name", BODIES)
def test_requests(name: str, way: Way, client: httpx.Client, provider: Provider) -> None:
    """Odd spacing, escapes, key order, number spellings and unknown fields arrive byte for byte."""
    answer = client.post(url(way, "/v1/chat/completions"), content=BODIES[name], headers=HEADERS)
    assert answer.status_code == 200
    seen = provider.call()
    assert seen.body == BODIES[name]
    assert seen.header("x-own") == "kept"
    assert seen.header("content-length") == str(len(BODIES[name]))


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "br"])
def test_encoded_requests(encoding: str, way: Way, client: httpx.Client, mesh: Mesh, provider: Provider) -> None:
    """A compressed request is read (the audit knows its model) and leaves compressed as it came."""
    body = packed(BODIES["spacing"], encoding)
    headers = {**HEADERS, "content-encoding": encoding}
    answer = client.post(url(way, "/v1/responses"), content=body, headers=headers)
    seen = provider.call()
    assert (seen.body, seen.header("content-encoding")) == (body, encoding)
    row = mesh.exchange(answer.headers["x-mesh-id"])
    assert (row["model"], row["inspected"], row["forwarded"]) == ("gpt-4o-mini", "full", 1)


def test_large_request(way: Way, client: httpx.Client, mesh: Mesh, provider: Provider) -> None:
    """A megabyte of conversation, as agents send it, passes."""
    text = '{"role":"user","content":"' + "word " * 2000 + '"}'
    body = f'{{"model":"gpt-4o-mini","messages":[{",".join([text] * 100)}]}}'.encode()
    answer = client.post(url(way, "/v1/chat/completions"), content=body, headers=HEADERS)
    assert provider.call().body == body
    assert mesh.exchange(answer.headers["x-mesh-id"])["request_bytes"] == len(body)


RECORDINGS = {
    "anthropic_stream_thinking": ("/v1/messages", "api.anthropic.com"),
    "chat_stream": ("/v1/chat/completions", "api.openai.com"),
    "responses_stream_usage": ("/v1/responses", "api.openai.com"),
    "gemini_stream_thought_signature": (
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        "generativelanguage.googleapis.com",
    ),
}


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("encoding", ["identity", "gzip", "br", "zstd"])
def test_recorded_streams(
    name: str, encoding: str, way: Way, client: httpx.Client, mesh: Mesh, provider: Provider
) -> None:
    """A recorded stream, cut at odd places and compressed, arrives byte for byte, and its usage is read."""
    path, host = RECORDINGS[name]
    call = next(call for call in calls(name) if call.answer is None)
    provider.script(recorded(call, encoding=encoding, sizes=(1, 17, 3, 400, 2)))
    own = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "x-goog-api-key": KEY}
    answer = client.post(url(way, path, host), content=call.body, headers={**HEADERS, **own})
    assert answer.headers.get("content-encoding", "identity") == encoding
    assert answer.content == call.stream
    row = mesh.exchange(answer.headers["x-mesh-id"])
    assert (row["outcome"], row["estimated"], row["stream"]) == ("answered", 0, 1)
    assert row["prompt_tokens"] > 0
    assert row["completion_tokens"] > 0


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_encoded_answers(encoding: str, way: Way, client: httpx.Client, mesh: Mesh, provider: Provider) -> None:
    """A compressed JSON answer arrives as it was sent, and its usage is read."""
    provider.script(Script(encoding=encoding))
    sent = client.post(url(way, "/v1/chat/completions"), content=BODIES["escapes"], headers=HEADERS)
    assert sent.headers["content-encoding"] == encoding
    assert sent.json()["object"] == "chat.completion"
    assert mesh.exchange(sent.headers["x-mesh-id"])["prompt_tokens"] == sent.json()["usage"]["prompt_tokens"]


def test_errors_pass(way: Way, client: httpx.Client, mesh: Mesh, provider: Provider) -> None:
    """A provider's error arrives with its own status, headers and bytes."""
    body = b'{"error" :{"message":"slow","type":"rate_limit_error","code":"rl"} }'
    provider.script(Script(status=429, body=body, headers=(("retry-after", "7"),)))
    answer = client.post(url(way, "/v1/chat/completions"), content=BODIES["escapes"], headers=HEADERS)
    assert (answer.status_code, answer.content, answer.headers["retry-after"]) == (429, body, "7")
    assert answer.headers["x-mesh-origin"] == "provider"
    row = mesh.exchange(answer.headers["x-mesh-id"])
    assert (row["status"], row["outcome"], row["prompt_tokens"]) == (429, "answered", None)
