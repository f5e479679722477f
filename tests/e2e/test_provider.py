"""The fake provider speaks so that the real SDKs take it for the real ones, and fails as it is told."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest

from e2e.certs import Authority
from e2e.provider import Provider, Script, encode, packed, recut, wait_for
from e2e.replies import ARGUMENTS, COMPLETION, PROMPT, TEXT, VECTOR
from e2e.sdks import CHAT, KEY, QUESTION, Kind, Way, ask, ask_async, make_anthropic, make_gemini, make_openai


@pytest.fixture(params=["h1", "h2"])
def way(request: pytest.FixtureRequest, provider: Provider, authority: Authority) -> Way:
    """Straight to the provider."""
    base = f"https://127.0.0.1:{provider.port}"
    return Way(request.param, authority.ca, base=base, http2=request.param == "h2")


@pytest.fixture
def base(provider: Provider) -> str:
    """The provider's URL."""
    return f"https://127.0.0.1:{provider.port}"


@pytest.fixture
def client(authority: Authority) -> Any:
    """A bare HTTP client that trusts the test CA."""
    with httpx.Client(verify=authority.client_context(), trust_env=False, timeout=10) as client:
        yield client


def check(got: Any, tools: bool) -> None:
    assert (got.prompt, got.completion) == (PROMPT, COMPLETION)
    if tools:
        assert (got.tool, got.arguments) == ("get_weather", ARGUMENTS)
    else:
        assert (got.text, got.tool) == (TEXT, None)


def test_sync(kind: Kind, way: Way, stream: bool, tools: bool, provider: Provider) -> None:
    """Each SDK parses text, tool calls and usage, streamed or not, in the HTTP version it asked for."""
    check(ask(kind, way, stream=stream, tools=tools), tools)
    assert provider.call().version == ("2" if way.http2 else "1.1")


async def test_async(kind: Kind, way: Way, stream: bool, tools: bool, provider: Provider) -> None:
    """So do their async halves."""
    check(await ask_async(kind, way, stream=stream, tools=tools), tools)


def test_accumulators(way: Way, provider: Provider) -> None:
    """The SDKs' stricter stream helpers, which rebuild a whole answer from the events, accept the streams."""
    with way.client(httpx2, [], asynchronous=False) as http:
        messages: Any = [{"role": "user", "content": QUESTION}]
        with make_openai(way, http, False).chat.completions.stream(model="gpt-4o-mini", messages=messages) as chat:
            assert chat.get_final_completion().choices[0].message.content == TEXT
        with make_openai(way, http, False).responses.stream(model="gpt-4o-mini", input=QUESTION) as responses:
            assert responses.get_final_response().output_text == TEXT
        with make_anthropic(way, http, False).messages.stream(
            model="claude-haiku-4-5", max_tokens=9, messages=messages
        ) as stream:
            assert stream.get_final_text() == TEXT


def test_other_calls(way: Way, provider: Provider) -> None:
    """Embeddings, token counts and model lists come in the shapes the SDKs know."""
    with way.client(httpx2, [], asynchronous=False) as http:
        opened = make_openai(way, http, False)
        assert opened.embeddings.create(model="text-embedding-3-small", input=["a", "b"]).data[1].embedding == VECTOR
        assert [model.id for model in opened.models.list()] == ["gpt-4o-mini"]
        claude = make_anthropic(way, http, False)
        assert (
            claude.messages.count_tokens(model="m", messages=[{"role": "user", "content": "x"}]).input_tokens == PROMPT
        )
        assert [model.id for model in claude.models.list()] == ["claude-haiku-4-5"]
    with way.client(httpx, [], asynchronous=False) as http:
        gemini = make_gemini(way, http, False)
        assert gemini.models.count_tokens(model="m", contents="x").total_tokens == PROMPT
        assert [model.name for model in gemini.models.list()] == ["models/gemini-2.5-flash"]


def test_gemini_array(base: str, client: httpx.Client) -> None:
    """Gemini streams a JSON array where nobody asked for SSE."""
    body = {"contents": [{"parts": [{"text": QUESTION}]}]}
    answer = client.post(f"{base}/v1beta/models/gemini-2.5-flash:streamGenerateContent", json=body)
    docs = answer.json()
    assert "".join(d["candidates"][0]["content"]["parts"][0]["text"] for d in docs) == TEXT
    assert docs[-1]["usageMetadata"]["candidatesTokenCount"] == COMPLETION


