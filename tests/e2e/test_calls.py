"""The providers' SDKs through mitmesh: what the client got, what the provider saw, and what the audit says."""

from __future__ import annotations

import json
from typing import Any

import httpx
import httpx2
import pytest

from e2e.mesh import Mesh
from e2e.provider import Provider, wait_for
from e2e.replies import ARGUMENTS, CACHED, COMPLETION, PROMPT, TEXT, VECTOR
from e2e.sdks import KEY, QUESTION, Got, Kind, Way, ask, ask_async, make_anthropic, make_gemini, make_openai


def check_client(got: Got, tools: bool) -> None:
    assert (got.prompt, got.completion) == (PROMPT, COMPLETION)
    if tools:
        assert (got.tool, got.arguments) == ("get_weather", ARGUMENTS)
    else:
        assert (got.text, got.tool) == (TEXT, None)
    assert got.headers["x-mesh-origin"] == "provider"


def check_provider(got: Got, way: Way, kind: Kind, provider: Provider) -> None:
    (seen,) = provider.calls
    assert seen.body == got.sent
    wait_for(lambda: seen.ended == "complete", "the provider has sent its answer to the end")
    assert KEY in (seen.header("authorization"), seen.header("x-api-key"), seen.header("x-goog-api-key")) or (
        seen.header("authorization") == f"Bearer {KEY}"
    )
    assert not [name for name, _ in seen.headers if name.lower().startswith("x-mesh")]
    assert got.version == ("HTTP/2" if way.http2 else "HTTP/1.1")
    if way.name != "gateway":
        assert seen.version == ("2" if way.http2 else "1.1")
    names = {
        "openai": "api.openai.com",
        "anthropic": "api.anthropic.com",
        "google": "generativelanguage.googleapis.com",
    }
    assert seen.header("host") == seen.sni == names[kind.provider]


def check_audit(row: dict[str, Any], got: Got, way: Way, kind: Kind, stream: bool) -> None:
    wanted = {
        "via": "gateway" if way.name == "gateway" else "forward",
        "provider": kind.provider,
        "dialect": kind.name,
        "model": kind.model,
        "operation": kind.operation,
        "stream": int(stream),
        "status": 200,
        "origin": "provider",
        "outcome": "answered",
        "billing": "metered",
        "inspected": "full",
        "forwarded": 1,
        "prompt_tokens": PROMPT,
        "completion_tokens": COMPLETION,
        "cache_read_tokens": CACHED,
        "estimated": 0,
        "request_bytes": len(got.sent),
        "client": "127.0.0.1",
    }
    assert {name: row[name] for name in wanted} == wanted
    assert row["cost_microusd"] > 0
    assert row["response_bytes"] > 0
    assert 0 < row["first_token_ms"] <= row["total_ms"]


def test_sync(kind: Kind, way: Way, stream: bool, tools: bool, mesh: Mesh, provider: Provider) -> None:
    """A blocking call gets the provider's answer, the provider gets the client's bytes, the audit the usage."""
    got = ask(kind, way, stream=stream, tools=tools)
    check_client(got, tools)
    check_provider(got, way, kind, provider)
    check_audit(mesh.exchange(got.id), got, way, kind, stream)


async def test_async(kind: Kind, way: Way, stream: bool, tools: bool, mesh: Mesh, provider: Provider) -> None:
    """So does an awaiting one."""
    got = await ask_async(kind, way, stream=stream, tools=tools)
    check_client(got, tools)
    check_provider(got, way, kind, provider)
    check_audit(mesh.exchange(got.id), got, way, kind, stream)


def test_embeddings(way: Way, mesh: Mesh, provider: Provider) -> None:
    """Embeddings are calls like others, with input tokens only."""
    answers: list[Any] = []
    with way.client(httpx2, answers, asynchronous=False) as http:
        made = make_openai(way, http, False).embeddings.create(model="text-embedding-3-small", input=["a", "b"])
    assert made.data[1].embedding == VECTOR
    assert provider.call().body == answers[-1].request.content
    row = mesh.exchange(answers[-1].headers["x-mesh-id"])
    assert (row["operation"], row["dialect"], row["model"]) == (
        "embeddings",
        "openai_embeddings",
        "text-embedding-3-small",
    )
    assert (row["prompt_tokens"], row["completion_tokens"]) == (PROMPT, 0)


