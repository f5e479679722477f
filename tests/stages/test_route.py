"""The route stage: who serves a call to the gateway, and with whose credential."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Call, Operation
from mitmesh.exchange import Billing, Exchange, Mode, Target
from mitmesh.gateway import UNROUTED
from mitmesh.replies import credential
from mitmesh.rules import HostRule, Hosts, Mesh, Routes, Rules
from mitmesh.stages.route import Route, drop_credentials

HOSTS = Hosts(
    hosts=[
        HostRule(id="openai", match=["api.openai.com"], provider="openai"),
        HostRule(id="shadow", match=["api.shadow.example"], provider="shadow", status="blocked"),
    ]
)
PROVIDERS: dict[str, Any] = {
    "openai": {"base_url": "https://api.openai.com"},
    "anthropic": {"base_url": "https://api.anthropic.com"},
    "google": {"base_url": "https://generativelanguage.googleapis.com"},
    "mistral": {"base_url": "https://api.mistral.ai/eu", "api_key": "env:ROUTE_TEST_KEY"},
    "azure": {"base_url": "https://me.openai.azure.com", "api_key": "env:ROUTE_TEST_KEY"},
    "ollama": {"base_url": "http://127.0.0.1:11434", "billing": "local", "api_key": "none"},
    "keyless": {"base_url": "https://api.keyless.example"},
    "shadow": {"base_url": "https://api.shadow.example", "api_key": "none"},
}
MINE = "client-key"


def rules(*routes: dict[str, Any], mode: Mode = Mode.ENFORCE) -> Rules:
    """Rules with these routes."""
    return Rules(
        mesh=Mesh(mode=mode), hosts=HOSTS, routes=Routes.model_validate({"providers": PROVIDERS, "routes": routes})
    )


def exchange(all_rules: Rules, dialect: str = "openai_chat", model: str | None = "gpt-4o", **fields: Any) -> Exchange:
    """A call to the gateway with the client's own key."""
    fields = {"path": "/v1/chat/completions", "headers": {"authorization": f"Bearer {MINE}"}, **fields}
    x = Exchange(
        dialect=DIALECTS[dialect],
        call=Call(Operation.CHAT, model),
        host=UNROUTED,
        target=None,
        rules=all_rules,
        via="gateway",
        **fields,
    )
    x.credential = x.credential or credential(x.headers, x.path)
    return x


async def routed(x: Exchange, demo: Any = None) -> Exchange:
    """Through the stage."""
    stage = Route(demo)
    stage.configure(x.rules)
    await stage.request(x)
    return x


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTE_TEST_KEY", "our-key")


@pytest.mark.parametrize(
    ("dialect", "path", "host", "provider"),
    [
        ("openai_chat", "/v1/chat/completions", "api.openai.com", "openai"),
        ("openai_responses", "/v1/responses", "api.openai.com", "openai"),
        ("anthropic", "/v1/messages", "api.anthropic.com", "anthropic"),
        ("gemini", "/v1beta/models/m:generateContent", "generativelanguage.googleapis.com", "google"),
    ],
)
async def test_native(dialect: str, path: str, host: str, provider: str) -> None:
    """Without a route a call goes to its dialect's own provider, with the client's credential untouched."""
    x = await routed(exchange(rules(), dialect, path=path))
    assert x.target and (x.target.scheme, x.target.host, x.target.port) == ("https", host, 443)
    assert (x.provider, x.route, x.refusal, x.path) == (provider, "native", None, path)
    assert x.headers == {"authorization": f"Bearer {MINE}"}


@pytest.mark.parametrize(
    ("route", "model", "path", "matches"),
    [
        ({"model": "mistral-*"}, "mistral-large", "/v1/chat/completions", True),
        ({"model": "mistral-*"}, "MISTRAL-LARGE", "/v1/chat/completions", True),
        ({"model": "mistral-*"}, "not-mistral-large", "/v1/chat/completions", False),
        ({"model": "m.stral"}, "mistral", "/v1/chat/completions", False),
        ({"model": "*"}, None, "/v1/chat/completions", True),
        ({"path": "/v1/chat/completions"}, "x", "/v1/chat/completions?a=b", True),
        ({"path": "/v1/chat/completions"}, "x", "/v1//chat/completions/", True),
        ({"path": "/v1/chat"}, "x", "/v1/chat/completions", False),
        ({"path": "/v1/**"}, "x", "/v1/chat/completions", True),
    ],
)
async def test_routes(route: dict[str, Any], model: str | None, path: str, matches: bool) -> None:
    """A route matches by path and model, both anchored; the first that does decides."""
    x = await routed(exchange(rules({"id": "r", "provider": "mistral", **route}), model=model, path=path))
    assert (x.route, x.provider) == (("r", "mistral") if matches else ("native", "openai"))


async def test_the_first_route_decides() -> None:
    """Of two that match the first one wins."""
    both = ({"id": "a", "provider": "mistral"}, {"id": "b", "provider": "ollama"})
    assert (await routed(exchange(rules(*both)))).route == "a"
    assert (await routed(exchange(rules(*reversed(both))))).route == "b"


@pytest.mark.parametrize(
    ("provider", "header", "value"),
    [("mistral", "authorization", "Bearer our-key"), ("azure", "api-key", "our-key")],
)
async def test_another_provider_gets_our_key(provider: str, header: str, value: str) -> None:
    """A routed call carries the configured key where that provider wants it, and nothing of the client's."""
    names = ("x-api-key", "x-goog-api-key", "api-key")
    headers = {"authorization": f"Bearer {MINE}", **dict.fromkeys(names, MINE), "accept": "b"}
    path = f"/v1/chat/completions?key={MINE}&alt=c"
    x = exchange(rules({"id": "r", "provider": provider}), headers=headers, path=path)
    await routed(x)
    assert (x.refusal, x.headers) == (None, {header: value, "accept": "b"})
    assert MINE not in x.path and x.path.endswith("?alt=c")


