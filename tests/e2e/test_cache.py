"""The cache with real SDKs over real sockets: what is answered again, to whom, and in which form."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.certs import Authority
from e2e.conftest import reachable
from e2e.mesh import RAW_TEXT, ROOT, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.replies import COMPLETION, PROMPT, TEXT
from e2e.sdks import KEY, QUESTION, Kind, Way, ask
from e2e.test_live import Watching

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cached(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority
) -> Iterator[Mesh]:
    """One mitmesh with the cache on."""
    local = {"mesh.yaml": RAW_TEXT, "egress.yaml": reachable(names), "cache.yaml": "exact: true\n"}
    mesh = Mesh(tmp_path_factory.mktemp("cached"), resolve=names, trust=authority.ca, local=local).start()
    yield mesh
    mesh.stop()


@pytest.fixture
def way(cached: Mesh, request: pytest.FixtureRequest) -> Way:
    """A way through it on which nothing was asked yet: a header that nobody knows is part of what must be equal."""
    return replace(cached.way("forward-h1"), headers=(("x-test", request.node.name),))


@pytest.mark.parametrize("first", [False, True], ids=["json", "stream"])
def test_hit_in_the_form_asked_for(kind: Kind, way: Way, provider: Provider, cached: Mesh, first: bool) -> None:
    """The same call again is answered without the provider, as JSON or as a stream whatever the first was: the text
    and usage SDKs read are the first one's, and nothing was used."""
    miss = ask(kind, way, stream=first)
    assert miss.headers["x-mesh-cache"] == "miss"
    gate = replace(cached.way("gateway"), headers=way.headers)
    for stream, through in [(False, way), (True, way), (first, gate)]:
        hit = ask(kind, through, stream=stream)
        assert (hit.text, hit.prompt, hit.completion) == (TEXT, PROMPT, COMPLETION)
        told = {name: hit.headers.get(f"x-mesh-{name}") for name in ("cache", "tokens", "cost-usd", "origin")}
        assert told == {"cache": "exact", "tokens": "0", "cost-usd": "0.000000", "origin": "cache"}
    assert len(provider.calls) == 1


# --- whose answer, and to what ---

QUOTAS = "limits:\n- {id: calls, unit: requests, limit: 1000, per: total, user: each}\n" + (
    "- {id: tokens, unit: tokens, limit: 1000000, per: total, user: each}\n"
)
RULES = {
    "mesh.yaml": "audit:\n  content: redacted\n",
    "cache.yaml": "exact: true\n",
    "quotas.yaml": QUOTAS,
    "identities.yaml": "trust_headers_from: [127.0.0.1/32]\n",
}
CHAT = "https://api.openai.com/v1/chat/completions"


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority
) -> Iterator[Mesh]:
    """One mitmesh with the cache, redaction and quotas on."""
    mesh = Mesh(tmp_path_factory.mktemp("shared"), resolve=names, trust=authority.ca, local=RULES).start()
    yield mesh
    mesh.stop()


