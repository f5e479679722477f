"""Quotas with real SDKs over real TLS: refusals that they understand, headers, and streams that end with the budget."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai

from e2e.certs import Authority
from e2e.conftest import reachable
from e2e.mesh import RAW_TEXT, WAYS, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.sdks import KEY, KINDS, QUESTION, Kind

QUOTAS = """
stream_first: 60
limits:
- {id: user-tokens, unit: tokens, limit: 600, per: total, user: each, team: each}
- {id: user-calls, unit: requests, limit: 3, per: month, user: each, tool: quota-test}
- {id: seen, unit: requests, limit: 0, per: month, team: none-such, mode: observe}
"""
TRUST = "trust_headers_from: [127.0.0.1/32]\n"
LONG = " ".join(f"word{number}" for number in range(1500))
ERRORS = (openai.APIError, anthropic.APIError, genai.errors.APIError)


@pytest.fixture(scope="module")
def limited(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority
) -> Iterator[Mesh]:
    """One mesh with limits; each test is a user of its own."""
    local = {
        "mesh.yaml": RAW_TEXT,
        "egress.yaml": reachable(names),
        "quotas.yaml": QUOTAS,
        "identities.yaml": TRUST,
    }
    mesh = Mesh(tmp_path_factory.mktemp("quota"), resolve=names, trust=authority.ca, local=local).start()
    yield mesh
    mesh.stop()


@pytest.fixture
def user() -> str:
    return f"u{secrets.token_hex(4)}"


def counts(mesh: Mesh, user: str, limit: str = "user-tokens") -> tuple[int, int]:
    """Used and reserved of a limit by one user."""
    query = "select coalesce(sum(used), 0) used, coalesce(sum(reserved), 0) reserved from counts where key like ?"
    row = mesh.rows(query, f"{limit}\x1f%user={user}%", database="quota")
    return (row[0]["used"], row[0]["reserved"]) if row else (0, 0)


def settled(mesh: Mesh, user: str) -> int:
    """What a user used, once nothing is reserved any more."""
    wait_for(lambda: counts(mesh, user)[0] and not counts(mesh, user)[1], "all is settled")
    return counts(mesh, user)[0]


def read(kind: Kind, mesh: Mesh, way: str, user: str, *, stream: bool) -> tuple[str, Exception | None, dict[str, str]]:
    """What an SDK had of an answer, how it ended, and the answer's headers."""
    answers: list[Any] = []
    text, error = "", None
    client = mesh.way(way).client(kind.library, answers, asynchronous=False)
    with client as http:
        http.headers["x-mesh-user"] = user
        try:
            answer = kind.call(kind.make(mesh.way(way), http, False), stream, False)
            for event in answer if stream else [answer]:
                text += _text(event)
        except ERRORS as raised:
            error = raised
    return text, error, dict(answers[-1].headers)


def _text(event: Any) -> str:
    doc = event.model_dump(exclude_none=True)
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for key, below in value.items():
                if key in ("content", "text", "delta") and isinstance(below, str):
                    found.append(below)
                elif key not in ("response", "item", "part"):
                    walk(below)
        elif isinstance(value, list):
            for below in value:
                walk(below)

    walk(doc)
    return "".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_stream_ends_where_the_budget_does(
    kind: Kind, way: str, limited: Mesh, provider: Provider, user: str
) -> None:
    """What was paid for arrives, then the SDK raises its ordinary error with the reason; the provider is cut off, and
    what was delivered is paid for."""
    provider.script(Script(text=LONG, between=0.003))
    text, error, headers = read(kind, limited, way, user, stream=True)
    assert error is not None and "Quota exceeded" in str(error) and user in str(error)
    assert LONG.startswith(text.strip()) and 300 < len(text) < len(LONG) / 2
    assert headers["x-mesh-quota-pct"] == "0%"
    assert provider.ended() != "complete"
    used = settled(limited, user)
    assert 500 < used < 800
    row = limited.exchange(headers["x-mesh-id"])
    assert (row["outcome"], row["refused_rule"]) == ("refused", "user-tokens")
    assert row["prompt_tokens"] + row["completion_tokens"] == used


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_burst_ends_too(kind: Kind, limited: Mesh, provider: Provider, user: str) -> None:
    """A stream that comes faster than the ledger is asked is not let through whole."""
    provider.script(Script(text=" ".join([LONG] * 20)))
    text, error, _ = read(kind, limited, "forward-h2", user, stream=True)
    assert error is not None and "Quota exceeded" in str(error)
    assert len(text) < 20 * len(LONG) / 4


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_refusal_is_the_dialects_own(kind: Kind, stream: bool, limited: Mesh, provider: Provider, user: str) -> None:
    """429 that SDKs raise and do not try again; with what is used up, when it comes back, and nothing sent."""
    provider.script(Script(text=LONG, between=0.002))
    read(kind, limited, "forward-h2", user, stream=True)
    settled(limited, user)
    sent = len(provider.calls)
    _, error, headers = read(kind, limited, "gateway", user, stream=stream)
    assert isinstance(error, ERRORS) and "Quota exceeded: team 'unknown', user" in str(error)
    assert headers["x-should-retry"] == "false" and headers["x-mesh-rule"] == "user-tokens"
    assert int(headers["x-mesh-quota-pct"].rstrip("%")) >= 90
    assert len(provider.calls) == sent


BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 9}
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json", "x-mesh-tool": "quota-test"}


def post(mesh: Mesh, user: str, way: str = "gateway", **body: Any) -> httpx.Response:
    with mesh.way(way).client(httpx, [], asynchronous=False) as http:
        url = f"{mesh.way(way).base or 'https://api.openai.com'}/v1/chat/completions"
        return http.post(url, json={**BODY, **body}, headers={**HEADERS, "x-mesh-user": user})


@pytest.mark.slow
def test_requests_warn_and_stop(limited: Mesh, provider: Provider, user: str) -> None:
    """The warning is on the answer before the last, the refusal in AgentMesh's words, both on /live."""
    seen = [post(limited, user) for _ in range(4)]
    assert [answer.status_code for answer in seen] == [200, 200, 200, 429]
    assert [answer.headers["x-mesh-quota-pct"] for answer in seen[:3]] == ["0%", "33%", "66%"]
    error = seen[3].json()["error"]
    assert error["type"] == "quota_exceeded"
    assert error["message"].startswith(f"Quota exceeded: user '{user}', tool 'quota-test' used 3/3 requests this month")
    assert int(seen[3].headers["retry-after"]) > 0
    metrics = limited.control("/metrics").decode()
    assert 'mesh_verdicts_total{action="refuse",mode="enforce",rule="user-calls",stage="quota"}' in metrics

    def told() -> bool:
        text = limited.control("/metrics").decode()
        return 'mesh_quota_fullest_ratio{limit="user-calls",unit="requests"} 1.0' in text

    wait_for(told, "how full the limits are")


@pytest.mark.slow
def test_a_call_gets_the_cap(limited: Mesh, provider: Provider, user: str) -> None:
    """A call that names no bound is given one, spliced into its bytes; one that does leaves as it came."""
    with limited.way("forward-h1").client(httpx, [], asynchronous=False) as http:
        raw = b'{ "model":"gpt-4o-mini",  "messages":[{"role":"user","content":"hi"}], "stream":true }'
        headers = {**HEADERS, "x-mesh-user": user}
        http.post("https://api.openai.com/v1/chat/completions", content=raw, headers=headers)
        sent = provider.call().body
        assert json.loads(sent)["max_completion_tokens"] == 8192
        assert sent.startswith(raw[:70])


@pytest.mark.slow
def test_a_changed_file_applies_and_keeps_the_counts(
    tmp_path: Path, names: dict[str, Provider], authority: Authority, provider: Provider, user: str
) -> None:
    """Within a second or so, without a restart; and the counts are on disk when the process is killed."""
    limits = "limits: [{{id: calls, unit: requests, limit: {}, per: month, user: each}}]\n"
    local = {"mesh.yaml": RAW_TEXT, "identities.yaml": TRUST, "quotas.yaml": limits.format(2)}
    mesh = Mesh(tmp_path / "mesh", resolve=names, trust=authority.ca, local=local).start()
    try:
        assert [post(mesh, user).status_code for _ in range(3)] == [200, 200, 429]
        mesh.overlay("quotas.yaml", limits.format(3))
        wait_for(lambda: "are in force" in mesh.log(), "the new rules")
        assert [post(mesh, user).status_code for _ in range(2)] == [200, 429]
        mesh.overlay("quotas.yaml", limits.format(-1))
        wait_for(lambda: "quotas.yaml:1: limits[0].limit" in mesh.log(), "the mistake is named")
        assert post(mesh, user).status_code == 429
        mesh.overlay("quotas.yaml", limits.format(4))
        mesh.kill9()
        mesh.start()
        assert [post(mesh, user).status_code for _ in range(2)] == [200, 429]
    finally:
        mesh.kill9()