async def test_the_base_url_has_a_path() -> None:
    """A provider's own prefix comes before the path."""
    x = await routed(exchange(rules({"id": "r", "provider": "mistral"})))
    assert x.path == "/eu/v1/chat/completions"


@pytest.mark.parametrize("mode", list(Mode))
async def test_no_key_is_401(mode: Mode) -> None:
    """Where no key is configured for another provider the call is refused, whatever the mode, and the client's key
    is gone."""
    x = await routed(exchange(rules({"id": "r", "provider": "keyless"}, mode=mode)))
    assert x.refusal and (x.refusal.status, x.refusal.rule_id) == (401, "r")
    assert "providers.keyless.api_key" in x.refusal.reason
    assert "authorization" not in x.headers


@pytest.mark.parametrize("source", ["env:ROUTE_TEST_MISSING", "file:/nowhere/at/all"])
async def test_a_key_that_is_not_there(source: str) -> None:
    """A key that is configured and cannot be found refuses too."""
    all_rules = rules({"id": "r", "provider": "keyless"})
    all_rules.routes.providers["keyless"].__dict__["api_key"] = source
    x = await routed(exchange(all_rules))
    assert x.refusal and "is not to be found" in x.refusal.reason


async def test_a_key_from_a_file(tmp_path: Path) -> None:
    """A key is read from its file, white space around it left out."""
    file = tmp_path / "key"
    file.write_text(" file-key\n")
    all_rules = rules({"id": "r", "provider": "keyless"})
    all_rules.routes.providers["keyless"].__dict__["api_key"] = f"file:{file}"
    assert (await routed(exchange(all_rules))).headers["authorization"] == "Bearer file-key"


async def test_no_credential_at_all() -> None:
    """A call to its native provider without any credential is told to send one."""
    x = await routed(exchange(rules(), headers={}))
    assert x.refusal and x.refusal.status == 401
    assert "Send yours" in x.refusal.reason


async def test_a_server_without_keys() -> None:
    """`api_key: none` sends no credential and refuses nobody; the entry's billing holds."""
    x = await routed(exchange(rules({"id": "r", "provider": "ollama"})))
    assert (x.refusal, x.headers, x.host.billing) == (None, {}, Billing.LOCAL)
    assert x.target and (x.target.scheme, x.target.host, x.target.port) == ("http", "127.0.0.1", 11434)


async def test_a_blocked_provider() -> None:
    """A provider whose host is blocked is blocked at the gateway too."""
    x = await routed(exchange(rules({"id": "r", "provider": "shadow"})))
    assert x.refusal and (x.refusal.rule_id, x.refusal.status) == ("shadow", 403)


async def test_other_ways_are_not_routed() -> None:
    """A call through the forward proxy goes where its client wanted."""
    x = exchange(rules({"id": "r", "provider": "mistral"}))
    x.via, x.target = "forward", Target("https", "api.openai.com", 443)
    await routed(x)
    assert (x.route, x.target.host, x.headers) == (None, "api.openai.com", {"authorization": f"Bearer {MINE}"})


@pytest.mark.parametrize("certified", [True, False])
async def test_a_redirected_call_with_a_virtual_key(certified: bool) -> None:
    """The provider's key goes to an address only where the certificate there must bear the provider's name."""
    x = exchange(rules({"id": "r", "provider": "mistral"}), headers={})
    x.via, x.wants_key = "transparent", True
    x.target = Target("https", "203.0.113.9", 443, "api.mistral.ai", certified)
    await routed(x)
    assert (x.headers.get("authorization"), x.refusal is None) == ("Bearer our-key" if certified else None, certified)


async def test_an_unknown_path_is_not_routed() -> None:
    """A path of no dialect has no provider, even where a route takes any path."""
    x = await routed(exchange(rules({"id": "r", "provider": "mistral"}), "generic", path="/nowhere"))
    assert (x.target, x.route) == (None, None)


async def _demo(_: Exchange) -> AsyncIterator[bytes]:
    yield b""


@pytest.mark.parametrize("via", ["gateway", "forward"])
async def test_the_demo(via: str) -> None:
    """In demo mode every call is served here, without its credential, and costs nothing."""
    x = exchange(rules({"id": "r", "provider": "keyless"}))
    if via == "forward":
        x.via, x.target = via, Target("https", "api.openai.com", 443)
    await routed(x, _demo)
    assert (x.local, x.route, x.host.billing, x.headers, x.refusal) == (_demo, "demo", Billing.SUBSCRIPTION, {}, None)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/x", "/x"),
        ("/x?alt=sse", "/x?alt=sse"),
        ("/x?key=secret", "/x"),
        ("/x?alt=sse&key=secret&limit=", "/x?alt=sse&limit="),
        ("/x?%6bey=secret&alt=sse", "/x?alt=sse"),
        ("/x?access_token=secret", "/x"),
        ("/x?KEY=one&$key=two&api_key=three", "/x"),
    ],
)
def test_keys_in_paths(path: str, expected: str) -> None:
    """Whatever could be a key is taken out of a path, however it is spelled."""
    assert drop_credentials({}, path) == expected


def test_headers_that_could_be_credentials() -> None:
    """Of the client's headers only those that are known to be harmless go to another provider."""
    headers = {"content-type": "a", "x-stainless-os": "b", "cookie": "c", "x-auth-token": "d", "openai-project": "e"}
    drop_credentials(headers)
    assert headers == {"content-type": "a", "x-stainless-os": "b"}
