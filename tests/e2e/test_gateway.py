"""The gateway: where a call goes, with whose credential, and what becomes of those that go nowhere."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.certs import Authority, make_authority
from e2e.conftest import MakeMesh
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.raw import answer, anyone, dial, read_head, request, status
from e2e.replies import COMPLETION, PROMPT, TEXT

CLIENT_KEY, OUR_KEY, FILE_KEY = "sk-the-clients-own", "sk-ours-from-the-environment", "sk-ours-from-a-file"
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hallo"}]}
MESSAGES = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": CHAT["messages"]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "Hallo"}]}]}
BEARER = {"authorization": f"Bearer {CLIENT_KEY}"}
ANTHROPIC = {"x-api-key": CLIENT_KEY, "anthropic-version": "2023-06-01"}
GOOGLE = {"x-goog-api-key": CLIENT_KEY}

ROUTES = """
providers:
  mistral: {base_url: https://api.mistral.ai, api_key: env:MESH_TEST_KEY}
  anthropic-eu: {base_url: https://eu.example/anthropic/v2, api_key: file:%s}
  keyless: {base_url: https://keyless.example}
  unset: {base_url: https://keyless.example, api_key: env:MESH_TEST_UNSET}
  lost: {base_url: https://keyless.example, api_key: file:/nowhere/at/all}
  bad: {base_url: https://keyless.example, api_key: file:%s}
  blocked: {base_url: https://blocked.example, api_key: env:MESH_TEST_KEY}
  dead: {base_url: https://dead.example, api_key: env:MESH_TEST_KEY}
  ollama: {base_url: http://127.0.0.1:%d/api, api_key: none, billing: local}
  azure: {base_url: https://azure.example, api_key: env:MESH_TEST_KEY}
routes:
  - {id: to-mistral, model: "mistral-*", provider: mistral}
  - {id: to-eu, path: /v1/messages, model: "eu-*", provider: anthropic-eu}
  - {id: to-keyless, model: keyless, provider: keyless}
  - {id: to-unset, model: unset, provider: unset}
  - {id: to-lost, model: lost, provider: lost}
  - {id: to-bad, model: bad, provider: bad}
  - {id: to-blocked, model: blocked, provider: blocked}
  - {id: to-dead, model: dead, provider: dead}
  - {id: to-ollama, model: "llama*", provider: ollama}
  - {id: to-azure, model: azure, provider: azure}
  - {id: files, path: /v1/files, provider: mistral}
  - {id: last, path: /v1/completions, provider: openai}
"""
HOSTS = """
hosts:
  - {id: no-deal, match: [blocked.example], provider: blocked, status: blocked, reason: no contract}
  - {id: tenant, match: [eu.example], provider: eu, api: anthropic, inject_headers: {x-tenant: ours}}
"""
MORE = ["api.mistral.ai", "eu.example", "keyless.example", "blocked.example", "azure.example"]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Provider, Authority]]:
    """The providers that are nobody's native one, and their CA."""
    authority = make_authority(tmp_path_factory.mktemp("far"), MORE, "mitmesh other CA")
    provider = Provider(authority.server_context(["h2", "http/1.1"])).start()
    yield provider, authority
    provider.stop()


@pytest.fixture
def other(far: tuple[Provider, Authority]) -> Provider:
    """The same provider, its memory empty."""
    far[0].clear()
    return far[0]


@pytest.fixture(scope="module")
def setting(
    tmp_path_factory: pytest.TempPathFactory,
    names: dict[str, Provider],
    authority: Authority,
    far: tuple[Provider, Authority],
    provider_plain: Provider,
) -> dict[str, Any]:
    """What a mitmesh with ROUTES is made of."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "key").write_text(f"{FILE_KEY}\n")
    (folder / "bad").write_bytes(b"\xff\xfe")
    trust = folder / "trust.pem"
    trust.write_bytes(authority.ca.read_bytes() + far[1].ca.read_bytes())
    routes = ROUTES % (folder / "key", folder / "bad", provider_plain.port)
    return {
        "resolve": {**names, **{f"{name}:443": far[0] for name in MORE}},
        "trust": trust,
        "local": {"mesh.yaml": RAW_TEXT + "stream_cost: true\n", "routes.yaml": routes, "hosts.yaml": HOSTS},
        "environ": {"MESH_TEST_KEY": OUR_KEY},
    }


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, setting: dict[str, Any]) -> Iterator[Mesh]:
    """One mitmesh with ROUTES."""
    mesh = Mesh(tmp_path_factory.mktemp("mesh"), **setting).start()
    yield mesh
    mesh.stop()


@pytest.fixture
def client(mesh: Mesh) -> Iterator[httpx.Client]:
    """A client of the gateway."""
    with httpx.Client(base_url=mesh.gateway, trust_env=False, timeout=20) as client:
        yield client


def said(provider: Provider) -> str:
    """All that a provider was told, bodies aside."""
    return repr([(seen.target, seen.headers) for seen in provider.calls])


# --- the paths ---

PATHS: list[tuple[str, str, Any, dict[str, str], str, str]] = [
    ("POST", "/v1/chat/completions", CHAT, BEARER, "openai", "chat"),
    ("POST", "/v1/responses", {"model": "gpt-4o-mini", "input": "Hallo"}, BEARER, "openai", "chat"),
    ("POST", "/v1/embeddings", {"model": "text-embedding-3-small", "input": "a"}, BEARER, "openai", "embeddings"),
    ("GET", "/v1/models", None, BEARER, "openai", "models"),
    ("GET", "/v1/models", None, ANTHROPIC, "anthropic", "models"),
    ("GET", "/v1/models?limit=3", None, ANTHROPIC, "anthropic", "models"),
    ("POST", "/v1/messages", MESSAGES, ANTHROPIC, "anthropic", "chat"),
    ("POST", "/v1/messages?beta=true", MESSAGES, ANTHROPIC, "anthropic", "chat"),
    ("POST", "/v1/messages/count_tokens", MESSAGES, ANTHROPIC, "anthropic", "count_tokens"),
    ("GET", "/v1beta/models", None, GOOGLE, "google", "models"),
    ("POST", "/v1beta/models/gemini-2.5-flash:generateContent", CONTENTS, GOOGLE, "google", "chat"),
    ("POST", f"/v1beta/models/gemini-2.5-flash:generateContent?key={CLIENT_KEY}", CONTENTS, {}, "google", "chat"),
    ("POST", "/v1beta/models/gemini-2.5-flash:countTokens", CONTENTS, GOOGLE, "google", "count_tokens"),
]
HOST_OF = {
    "openai": "api.openai.com",
    "anthropic": "api.anthropic.com",
    "google": "generativelanguage.googleapis.com",
}


@pytest.mark.parametrize(("method", "path", "body", "headers", "name", "operation"), PATHS)
def test_paths(
    method: str,
    path: str,
    body: Any,
    headers: dict[str, str],
    name: str,
    operation: str,
    mesh: Mesh,
    client: httpx.Client,
    provider: Provider,
) -> None:
    """Each path goes to its native provider, as it came, with the client's credential."""
    got = client.request(method, path, json=body, headers={**headers, "x-mesh-loopback": "guess", "X-Mesh-Team": "red"})
    seen = provider.call()
    assert (got.status_code, seen.target, seen.sni) == (200, path, HOST_OF[name])
    assert seen.header("host") == HOST_OF[name]
    assert CLIENT_KEY in said(provider)
    assert not [header for header, _ in seen.headers if header.lower().startswith("x-mesh")]
    assert (got.headers["x-mesh-origin"], got.headers["x-mesh-vendor"]) == ("provider", name)
    row = mesh.exchange(got.headers["x-mesh-id"])
    assert (row["provider"], row["operation"], row["via"], row["route"]) == (name, operation, "gateway", "native")
    assert (row["host"], row["team"]) == (HOST_OF[name], None)


UNKNOWN = [
    ("GET", "/"),
    ("POST", "/v1"),
    ("POST", "/v1/fine_tuning/jobs"),
    ("GET", "/v1/chat/completions"),
    ("DELETE", "/v1/models/x"),
    ("POST", "/v1/chat/completions%00"),
    ("POST", "//127.0.0.1:9/v1/x"),
    ("GET", "/health"),
]


@pytest.mark.parametrize(("method", "path"), UNKNOWN)
def test_unknown_paths(method: str, path: str, mesh: Mesh, client: httpx.Client, provider: Provider) -> None:
    """A path that nobody serves is a 404 of ours: nothing reaches a provider, nor the mode's dead port."""
    with dial(mesh.gateway) as sock:
        sock.sendall(request(f"{method} {path}", mesh.run["gateway"], b'{"model": "mistral-large"}', **BEARER))
        code, headers, body = answer(sock)
    assert (code, headers["x-mesh-rule"], headers["x-mesh-origin"]) == (404, "engine.no_route", "proxy")
    assert json.loads(body)["error"]
    assert mesh.exchange(headers["x-mesh-id"])["forwarded"] == 0
    assert not mesh.rows("select * from connections where port = 9")
    assert provider.calls == []


def test_a_named_path(mesh: Mesh, client: httpx.Client, other: Provider) -> None:
    """A path that no dialect knows is served where a route names it."""
    other.script(Script(body=b"{}"))
    got = client.post("/v1/files", json={"purpose": "x"})
    assert (got.status_code, other.call().sni) == (200, "api.mistral.ai")
    row = mesh.exchange(got.headers["x-mesh-id"])
    assert (row["route"], row["dialect"], row["operation"]) == ("files", "generic", "other")


# --- credentials ---


@pytest.mark.parametrize("query", ["", f"?key={CLIENT_KEY}", f"?limit=1&key={CLIENT_KEY}"])
def test_another_provider_gets_our_key(query: str, mesh: Mesh, client: httpx.Client, other: Provider) -> None:
    """A call routed to another provider carries the configured key, and nothing of the client's credential."""
    everything = {**BEARER, **GOOGLE, "x-api-key": CLIENT_KEY, "api-key": CLIENT_KEY}
    got = client.post(f"/v1/chat/completions{query}", json={**CHAT, "model": "mistral-large"}, headers=everything)
    seen = other.call()
    assert (got.status_code, seen.sni, seen.header("authorization")) == (200, "api.mistral.ai", f"Bearer {OUR_KEY}")
    assert CLIENT_KEY not in said(other)
    assert seen.target == "/v1/chat/completions" + ("?limit=1" if "limit=1" in query else "")
    assert seen.json["model"] == "mistral-large"
    row = mesh.exchange(got.headers["x-mesh-id"])
    assert (row["provider"], row["route"], row["host"]) == ("mistral", "to-mistral", "api.mistral.ai")
    assert row["credential_hash"]


def test_a_key_in_a_file_and_a_prefix(mesh: Mesh, client: httpx.Client, other: Provider) -> None:
    """A base URL's path stands before the call's; the key comes from a file; the host's own headers are added."""
    got = client.post("/v1/messages?beta=true", json={**MESSAGES, "model": "eu-claude"}, headers=ANTHROPIC)
    seen = other.call()
    assert (got.status_code, seen.target) == (200, "/anthropic/v2/v1/messages?beta=true")
    assert (seen.header("authorization"), seen.header("x-tenant")) == (f"Bearer {FILE_KEY}", "ours")
    assert CLIENT_KEY not in said(other)


def test_where_a_provider_wants_its_key(client: httpx.Client, other: Provider) -> None:
    """Azure takes its key in a header of its own."""
    assert client.post("/v1/chat/completions", json={**CHAT, "model": "azure"}, headers=BEARER).status_code == 200
    seen = other.call()
    assert (seen.header("api-key"), seen.header("authorization")) == (OUR_KEY, None)


@pytest.mark.parametrize("model", ["keyless", "unset", "lost", "bad"])
@pytest.mark.parametrize("kind", ["openai", "anthropic", "google"])
def test_no_key(model: str, kind: str, mesh: Mesh, client: httpx.Client, other: Provider, provider: Provider) -> None:
    """Without a configured key another provider is not called: a refusal in the dialect's shape, which names the way
    out (a key that cannot be read is a failed stage)."""
    calls: dict[str, tuple[str, Any, dict[str, str]]] = {
        "openai": ("/v1/chat/completions", {**CHAT, "model": model}, BEARER),
        "anthropic": ("/v1/messages", {**MESSAGES, "model": model}, ANTHROPIC),
        "google": (f"/v1beta/models/{model}:generateContent", CONTENTS, GOOGLE),
    }
    path, body, headers = calls[kind]
    got = client.post(path, json=body, headers=headers)
    assert got.status_code == (503 if model == "bad" else 401)
    error = got.json()["error"]
    assert got.json().get("type") == ("error" if kind == "anthropic" else None)
    assert model == "bad" or "rules/routes.yaml" in error["message"]
    assert mesh.exchange(got.headers["x-mesh-id"])["forwarded"] == 0
    assert other.calls == provider.calls == []


def test_no_credential_at_all(mesh: Mesh, client: httpx.Client, provider: Provider) -> None:
    """A call to the native provider without a credential, where none is configured, is a 401 of ours."""
    got = client.post("/v1/chat/completions", json=CHAT)
    assert (got.status_code, got.headers["x-mesh-origin"]) == (401, "proxy")
    assert "credential" in got.json()["error"]["message"]
    assert provider.calls == []


def test_a_key_for_the_native_provider(make_mesh: MakeMesh, provider: Provider) -> None:
    """A configured key serves clients of the native provider that have none, in observe mode as in any; one's own is
    kept. And in observe mode too nothing leaves without a key."""
    key = "api_key: env:MESH_TEST_KEY"
    routes = f"""
providers: {{openai: {{base_url: "https://api.openai.com", {key}}}, x: {{base_url: "https://api.groq.com"}}}}
routes: [{{id: to-x, model: x, provider: x}}]
"""
    local = {"routes.yaml": routes, "mesh.yaml": RAW_TEXT + "mode: observe\n"}
    mesh = make_mesh(local=local, environ={"MESH_TEST_KEY": OUR_KEY}).start()
    with httpx.Client(base_url=mesh.gateway, trust_env=False, timeout=20) as client:
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
        assert client.post("/v1/chat/completions", json=CHAT, headers=BEARER).status_code == 200
        assert client.post("/v1/chat/completions", json={**CHAT, "model": "x"}, headers=BEARER).status_code == 401
    assert [seen.header("authorization") for seen in provider.calls] == [f"Bearer {OUR_KEY}", f"Bearer {CLIENT_KEY}"]


def test_no_secret_in_log_or_audit(mesh: Mesh, client: httpx.Client, other: Provider) -> None:
    """No key, of ours or the client's, is in the log or in the audit."""
    got = client.post(f"/v1/chat/completions?key={CLIENT_KEY}", json={**CHAT, "model": "mistral-x"}, headers=BEARER)
    row = mesh.exchange(got.headers["x-mesh-id"])
    for key in (CLIENT_KEY, OUR_KEY, FILE_KEY):
        assert key not in mesh.log()
        assert key not in json.dumps(row)
        assert not [file for file in mesh.data.glob("*.db*") if key.encode() in file.read_bytes()]


# --- where calls end ---


def test_a_server_of_ones_own(mesh: Mesh, client: httpx.Client, plain: Provider) -> None:
    """A provider on loopback that wants no key is reached, without the client's."""
    got = client.post("/v1/chat/completions", json={**CHAT, "model": "llama3.2"}, headers=BEARER)
    assert (got.status_code, plain.call().target) == (200, "/api/v1/chat/completions")
    assert CLIENT_KEY not in said(plain)
    row = mesh.exchange(got.headers["x-mesh-id"])
    assert (row["provider"], row["billing"]) == ("ollama", "local")


def test_a_blocked_provider(mesh: Mesh, client: httpx.Client, other: Provider) -> None:
    """A provider whose host is blocked in hosts.yaml is blocked through the gateway too."""
    got = client.post("/v1/chat/completions", json={**CHAT, "model": "blocked"}, headers=BEARER)
    assert (got.status_code, got.headers["x-mesh-rule"]) == (403, "no-deal")
    assert "no contract" in got.json()["error"]["message"]
    assert other.calls == []


def test_a_provider_that_is_not_there(mesh: Mesh, client: httpx.Client) -> None:
    """A provider that cannot be reached: 502, the exchange's outcome and a connection's row say so."""
    got = client.post("/v1/chat/completions", json={**CHAT, "model": "dead"}, headers=BEARER)
    assert got.status_code == 502
    query = "select * from connections where kind = 'upstream_failed' and host = 'dead.example'"
    wait_for(lambda: mesh.rows(query), "the connection's row")
    outcome = "select * from exchanges where model = 'dead' and outcome = 'upstream_failed'"
    wait_for(lambda: mesh.rows(outcome), "the exchange's row")


def test_what_is_no_call(mesh: Mesh, provider: Provider, plain: Provider) -> None:
    """CONNECT, absolute-form requests, raw bytes and WebSockets at the gateway open no way to anywhere."""
    with dial(mesh.gateway) as sock:
        sock.sendall(b"CONNECT plain.example:80 HTTP/1.1\r\nHost: plain.example:80\r\n\r\n")
        assert status(read_head(sock)) >= 400
    with dial(mesh.gateway) as sock:
        sock.sendall(request("GET http://plain.example/large", "plain.example"))
        assert answer(sock)[0] == 404
    with dial(mesh.gateway) as sock:
        sock.sendall(b"\x00\x01\x02\x03" * 64 + b"\r\n\r\n")
        assert status(read_head(sock)) in (0, 400)
    with dial(mesh.gateway) as sock:
        fields = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13", **BEARER}
        sock.sendall(request("GET /v1/responses", "gateway", Sec_WebSocket_Key="A" * 22 + "==", **fields))
        assert answer(sock)[0] == 426
    assert provider.calls == plain.calls == []
    assert not mesh.rows("select * from connections where port = 9 and kind = 'upstream_failed'")


def test_tls_to_the_gateway(mesh: Mesh, provider: Provider) -> None:
    """TLS to the gateway itself is no way round it."""
    with dial(mesh.gateway) as raw:
        try:
            with anyone().wrap_socket(raw, server_hostname="api.openai.com") as tls:
                tls.sendall(request("POST /v1/nowhere", "api.openai.com", b"{}", **BEARER))
                assert status(read_head(tls)) in (0, 404)
        except (ssl.SSLError, OSError):
            pass
    assert provider.calls == []


# --- what the answer tells ---


def test_headers_of_an_answer(mesh: Mesh, client: httpx.Client, provider: Provider) -> None:
    """A JSON answer's headers tell vendor, model, tokens and cost, to the micro-dollar."""
    got = client.post("/v1/chat/completions", json=CHAT, headers=BEARER)
    row = mesh.exchange(got.headers["x-mesh-id"])
    told = {name: got.headers[f"x-mesh-{name}"] for name in ("vendor", "model", "tokens", "cost-usd")}
    assert row["cost_microusd"] > 0
    assert told == {
        "vendor": "openai",
        "model": "gpt-4o-mini",
        "tokens": str(PROMPT + COMPLETION),
        "cost-usd": f"{row['cost_microusd'] / 1e6:.6f}",
    }


def test_a_model_without_a_price(mesh: Mesh, client: httpx.Client, other: Provider) -> None:
    """What a call costs that has no price is not said, least of all as zero."""
    got = client.post("/v1/chat/completions", json={**CHAT, "model": "mistral-of-tomorrow"}, headers=BEARER)
    assert got.headers["x-mesh-tokens"] == str(PROMPT + COMPLETION)
    assert "x-mesh-cost-usd" not in got.headers
    assert mesh.exchange(got.headers["x-mesh-id"])["cost_microusd"] is None


def test_a_model_that_is_no_header(client: httpx.Client, provider: Provider) -> None:
    """A model's name that is no header value breaks no answer."""
    for model in ("gpt\r\nx-evil: 1", "模型", "x" * 5000, "\x00"):
        got = client.post("/v1/chat/completions", json={**CHAT, "model": model}, headers=BEARER)
        assert got.status_code == 200
        assert "x-evil" not in got.headers
        assert len(got.headers.get("x-mesh-model", "")) <= 200


def test_stream_cost(mesh: Mesh, client: httpx.Client, provider: Provider) -> None:
    """By option a stream ends with a comment that tells tokens and cost; its events are as they were."""
    got = client.post("/v1/chat/completions", json={**CHAT, "stream": True}, headers=BEARER)
    row = mesh.exchange(got.headers["x-mesh-id"])
    match = re.search(r"data: \[DONE\]\n\n: x-mesh-tokens=(\d+) x-mesh-cost-usd=([\d.]+)\n\n\Z", got.text)
    assert match, got.text[-200:]
    assert match.groups() == (str(PROMPT + COMPLETION), f"{row['cost_microusd'] / 1e6:.6f}")
    assert "x-mesh-tokens" not in got.headers
    deltas = [json.loads(line[6:]) for line in got.text.splitlines() if line.startswith("data: {")]
    assert "".join(d["choices"][0]["delta"].get("content") or "" for d in deltas if d["choices"]) == TEXT


# --- a route that fails ---

BREAK = '''
"""Loaded with -s: a route that fails, before or after it has found a provider."""
from mitmesh.stages.route import Route

whole = Route.request

async def request(self, x):
    if x.call.model == "early":
        raise RuntimeError("injected")
    await whole(self, x)
    if x.call.model == "late":
        raise RuntimeError("injected")

Route.request = request
'''


def test_a_route_that_fails(tmp_path: Path, setting: dict[str, Any], provider: Provider) -> None:
    """A call whose route failed never reaches a provider, whether one was found for it or not."""
    script = tmp_path / "break.py"
    script.write_text(BREAK)
    mesh = Mesh(tmp_path / "mesh", **setting, options=["-s", str(script)]).start()
    try:
        with httpx.Client(base_url=mesh.gateway, trust_env=False, timeout=20) as client:
            for model, code in (("early", 404), ("late", 503)):
                got = client.post("/v1/chat/completions", json={**CHAT, "model": model}, headers=BEARER)
                assert (got.status_code, got.headers["x-mesh-origin"]) == (code, "proxy")
                assert mesh.exchange(got.headers["x-mesh-id"])["forwarded"] == 0
            assert client.post("/v1/chat/completions", json=CHAT, headers=BEARER).status_code == 200
        assert len(provider.calls) == 1
        assert not mesh.rows("select * from connections where port = 9")
    finally:
        mesh.kill9()


def test_without_the_route_stage(make_mesh: MakeMesh, provider: Provider) -> None:
    """Where the route stage is not loaded, there is no gateway: it could lead nowhere."""
    mesh = make_mesh(scripts=["audit"]).start()
    assert mesh.run["gateway"] == "none"
    assert provider.calls == []