class Caller:
    """Asks for chat completions, in a conversation of a test's own (an unknown header is part of the key)."""

    def __init__(self, mesh: Mesh, name: str, key: str = KEY) -> None:
        self.mesh, self.name, self.key = mesh, name, key

    def ask(self, words: str = QUESTION, *, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": words}], **fields}
        given = {"authorization": f"Bearer {self.key}", "x-test": self.name, **(headers or {})}
        with self.mesh.way("forward-h1").client(httpx, [], asynchronous=False) as http:
            answer: httpx.Response = http.post(CHAT, json=body, headers=given)
            return answer

    def had(self, *words: Any, **more: Any) -> str:
        """What the cache had for it; the call was answered."""
        answer = self.ask(*words, **more)
        assert answer.status_code == 200, answer.text
        return str(answer.headers["x-mesh-cache"])


@pytest.fixture
def caller(shared: Mesh, request: pytest.FixtureRequest) -> Caller:
    return Caller(shared, request.node.name)


def content(answer: httpx.Response) -> str:
    """The text of a chat answer, JSON or stream."""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return str(answer.json()["choices"][0]["message"]["content"])
    docs = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    return "".join(doc["choices"][0]["delta"].get("content") or "" for doc in docs if doc["choices"])


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_each_has_their_own_restored(caller: Caller, provider: Provider, stream: bool) -> None:
    """Two people's calls that are equal after redaction are one to the provider; each reads their own address."""
    provider.script(Script(text="I wrote to <EMAIL_1>."))
    said = [content(caller.ask(f"Write to {name}@northwind-traders.com", stream=stream)) for name in ("ann", "bob")]
    assert said == [f"I wrote to {name}@northwind-traders.com." for name in ("ann", "bob")]
    assert len(provider.calls) == 1
    stored = b"".join(path.read_bytes() for path in caller.mesh.data.glob("cache.db*"))
    assert stored and b"northwind" not in stored and b"I wrote to" not in stored


def test_two_tenants_do_not_share(caller: Caller, provider: Provider) -> None:
    """Two credentials of nobody known are two; each shares with itself."""
    other = Caller(caller.mesh, caller.name, key=f"{KEY}-other")
    assert [each.had() for each in (caller, other, caller, other)] == ["miss", "miss", "exact", "exact"]


def test_another_question_is_a_miss(caller: Caller, provider: Provider) -> None:
    """Another system prompt, history, model, tools, temperature, beta header or polarity (semantic-router 3423,
    litellm 12234, 30339)."""
    user = {"role": "user", "content": "Delete the staging database"}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    asked: list[dict[str, Any]] = [
        {},
        {"messages": [{"role": "system", "content": "Be brief."}, user]},
        {"messages": [{"role": "system", "content": "Be long."}, user]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, user]},
        {"messages": [{**user, "content": "Do not delete the staging database"}]},
        {"model": "gpt-4o"},
        {"temperature": 0.5},
        {"nobody_has_heard_of": 1},
        {"headers": {"openai-beta": "x=1"}},
        {"tool_choice": "none", "tools": [tool]},
    ]
    first = [caller.had(user["content"], **each) for each in asked]
    assert first == ["miss"] * len(asked)
    again = [caller.had(user["content"], **each) for each in asked[:-1]]
    assert again == ["exact"] * (len(asked) - 1)
    assert caller.had(user["content"], user="ann", metadata={"a": "b"}) == "exact"


@pytest.mark.parametrize(
    "script",
    [
        Script(status=500, body=b'{"error": {"message": "no", "type": "server_error"}}'),
        Script(status=429, body=b'{"error": {"message": "no", "type": "rate_limit"}}'),
        Script(body=b'{"error": {"message": "no", "type": "server_error"}}'),
        Script(body=b'{"id": "1", "model": "m", "choices": [{"index": 0, "finish_reason": "length", "message": '
               b'{"role": "assistant", "content": "Par"}}]}'),
    ],
    ids=["500", "429", "error-as-200", "truncated"],
)  # fmt: skip
def test_errors_are_not_kept(caller: Caller, provider: Provider, script: Script) -> None:
    """An error is the next caller's no more than a truncated answer is (semantic-router 2130)."""
    provider.script(script)
    assert caller.ask().status_code == script.status
    answer = caller.ask()
    assert (answer.headers["x-mesh-cache"], content(answer)) == ("miss", TEXT)


def test_a_cut_stream_is_not_kept(caller: Caller, provider: Provider) -> None:
    """What broke off is no answer."""
    provider.script(Script(cut=3))
    with contextlib.suppress(httpx.HTTPError):
        caller.ask(stream=True)
    answer = caller.ask(stream=True)
    assert (answer.headers["x-mesh-cache"], content(answer)) == ("miss", TEXT)


def test_what_the_client_asks(caller: Caller, provider: Provider) -> None:
    """X-Mesh-Cache: off and Cache-Control are honoured, and the provider sees neither word of mitmesh's."""
    caller.had()
    assert caller.had(headers={"x-mesh-cache": "off"}) == "off"
    assert caller.had(headers={"cache-control": "no-store"}) == "off"
    assert caller.had(headers={"cache-control": "no-cache"}) == "miss"
    assert caller.had() == "exact"
    assert len(provider.calls) == 4
    assert not [name for call in provider.calls for name, _ in call.headers if name.lower().startswith("x-mesh-")]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_one_upstream_call(caller: Caller, provider: Provider, stream: bool) -> None:
    """Calls that are the same at the same time wait for one of them."""
    provider.script(Script(hold=1) if stream else Script(before=1.0))
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(caller.ask, stream=stream) for _ in range(8)]
        provider.call()
        time.sleep(0.5)
        provider.release()
        said = [call.result() for call in calls]
    assert [content(answer) for answer in said] == [TEXT] * 8
    assert sorted(answer.headers["x-mesh-cache"] for answer in said) == ["exact"] * 7 + ["miss"]
    assert len(provider.calls) == 1


