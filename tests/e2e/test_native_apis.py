"""Quotas and rules at APIs that no dialect of ours is for: Ollama's, Cohere's and Bedrock's own, OpenAI's uploads."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import ollama
import openai
import pytest

from e2e.certs import make_authority
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider, Script, wait_for
from mitmesh.dialects.base import Framing
from mitmesh.wire.awsmessage import event
from mitmesh.wire.frames import framer

OLLAMA, COHERE, AZURE, OPENAI = "ollama.example", "api.cohere.com", "east.openai.azure.com", "api.openai.com"
BEDROCK = "bedrock-runtime.us-east-1.amazonaws.com"
CLAUDE, NOVA = "us.anthropic.claude-sonnet-4-20250514-v1:0", "amazon.nova-pro-v1:0"
HOSTS = "hosts:\n- {id: ollama, match: [ollama.example], provider: ollama, api: compatible, billing: metered}\n"
QUOTAS = """
output_cap: 150
stream_first: 40
limits:
- {id: tokens, unit: tokens, limit: 200, per: month, user: each}
- {id: opus, unit: requests, limit: 1, per: month, user: each, model: "claude-opus-*"}
- {id: money, unit: dollars, limit: 10, per: month, user: each, provider: openai}
- {id: azure, unit: dollars, limit: 10, per: month, user: each, provider: azure}
"""
IDENTITIES = """
trust_headers_from: [127.0.0.1/32]
models:
- {id: few, team: few, allow: [whisper-1, "gpt-4o*", "claude-sonnet-*"]}
- {id: others, refuse: [whisper-1, "gpt-5*", "*opus-3*"]}
"""
WORDS = 300
USER = [{"role": "user", "content": "hi"}]
ASKS = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
CLAUDE_ASKS = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 150, "messages": USER}


def chunk(doc: Any) -> bytes:
    """A model's own event, as Bedrock wraps it."""
    return event(
        "chunk", json.dumps({"bytes": base64.b64encode(json.dumps(doc).encode()).decode(), "p": "ab"}).encode()
    )


def sse(kind: str, doc: Any) -> bytes:
    """One of Cohere's events."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **doc})}\n\n".encode()


def converse(word: str, words: int) -> list[bytes]:
    """Bedrock's Converse, streamed."""
    delta = {"contentBlockIndex": 0, "delta": {"text": word}, "p": "abcdefghijklm"}
    usage = {"usage": {"inputTokens": 5, "outputTokens": words}, "metrics": {"latencyMs": 3}}
    deltas = [event("contentBlockDelta", json.dumps(delta).encode())] * words
    return [event("messageStart", b'{"role":"assistant"}'), *deltas, event("metadata", json.dumps(usage).encode())]