def test_models_and_counts(way: Way, mesh: Mesh, provider: Provider) -> None:
    """Lists of models and token counts pass, carry our headers, and cost nothing."""
    answers: list[Any] = []
    with way.client(httpx2, answers, asynchronous=False) as http:
        assert [model.id for model in make_openai(way, http, False).models.list()] == ["gpt-4o-mini"]
        claude = make_anthropic(way, http, False)
        assert [model.id for model in claude.models.list()] == ["claude-haiku-4-5"]
        counted = claude.messages.count_tokens(model="claude-haiku-4-5", messages=[{"role": "user", "content": "x"}])
        assert counted.input_tokens == PROMPT
    with way.client(httpx, answers, asynchronous=False) as http:
        gemini = make_gemini(way, http, False)
        assert [model.name for model in gemini.models.list()] == ["models/gemini-2.5-flash"]
        assert gemini.models.count_tokens(model="gemini-2.5-flash", contents=QUESTION).total_tokens == PROMPT
    rows = [mesh.exchange(answer.headers["x-mesh-id"]) for answer in answers]
    assert [row["operation"] for row in rows] == ["models", "models", "count_tokens", "models", "count_tokens"]
    assert [row["provider"] for row in rows] == ["openai", "anthropic", "anthropic", "google", "google"]
    assert [row["outcome"] for row in rows] == ["answered"] * 5
    assert not any(row["cost_microusd"] for row in rows)
    assert len(provider.calls) == 5


def test_gateway_headers(kind: Kind, mesh: Mesh, provider: Provider) -> None:
    """The gateway also says who served a call, with which model, and what it used and cost."""
    got = ask(kind, mesh.way("gateway"))
    row = mesh.exchange(got.id)
    assert got.headers["x-mesh-vendor"] == kind.provider
    assert got.headers["x-mesh-model"] == kind.model
    assert got.headers["x-mesh-tokens"] == str(PROMPT + COMPLETION)
    assert round(float(got.headers["x-mesh-cost-usd"]) * 1e6) == row["cost_microusd"]


def test_usage_is_asked_for(way: Way, mesh: Mesh, provider: Provider) -> None:
    """A chat stream that asks for no usage gets none, and the audit knows it all the same."""
    body = b'{"stream" : true, "model":"gpt-4o-mini","messages":[{"content":"caf\\u00e9 \xc3\xa9","role":"user"}] }'
    with way.client(httpx, [], asynchronous=False) as http:
        base = way.base or "https://api.openai.com"
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        answer = http.post(f"{base}/v1/chat/completions", content=body, headers=headers)
    assert answer.text.endswith("data: [DONE]\n\n")
    chunks = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert all(chunk["choices"] and not chunk.get("usage") for chunk in chunks)
    seen = provider.call()
    assert seen.json == {**json.loads(body), "stream_options": {"include_usage": True}}
    assert seen.body.startswith(body.rstrip(b"} "))
    row = mesh.exchange(answer.headers["x-mesh-id"])
    assert (row["prompt_tokens"], row["completion_tokens"], row["estimated"]) == (PROMPT, COMPLETION, 0)


@pytest.mark.parametrize("way", ["forward-h2", "gateway"], indirect=True)
def test_messages_are_kept(way: Way, mesh: Mesh, provider: Provider) -> None:
    """With `text: raw`, what was asked and what was answered can be read in content.db, in order."""
    messages = [{"role": "system", "content": "Sei kurz."}, {"role": "user", "content": f"Frage via {way.name} ☀"}]
    answers: list[Any] = []
    with way.client(httpx2, answers, asynchronous=False) as http:
        make_openai(way, http, False).chat.completions.create(model="gpt-4o-mini", messages=messages)
    mesh.exchange(exchange := answers[-1].headers["x-mesh-id"])
    query = "select direction, role, text from conversations where exchange = ?"
    rows = [tuple(row.values()) for row in mesh.rows(query, exchange, database="content")]
    said = [("request", "system", "Sei kurz."), ("request", "user", f"Frage via {way.name} ☀")]
    assert [row for row in rows if row[0] == "request"] == said
    assert [row[2] for row in rows if row[0] == "answer"] == [TEXT]