def booked(caller: Caller, layer: str, row: Any, paid: Any, watching: Watching) -> Any:
    """What a hit of this layer has in the audit, by the call `paid` for; what its user's quotas count of both; and the
    event of it on /live."""
    told = {name: row[name] for name in ("cache", "cache_source", "cache_saved_microusd", "cost_microusd", "origin")}
    assert told == {
        "cache": layer, "cache_source": paid["id"], "cache_saved_microusd": paid["cost_microusd"],
        "cost_microusd": 0, "origin": "cache",
    }  # fmt: skip
    query = "select coalesce(sum(used), 0) used, coalesce(sum(reserved), 0) reserved from counts where key like ?"

    def count(limit: str) -> tuple[int, int]:
        (found,) = caller.mesh.rows(query, f"{limit}\x1f%user={paid['user']}%", database="quota")
        return found["used"], found["reserved"]

    wait_for(lambda: count("calls") == (1, 0), f"one call is counted, not {count('calls')}")
    wait_for(lambda: count("tokens") == (PROMPT + COMPLETION, 0), f"its tokens are counted, not {count('tokens')}")
    event = wait_for(
        lambda: next((data for name, data in watching.told if name == "cache_hit" and data["id"] == row["id"]), None),
        f"the event, in {[name for name, _ in watching.told]}",
    )
    assert event["layer"] == layer
    return event


def test_books(caller: Caller, provider: Provider) -> None:
    """A hit takes nothing of a quota, says in the audit and on /live whose answer it was, and what it saved."""
    watching = Watching(caller.mesh)
    user = {"x-mesh-user": "cache-books"}
    first, hit = caller.ask(headers=user), caller.ask(headers=user)
    paid, row = (caller.mesh.exchange(each.headers["x-mesh-id"]) for each in (first, hit))
    assert paid["cache"] == "miss" and paid["cost_microusd"] > 0
    assert row["cache_age_s"] >= 0 and not row["forwarded"] and not row["prompt_tokens"]
    event = booked(caller, "exact", row, paid, watching)
    assert event["layer"] == "exact" and event["saved_microusd"] == paid["cost_microusd"]
    why = command(caller.mesh, "why", row["id"])
    assert f"exact hit: the answer of {paid['id']}" in why
    metrics = caller.mesh.control("/metrics").decode()
    assert 'mesh_cache_hits_total{layer="exact"}' in metrics


def command(mesh: Mesh, name: str, *words: str) -> str:
    """What a script says of this mitmesh."""
    code = f"import sys; sys.path.insert(0, sys.argv.pop(1)); from mitmesh.launch.{name} import main; main()"
    environ = {**os.environ, "MITMESH_HOME": str(mesh.data)}
    arguments = [sys.executable, "-c", code, str(ROOT / "addons"), *words]
    return subprocess.run(arguments, env=environ, capture_output=True, text=True, check=True, timeout=60).stdout


def test_the_operator_forgets_a_person(caller: Caller, provider: Provider) -> None:
    """scripts/cache clears what a value was taken out of; the running process has it no more, in memory either."""
    words = "Write to zoe.lopez@northwind-traders.com"
    assert [caller.had(words), caller.had(words), caller.had("Hello")] == ["miss", "exact", "miss"]
    wait_for(lambda: "hit rate" in command(caller.mesh, "cache"), "the command answers")
    query = "select count(*) n from entries e join entry_values v on v.entry = e.id"
    wait_for(lambda: caller.mesh.rows(query, database="cache")[0]["n"], "it is written")
    assert "1 entry forgotten" in command(caller.mesh, "cache", "clear", "--person", "Zoe.Lopez@northwind-traders.com")
    wait_for(lambda: caller.had(words) == "miss", "it is forgotten")
    assert caller.had("Hello") == "exact"


def test_restart_and_two_workers(
    tmp_path: Path, names: dict[str, Provider], authority: Authority, provider: Provider
) -> None:
    """What one process kept, the next and the one beside it answer with."""
    one = Mesh(tmp_path / "one", resolve=names, trust=authority.ca, local=RULES).start()
    two = Mesh(tmp_path / "two", resolve=names, trust=authority.ca, local=RULES)
    two.data = one.data
    try:
        assert Caller(one, "x").had() == "miss"
        assert one.stop() == 0
        one.start()
        assert Caller(one, "x").had() == "exact"
        two.start()
        assert Caller(two, "x").had() == "exact"
        assert Caller(two, "x").had("Hello") == "miss"
        wait_for(lambda: one.rows("select 1 from entries", database="cache")[1:], "it is written")
        known = wait_for(lambda: one.health()["stages"]["cache"]["entries"] == 2, "the other knows of it")
        assert known and Caller(one, "x").had("Hello") == "exact"
        assert len(provider.calls) == 2
    finally:
        for mesh in (one, two):
            if mesh.process and mesh.process.poll() is None:
                mesh.stop()