def claude(word: str, words: int) -> list[bytes]:
    """Bedrock's InvokeModel of a Claude model, streamed."""
    begin = {"id": "m", "type": "message", "role": "assistant", "model": "claude", "content": [], "stop_reason": None}
    return [
        chunk({"type": "message_start", "message": begin | {"usage": {"input_tokens": 5, "output_tokens": 1}}}),
        chunk({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        *[chunk({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})] * words,
        chunk({"type": "content_block_stop", "index": 0}),
        chunk({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": words}}),
        chunk({"type": "message_stop"}),
    ]


def llama(word: str, words: int) -> list[bytes]:
    """Ollama's stream."""
    said: dict[str, Any] = {"model": "llama3", "created_at": "2026-01-01T00:00:00.123456789Z", "done": False}
    last = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": words}
    docs = [said | {"message": {"role": "assistant", "content": word}}] * words
    docs.append(said | last | {"message": {"role": "assistant", "content": ""}})
    return [json.dumps(doc).encode() + b"\n" for doc in docs]


def command(word: str, words: int) -> list[bytes]:
    """Cohere's stream."""
    delta = {"index": 0, "delta": {"message": {"content": {"text": word}}}}
    usage = {"billed_units": {"input_tokens": 5.0, "output_tokens": float(words)}}
    deltas = [sse("content-delta", delta)] * words
    return [*deltas, sse("message-end", {"delta": {"finish_reason": "COMPLETE", "usage": usage}})]


@dataclass
class World:
    """A mitmesh with limits, the provider behind it, and a client that trusts both."""

    mesh: Mesh
    provider: Provider

    def client(self, user: str, team: str = "t") -> httpx.Client:
        """Through the proxy, as this user."""
        verify = ssl.create_default_context(cafile=self.mesh.ca)
        headers = {"x-mesh-user": user, "x-mesh-team": team, "authorization": "Bearer key"}
        return httpx.Client(proxy=self.mesh.proxy, verify=verify, headers=headers, trust_env=False, timeout=20)

    def used(self, user: str) -> int:
        """Tokens of this user, once nothing is reserved."""
        query = "select coalesce(sum(used), 0) used, coalesce(sum(reserved), 0) reserved from counts where key like ?"

        def look() -> int:
            row = self.mesh.rows(query, f"tokens\x1f%user={user}%", database="quota")[0]
            return 0 if row["reserved"] else row["used"]

        return wait_for(look, f"{user} is settled")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All hosts are one provider."""
    authority = make_authority(tmp_path_factory.mktemp("native"), [OLLAMA, COHERE, BEDROCK, AZURE, OPENAI])
    provider = Provider(authority.server_context(["http/1.1"])).start()
    names = {f"{name}:443": provider for name in (OLLAMA, COHERE, BEDROCK, AZURE, OPENAI)}
    local = {
        "mesh.yaml": RAW_TEXT, "hosts.yaml": HOSTS, "quotas.yaml": QUOTAS, "identities.yaml": IDENTITIES,
        "egress.yaml": f"allow: ['127.0.0.1:{provider.port}']\n",
    }  # fmt: skip
    mesh = Mesh(tmp_path_factory.mktemp("mesh"), resolve=names, trust=authority.ca, local=local).start()
    yield World(mesh, provider)
    mesh.stop()
    provider.stop()


@pytest.fixture(autouse=True)
def forget(world: World) -> None:
    """Each test has a provider that knows nothing."""
    world.provider.clear()


def answers(pieces: list[bytes], kind: str) -> Script:
    """An answer in these pieces, each a millisecond after the one before."""
    return Script(pieces=pieces, content_type=kind, between=0.001)


STREAMS = {
    "ollama": (
        OLLAMA,
        "/api/chat",
        {"model": "llama3", "messages": USER},
        llama,
        Framing.NDJSON,
        "application/x-ndjson",
    ),
    "cohere": (
        COHERE,
        "/v2/chat",
        {"model": "c", "messages": USER, "stream": True},
        command,
        Framing.SSE,
        "text/event-stream",
    ),
    "converse": (
        BEDROCK,
        f"/model/{NOVA}/converse-stream",
        ASKS,
        converse,
        Framing.AWS,
        "application/vnd.amazon.eventstream",
    ),
    "claude": (
        BEDROCK,
        f"/model/{CLAUDE}/invoke-with-response-stream",
        CLAUDE_ASKS,
        claude,
        Framing.AWS,
        "application/vnd.amazon.eventstream",
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_ends_where_the_budget_does(name: str, world: World) -> None:
    """What was paid for arrives as it was sent, then an error of that framing; the provider is cut off."""
    host, path, doc, pieces, framing, kind = STREAMS[name]
    sent = pieces("word ", WORDS)
    world.provider.script(answers(sent, kind))
    with world.client(f"cut-{name}") as http:
        raw = http.post(f"https://{host}{path}", json=doc).content
    parser = framer(framing)
    events = parser.feed(raw) + parser.flush()
    kept = [found for found in events if b"word " in found.data]
    assert 100 < len(kept) <= 200 and all(found.raw in sent for found in kept)
    assert b"Quota exceeded" in events[-1].data and f"cut-{name}".encode() in events[-1].data
    assert world.provider.ended() != "complete"
    assert 150 < world.used(f"cut-{name}") <= 200


@pytest.mark.slow
@pytest.mark.parametrize("name", STREAMS)
def test_a_whole_stream(name: str, world: World) -> None:
    """It passes byte by byte, and what the provider says of tokens is booked, whatever its name for it."""
    host, path, doc, pieces, _, kind = STREAMS[name]
    sent = pieces("word ", 50)
    world.provider.script(answers(sent, kind))
    with world.client(f"whole-{name}") as http:
        assert http.post(f"https://{host}{path}", json=doc).content == b"".join(sent)
    assert world.used(f"whole-{name}") == 55


ANSWERS = {
    "ollama": (
        OLLAMA,
        "/api/generate",
        {"model": "m", "prompt": "hi", "stream": False},
        {"model": "m", "response": "word " * 30, "done": True, "prompt_eval_count": 5, "eval_count": 30},
    ),
    "cohere": (
        COHERE,
        "/v1/chat",
        {"message": "hi"},
        {"text": "word " * 30, "meta": {"billed_units": {"input_tokens": 5, "output_tokens": 30}}},
    ),
    "converse": (
        BEDROCK,
        f"/model/{NOVA}/converse",
        ASKS,
        {"output": {"message": {"content": [{"text": "word " * 30}]}}, "usage": {"inputTokens": 5, "outputTokens": 30}},
    ),
    "claude": (
        BEDROCK,
        f"/model/{CLAUDE}/invoke",
        CLAUDE_ASKS,
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "word " * 30}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 5, "output_tokens": 30},
        },
    ),
    "titan": (
        BEDROCK,
        "/model/amazon.titan-text-v1/invoke",
        {"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 150}},
        {"inputTextTokenCount": 5, "results": [{"tokenCount": 30, "outputText": "word " * 30}]},
    ),
}
BOUNDS: dict[str, Any] = {
    "ollama": lambda most: {"options": {"num_predict": most}},
    "cohere": lambda most: {"max_tokens": most},
    "converse": lambda most: {"inferenceConfig": {"maxTokens": most}},
    "claude": lambda most: {"max_tokens": most},
    "titan": lambda most: {"textGenerationConfig": {"maxTokenCount": most}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_bounded_and_booked(name: str, world: World) -> None:
    """A call without a bound gets the rules' own under the API's name for it, usage is booked, and a bound that no
    longer fits is refused."""
    host, path, doc, answer = ANSWERS[name]
    world.provider.script(Script(body=json.dumps(answer).encode(), content_type="application/json"))
    with world.client(f"json-{name}") as http:
        assert http.post(f"https://{host}{path}", json=doc).json() == answer
        assert json.loads(world.provider.call().body) == doc | BOUNDS[name](150)
        assert world.used(f"json-{name}") == 35
        assert http.post(f"https://{host}{path}", json=doc | BOUNDS[name](170)).status_code == 429


def test_all_that_a_model_may_read_is_in_the_prompt(world: World) -> None:
    """Documents beside the conversation, too."""
    with world.client("documents") as http:
        doc = {"model": "c", "messages": USER, "max_tokens": 5, "documents": [{"data": {"text": "word " * 400}}]}
        refused = http.post(f"https://{COHERE}/v2/chat", json=doc)
    assert refused.status_code == 429 and "may need 4" in refused.json()["message"]


@pytest.mark.slow
def test_nobody_says(world: World) -> None:
    """An answer without usage is counted; one that cannot be read is charged what was set aside."""
    world.provider.script(
        Script(body=json.dumps({"message": {"content": "word " * 40}}).encode(), content_type="application/json"),
        Script(body=b"\x00\x01\xff" * 50, content_type="application/octet-stream"),
    )
    doc = {"model": "m", "messages": USER, "stream": False}
    with world.client("silent") as http:
        http.post(f"https://{OLLAMA}/api/chat", json=doc)
        assert 40 < (counted := world.used("silent")) < 60
    with world.client("opaque") as http:
        http.post(f"https://{OLLAMA}/api/chat", json=doc)
        assert world.used("opaque") > 150
    assert counted


@pytest.mark.slow
def test_ollamas_own_client(world: World) -> None:
    """It raises its error with the reason, before a call and within a stream."""
    world.provider.script(answers(llama("word ", WORDS), "application/x-ndjson"))
    verify = ssl.create_default_context(cafile=world.mesh.ca)
    headers = {"x-mesh-user": "client"}
    client = ollama.Client(f"https://{OLLAMA}", headers=headers, proxy=world.mesh.proxy, verify=verify, trust_env=False)
    said = 0
    with pytest.raises(ollama.ResponseError, match="Quota exceeded"):
        for part in client.chat("llama3", USER, stream=True):
            said += bool(part.message.content)
    assert 100 < said <= 200
    with pytest.raises(ollama.ResponseError, match="Quota exceeded") as refused:
        client.chat("llama3", USER)
    assert refused.value.status_code == 429


@pytest.mark.slow
def test_amazons_errors(world: World) -> None:
    """Type in the header, message at the top: so their SDKs read it."""
    with world.client("amazon") as http:
        refused = http.post(f"https://{BEDROCK}/model/{CLAUDE}/invoke", json=CLAUDE_ASKS | {"max_tokens": 900})
    assert (refused.status_code, refused.headers["x-amzn-errortype"]) == (429, "ThrottlingException")
    assert refused.json()["message"].startswith("Quota exceeded")


def test_models_in_forms_and_paths(world: World) -> None:
    """They are refused and allowed by name, as those in a JSON body; and what runs no model is allowed."""

    def ask(team: str, url: str, **rest: Any) -> int:
        body = b'{"ok":true,"usage":{"input_tokens":1,"output_tokens":1}}'
        world.provider.scripts[:] = [Script(body=body, content_type="application/json")]
        with world.client(f"named-{team}", team) as http:
            return http.post(url, **rest).status_code

    def upload(model: str) -> dict[str, Any]:
        return {"files": {"file": ("a.mp3", b"ID3\xff\x00", "audio/mpeg")}, "data": {"model": model}}

    def deployed(name: str, body: str) -> tuple[str, dict[str, Any]]:
        doc = {"model": body, "messages": USER, "max_tokens": 5}
        return f"https://{AZURE}/openai/deployments/{name}/chat/completions?api-version=1", {"json": doc}

    speech = f"https://{OPENAI}/v1/audio/transcriptions"
    opus = f"https://{BEDROCK}/model/anthropic.claude-opus-3-v1%3A0"
    assert ask("t", speech, **upload("whisper-1")) == 403
    assert ask("t", speech, data={"model": "whisper-1"}) == 403
    assert ask("few", speech, **upload("gpt-4o-transcribe")) == 200
    assert ask("few", speech, **upload("gpt-5-transcribe")) == 403
    assert ask("few", f"https://{OPENAI}/v1/files", files={"file": b"{}"}) == 200
    for verb, doc in (("invoke", CLAUDE_ASKS), ("converse", ASKS)):
        assert ask("t", f"{opus}/{verb}", json=doc) == 403
        assert ask("few", f"https://{BEDROCK}/model/{CLAUDE}/{verb}", json=doc) == 200
        assert ask("few", f"https://{BEDROCK}/model/{NOVA}/{verb}", json=doc) == 403
    for name, body, status in (("gpt-5", "gpt-4o-mini", 403), ("GPT-5", "gpt-4o-mini", 403), ("gpt-4o", "gpt-5", 200)):
        url, rest = deployed(name, body)
        assert ask("t", url, **rest) == status
        assert ask("few", url, **rest) == status
    assert ask("few", f"https://{AZURE}/models/chat/completions", json={"model": "gpt-4o", "messages": USER}) == 200


@pytest.mark.slow
def test_limits_by_model(world: World) -> None:
    """A model's limit counts it under the name that a router or a cloud has for it."""
    url = f"https://{BEDROCK}/model/eu.anthropic.claude-opus-4-v1:0/converse"
    body = Script(body=b'{"usage":{"inputTokens":1,"outputTokens":1}}', content_type="application/json")
    world.provider.script(body, body)
    asks = ASKS | {"inferenceConfig": {"maxTokens": 5}}
    with world.client("opus") as http:
        assert [http.post(url, json=asks).status_code for _ in range(2)] == [200, 429]


@pytest.mark.slow
def test_an_upload_has_a_price(world: World) -> None:
    """A limit in dollars knows the model of an upload."""
    usage = b'{"text":"hi","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}'
    world.provider.script(Script(body=usage, content_type="application/json"))
    with world.client("upload") as http:
        sdk = openai.OpenAI(api_key="key", http_client=http, max_retries=0)
        file = ("a.mp3", b"ID3\xff\x00" * 20, "audio/mpeg")
        assert sdk.audio.transcriptions.create(model="gpt-4o-transcribe", file=file).text == "hi"
    assert world.used("upload") == 59


@pytest.mark.slow
def test_a_deployment_with_a_name_of_its_own(world: World) -> None:
    """Its price is that of the model that it is said to be, and then of the one that answered."""
    doc = {"model": "gpt-4o", "messages": USER, "max_tokens": 5}
    said = {
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 1000},
    }
    world.provider.script(Script(body=json.dumps(said).encode(), content_type="application/json"))
    url = f"https://{AZURE}/openai/deployments/prod-chat/chat/completions?api-version=1"
    with world.client("deployed") as http:
        assert http.post(url, json=doc).status_code == 200
        assert http.post(url, json={**doc, "model": "nobody-knows"}).status_code == 402
    query = "select used from counts where key like 'azure\x1f%user=deployed%' and reserved = 0 and used > 0"
    wait_for(lambda: world.mesh.rows(query, database="quota"), "it is settled")
    assert world.mesh.rows(query, database="quota") == [{"used": 750}]