def test_keeps_every_byte(provider: Provider, authority: Authority) -> None:
    """The head and the body of an HTTP/1.1 request are kept as they came, chunked ones joined."""
    head = b"POST /echo HTTP/1.1\r\nHost:  odd.example\r\nX-oDD:a \r\nTransfer-Encoding: chunked\r\n\r\n"
    context = authority.client_context()
    with (
        socket.create_connection(("127.0.0.1", provider.port), 10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        tls.sendall(head + b'3\r\n{ "\r\n4;x=y\r\na":1\r\n1\r\n}\r\n0\r\n\r\n')
        answer = http.client.HTTPResponse(tls)
        answer.begin()
        assert answer.read() == b'{ "a":1}'
    seen = provider.call()
    assert seen.head == head
    assert (seen.body, seen.sni, seen.header("x-odd")) == (b'{ "a":1}', "localhost", "a")


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_encoded_streams(encoding: str, way: Way, provider: Provider) -> None:
    """Compressed streams, cut at odd places, are still the same streams, readable as they come."""
    provider.script(Script(encoding=encoding, sizes=(1, 7, 2, 30)))
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with way.client(httpx, [], asynchronous=False) as http:  # httpx2 has no zstd of its own
        answer = http.post(f"{way.base}/v1/chat/completions", json=body)
    assert answer.headers["content-encoding"] == encoding
    assert answer.text.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(refuse=True), httpx.RemoteProtocolError),
        (Script(reset=3), httpx.RemoteProtocolError),
        (Script(cut=3), httpx.RemoteProtocolError),
    ],
    ids=["refuse", "reset", "cut"],
)
def test_failures(script: Script, error: type[Exception], way: Way, provider: Provider) -> None:
    """A refused, a reset and a cut answer are transport errors for a client."""
    provider.script(script)
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with way.client(httpx, [], asynchronous=False) as http, pytest.raises((error, httpx.ReadError)):
        http.post(f"{way.base}/v1/chat/completions", json=body)
    assert provider.ended() in ("reset", "cut")


def test_errors(way: Way, provider: Provider) -> None:
    """A scripted status is the SDK's ordinary error."""
    body = json.dumps({"error": {"message": "slow down", "type": "rate_limit", "code": "rl"}}).encode()
    provider.script(Script(status=429, body=body), Script(status=500, body=b"<html>"), Script(body=b'{"id": '))
    with pytest.raises(openai.RateLimitError, match="slow down"):
        ask(CHAT, way)
    with pytest.raises(openai.InternalServerError):
        ask(CHAT, way)
    with pytest.raises(Exception, match=r"Expecting value"):
        ask(CHAT, way)


def test_hold(way: Way, provider: Provider) -> None:
    """A held stream shows what came before the hold, and the rest after the release."""
    provider.script(Script(hold=3))
    with way.client(httpx2, [], asynchronous=False) as http:
        events = _call(way, http)
        first = [next(events) for _ in range(3)]
        assert provider.call().ended is None
        provider.release()
        rest = list(events)
    assert "".join(e.choices[0].delta.content or "" for e in [*first, *rest] if e.choices) == TEXT
    assert provider.ended() == "complete"


def test_client_gone(way: Way, provider: Provider) -> None:
    """A client that leaves is noticed while the answer is held, and while nothing was sent yet."""
    provider.script(Script(hold=2), Script(hang=True))
    with way.client(httpx2, [], asynchronous=False) as http:
        next(_call(way, http))
    assert provider.ended() == "client_gone"
    with way.client(httpx2, [], asynchronous=False) as http, pytest.raises(openai.APITimeoutError):
        make_openai(way, http, False).with_options(timeout=0.2).models.list()
    assert provider.ended(2) == "client_gone"
    wait_for(lambda: provider.running == 0)


def test_errors_of_anthropic(way: Way, provider: Provider) -> None:
    """An error event in the middle of a stream is the SDK's ordinary error."""
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    provider.script(Script(pieces=[error]))
    with way.client(httpx2, [], asynchronous=False) as http, pytest.raises(anthropic.APIStatusError, match="busy"):
        client = anthropic.Anthropic(api_key=KEY, base_url=way.base, http_client=http, max_retries=0)
        messages: Any = [{"role": "user", "content": "x"}]
        list(client.messages.create(model="m", max_tokens=1, messages=messages, stream=True))


def _call(way: Way, http: Any) -> Any:
    return iter(CHAT.call(make_openai(way, http, False), True, False))


def test_pieces() -> None:
    """Compressing and cutting lose nothing, and every compressed piece can be read at once."""
    assert gzip.decompress(packed(b"abc", "gzip")) == b"abc"
    assert list(recut(b"abcdef", (1, 3))) == [b"a", b"bcd", b"e", b"f"]
    assert b"".join(encode([b"a", b"b"], "identity")) == b"ab"
