"""Streams stay streams: nothing is held for what comes after it, and calls run side by side."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

import httpx
import httpx2
import openai
import pytest

from e2e.mesh import Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.replies import TEXT
from e2e.sdks import ANTHROPIC, CHAT, GEMINI, KEY, QUESTION, Kind, Way, make_anthropic, make_gemini, make_openai

BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": QUESTION}]}
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}


def test_incremental(kind: Kind, way: Way, provider: Provider) -> None:
    """A client reads an event while the provider still holds back the next one."""
    hold = 1 if kind is GEMINI else 4
    provider.script(Script(hold=hold))
    with way.client(kind.library, [], asynchronous=False) as http:
        events = iter(kind.call(kind.make(way, http, False), True, False))
        first = next(events)
        assert first is not None
        assert provider.call().ended is None
        provider.release()
        assert list(events)
    assert provider.ended() == "complete"


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_incremental_encoded(encoding: str, way: Way, provider: Provider) -> None:
    """So it is when the provider compresses its stream."""
    provider.script(Script(hold=3, encoding=encoding))
    url = f"{way.base or 'https://api.openai.com'}/v1/chat/completions"
    with (
        way.client(httpx, [], asynchronous=False) as http,
        http.stream("POST", url, json={**BODY, "stream": True}, headers=HEADERS) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith("data: {")
        assert provider.call().ended is None
        provider.release()
        assert [line for line in lines if line][-1] == "data: [DONE]"


def test_json_array(way: Way, mesh: Mesh, provider: Provider) -> None:
    """Gemini's JSON array streams too, and its usage is read."""
    provider.script(Script(hold=1))
    base = way.base or "https://generativelanguage.googleapis.com"
    body = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}
    with (
        way.client(httpx, [], asynchronous=False) as http,
        http.stream(
            "POST",
            f"{base}/v1beta/models/gemini-2.5-flash:streamGenerateContent",
            json=body,
            headers={"x-goog-api-key": KEY},
        ) as answer,
    ):
        pieces = answer.iter_text()
        read = next(pieces)
        assert provider.call().ended is None
        provider.release()
        docs = json.loads(read + "".join(pieces))
    assert "".join(doc["candidates"][0]["content"]["parts"][0]["text"] for doc in docs) == TEXT
    row = mesh.exchange(answer.headers["x-mesh-id"])
    assert row["completion_tokens"] == docs[-1]["usageMetadata"]["candidatesTokenCount"]


async def test_eight_streams_to_http1(mesh: Mesh, provider1: Provider) -> None:
    """Eight concurrent HTTP/2 streams of one client to an HTTP/1.1 provider run at once."""
    async with mesh.way("forward-h2").client(httpx, [], asynchronous=True) as http:
        await http.get("https://api.groq.com/openai/v1/models")  # opens the one connection that all share
        provider1.script(*(Script(together=8) for _ in range(8)))
        url = "https://api.groq.com/openai/v1/chat/completions"
        posts = [http.post(url, json={**BODY, "stream": True}, headers=HEADERS) for _ in range(8)]
        answers = await asyncio.gather(*posts)
        streams = [answer.extensions["network_stream"] for answer in answers]
        assert len({stream.get_extra_info("client_addr") for stream in streams}) == 1
    assert [(answer.status_code, answer.http_version) for answer in answers] == [(200, "HTTP/2")] * 8
    assert provider1.peak == 8
    assert {seen.version for seen in provider1.calls} == {"1.1"}
    rows = [mesh.exchange(answer.headers["x-mesh-id"]) for answer in answers]
    assert {(row["provider"], row["outcome"]) for row in rows} == {("groq", "answered")}


@pytest.mark.parametrize(
    "script", [Script(hang=True), Script(hold=0), Script(hold=4)], ids=["before", "after-head", "during"]
)
def test_client_leaves(script: Script, way: Way, mesh: Mesh, provider: Provider) -> None:
    """A client that leaves ends the provider's work, and the audit says that it left."""
    trace = {"traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"}
    query = "select * from exchanges where traceparent = ? and outcome is not null"
    provider.script(script)
    errors = (openai.APITimeoutError, httpx2.TimeoutException)
    with way.client(httpx2, [], asynchronous=False) as http, pytest.raises(errors):
        client = make_openai(way, http, False).with_options(timeout=0.3)
        list(client.chat.completions.create(**BODY, stream=True, extra_headers=trace))
    assert provider.ended() == "client_gone"
    row = wait_for(lambda: mesh.rows(query, trace["traceparent"]), "the audit's row")[0]
    assert row["outcome"] == "client_gone"
    if script.hold == 4:
        assert (row["estimated"], row["status"]) == (1, 200)
        assert row["completion_tokens"] > 0


async def test_many_kinds_at_once(mesh: Mesh, provider: Provider) -> None:
    """Calls of several SDKs and clients, streamed at once, each get their own answer."""
    way = mesh.way("forward-h2")

    async def one(kind: Kind, make: Any, text: str) -> str:
        async with way.client(kind.library, [], asynchronous=True) as http:
            answer = kind.call(make(way, http, True), True, False)
            events = [event async for event in await answer]
        return kind.read_events(events).text

    made = [(CHAT, make_openai), (ANTHROPIC, make_anthropic), (GEMINI, make_gemini)] * 4
    provider.script(*(Script(between=0.002) for _ in made))
    assert await asyncio.gather(*(one(kind, make, str(n)) for n, (kind, make) in enumerate(made))) == [TEXT] * 12
