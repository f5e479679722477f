"""Quotas with real SDKs over real TLS: refusals that they understand, headers, and streams that end with the budget."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import Counter
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
from mitmesh import tokens
from mitmesh.launch.quota import settings
from mitmesh.quotas.in_redis import RedisLedger
from quotas.conftest import start_redis

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
    assert 500 < used <= 600
    row = limited.exchange(headers["x-mesh-id"])
    assert (row["outcome"], row["refused_rule"]) == ("refused", "user-tokens")
    assert row["prompt_tokens"] + row["completion_tokens"] == used


@pytest.mark.slow
@pytest.mark.parametrize("words", [" ".join([LONG] * 20), LONG.replace(" ", "_")], ids=["burst", "whole"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_burst_ends_too(kind: Kind, words: str, limited: Mesh, provider: Provider, user: str) -> None:
    """A stream that comes faster than the ledger is asked waits for it, and no more is delivered than there is; of one
    event that is too much nothing."""
    provider.script(Script(text=words))
    text, error, headers = read(kind, limited, "forward-h2", user, stream=True)
    assert error is not None and "the answer ends here" in str(error) and "limit user-tokens" in str(error)
    assert words.startswith(text.strip()) and tokens.count(text) < 600
    assert (text == "") == ("_" in words)
    assert 0 < limited.exchange(headers["x-mesh-id"])["completion_tokens"] < 600 or not text


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_burst_that_fits_comes_whole(kind: Kind, limited: Mesh, provider: Provider, user: str) -> None:
    """It outran its first reservation of 60, and waited for more."""
    words = " ".join(["hello"] * 400)
    provider.script(Script(text=words))
    text, error, _ = read(kind, limited, "gateway", user, stream=True)
    assert error is None and text.strip().startswith(words)  # the Responses API says it again at the end


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
    who = TRUST + "networks: [{network: 127.0.0.1/32, team: red}]\n"
    local = {"mesh.yaml": RAW_TEXT, "identities.yaml": who, "quotas.yaml": limits.format(2)}
    flags = ["--set", "mesh_team_limits=red=1000000", "--set", "mesh_warn_at=50"]  # as scripts/run --team-limit
    mesh = Mesh(tmp_path / "mesh", resolve=names, trust=authority.ca, local=local, options=flags).start()
    try:
        assert [limit.id for limit in settings(mesh.data).limits] == ["team-limit:red", "calls"]
        assert [post(mesh, user).status_code for _ in range(3)] == [200, 200, 429]
        count = "select 1 from counts where key like 'team-limit:red%'"
        wait_for(lambda: mesh.rows(count, database="quota"), "a count of the flag's limit")
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


@pytest.mark.slow
def test_who_leaves_pays_for_what_came(limited: Mesh, provider: Provider, user: str) -> None:
    """A client that hangs up in the middle of a stream has used what was delivered, and no more."""
    provider.script(Script(hold=20, text=" ".join(f"word{number}" for number in range(40))))
    url, headers = "https://api.openai.com/v1/chat/completions", {**HEADERS, "x-mesh-user": user}
    with (
        limited.way("forward-h2").client(httpx, [], asynchronous=False) as http,
        http.stream("POST", url, json={**BODY, "stream": True, "max_tokens": 200}, headers=headers) as answer,
    ):
        lines = answer.iter_lines()
        for _ in range(10):
            next(lines)
        assert counts(limited, user)[1] > 0, "held while it runs"
    provider.release()
    used = settled(limited, user)
    row = limited.exchange(answer.headers["x-mesh-id"])
    assert row["outcome"] == "client_gone" and used == row["prompt_tokens"] + row["completion_tokens"]
    assert 20 < used < 120


@pytest.mark.slow
def test_what_is_done_later_is_paid_for(limited: Mesh, provider: Provider, user: str) -> None:
    """A background answer takes its bound, until it is fetched; a batch that is too large is not sent."""

    def send(path: str, body: dict[str, Any] | None, answer: dict[str, Any]) -> int:
        provider.clear()
        provider.script(Script(body=json.dumps(answer).encode(), content_type="application/json"))
        with limited.way("gateway").client(httpx, [], asynchronous=False) as http:
            url, headers = f"{limited.gateway}{path}", {**HEADERS, "x-mesh-user": user}
            return http.request("POST" if body else "GET", url, json=body, headers=headers).status_code

    params = {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}
    batch = {"requests": [{"custom_id": f"{each}", "params": params} for each in range(9)]}
    assert send("/v1/messages/batches", batch, {"id": "b"}) == 402, "nothing resets"
    queued = {"id": f"resp_{user}", "object": "response", "status": "queued", "output": [], "usage": None}
    asked = {"model": "gpt-4o-mini", "input": "hi", "background": True, "max_output_tokens": 400}
    assert send("/v1/responses", asked, queued) == 200
    assert 400 < settled(limited, user) < 420
    usage = {"input_tokens": 10, "output_tokens": 60, "total_tokens": 70}
    said = {**queued, "status": "completed", "model": "gpt-4o-mini", "usage": usage}
    assert send(f"/v1/responses/resp_{user}", None, said) == 200
    wait_for(lambda: counts(limited, user) == (70, 0), "its usage takes the bound's place")


FLEET = """
redis: env:MESH_TEST_REDIS
lease_seconds: 5
limits:
- {id: burst, unit: requests, limit: 50, per: month, user: each, tool: burst}
- {id: tokens, unit: tokens, limit: 100000, per: total, user: each, tool: held}
"""


async def _posts(mesh: Mesh, count: int, **headers: str) -> list[int]:
    async with mesh.way("gateway").client(httpx, [], asynchronous=True) as http:
        url = f"{mesh.gateway}/v1/chat/completions"
        calls = [http.post(url, json=BODY, headers={**HEADERS, **headers}) for _ in range(count)]
        return [answer.status_code for answer in await asyncio.gather(*calls)]


@pytest.mark.slow
async def test_two_machines_share_a_limit(
    tmp_path: Path, names: dict[str, Provider], authority: Authority, provider: Provider, user: str
) -> None:
    """200 calls at once through two processes: exactly the 50 that fit. What a killed one held is settled in time."""
    server, url = start_redis(tmp_path)
    local = {"mesh.yaml": RAW_TEXT, "identities.yaml": TRUST, "quotas.yaml": FLEET}
    shared: dict[str, Any] = {"resolve": names, "trust": authority.ca, "local": local}
    meshes = [Mesh(tmp_path / name, environ={"MESH_TEST_REDIS": url}, **shared).start() for name in "ab"]
    ledger = RedisLedger(url)
    try:
        who = {"x-mesh-user": user, "x-mesh-tool": "burst"}
        halves = await asyncio.gather(*(_posts(mesh, 100, **who) for mesh in meshes))
        assert Counter([*halves[0], *halves[1]]) == {200: 50, 429: 150}
        provider.script(*(Script(hold=0) for _ in range(3)))
        held = asyncio.create_task(_posts(meshes[0], 3, **{"x-mesh-user": user, "x-mesh-tool": "held"}))
        await asyncio.to_thread(wait_for, lambda: provider.running >= 3, "three calls at the provider")
        prompt, bound = next((c.used, c.reserved) for c in await ledger.counts() if c.key.limit == "tokens")
        assert prompt == 0 and bound > 3 * 9
        meshes[0].kill9()
        with pytest.raises(httpx.HTTPError):
            await held
        await asyncio.sleep(7)
        left = [(c.used, c.reserved) for c in await ledger.counts() if c.key.limit == "tokens"]
        assert left == [(bound - 3 * 9, 0)], "the prompts are spent, the outputs free"
    finally:
        provider.release()
        for mesh in meshes:
            mesh.kill9()
        await ledger.close()
        server.kill()
        server.wait()


@pytest.mark.slow
def test_redis_away(tmp_path: Path, names: dict[str, Provider], authority: Authority, user: str) -> None:
    """Refused with 503 where nobody can count, and /health says why; limits on others are no matter."""
    local = {"mesh.yaml": RAW_TEXT, "identities.yaml": TRUST, "quotas.yaml": FLEET}
    mesh = Mesh(
        tmp_path / "mesh",
        resolve=names,
        trust=authority.ca,
        local=local,
        environ={"MESH_TEST_REDIS": f"unix://{tmp_path}/nobody.sock"},
    )
    mesh.launch()
    try:
        wait_for(lambda: (mesh.data / "run.json").exists(), "it runs", 40)
        mesh.run = json.loads((mesh.data / "run.json").read_text())
        headers = {**HEADERS, "x-mesh-user": user, "x-mesh-tool": "burst"}
        with mesh.way("gateway").client(httpx, [], asynchronous=False) as http:
            answer = http.post(f"{mesh.gateway}/v1/chat/completions", json=BODY, headers=headers)
            other = http.post(f"{mesh.gateway}/v1/chat/completions", json=BODY, headers={**headers, "x-mesh-tool": "x"})
        assert (answer.status_code, other.status_code) == (503, 200)
        assert answer.json()["error"]["type"] == "quota_unavailable"
        with pytest.raises(OSError, match="503"):
            mesh.health()
        mesh.overlay("quotas.yaml", FLEET.replace("redis: env:MESH_TEST_REDIS\n", ""))
        wait_for(lambda: "are in force" in mesh.log(), "the ledger of this machine")
        assert [post(mesh, user).status_code for _ in range(2)] == [200, 200]
    finally:
        mesh.kill9()
