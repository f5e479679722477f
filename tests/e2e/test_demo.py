"""`mesh_demo`: every SDK gets an answer without a key, and nothing leaves."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest

from e2e.certs import Authority
from e2e.mesh import WAYS, Mesh
from e2e.provider import Provider
from e2e.sdks import CHAT, KINDS, QUESTION, Kind, Way, ask, ask_async, make_anthropic, make_gemini, make_openai


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority) -> Iterator[Mesh]:
    """One mitmesh in demo mode with the shipped rules."""
    folder = tmp_path_factory.mktemp("demo")
    mesh = Mesh(folder, resolve=names, trust=authority.ca, options=["--set", "mesh_demo=true"]).start()
    yield mesh
    mesh.stop()


@pytest.fixture(params=WAYS)
def demo_way(request: pytest.FixtureRequest, demo: Mesh) -> Way:
    """Each way through it."""
    return demo.way(request.param)


def check(mesh: Mesh, got: Any, kind: Kind, *, stream: bool) -> None:
    """The answer names the question, is the proxy's own, and is in the audit with its text."""
    assert "demo provider" in got.text and QUESTION in got.text
    assert got.prompt > 0 and got.completion > 20
    assert got.headers["x-mesh-origin"] == "proxy"
    row = mesh.exchange(got.id)
    assert (row["outcome"], row["origin"], row["route"]) == ("answered", "proxy", "demo")
    assert row["cost_microusd"] is None and row["notional_microusd"] > 0  # nobody pays, and the chart has something
    assert (row["billing"], row["model"], row["stream"]) == ("subscription", kind.model, int(stream))
    assert (row["prompt_tokens"], row["completion_tokens"]) == (got.prompt, got.completion)


def test_calls(kind: Kind, demo_way: Way, demo: Mesh) -> None:
    """Each SDK takes the demo's answer for its provider's own."""
    check(demo, ask(kind, demo_way), kind, stream=False)


async def test_streams(demo_way: Way, demo: Mesh) -> None:
    """So they do a stream; all at once, for words take their time."""
    streams = await asyncio.gather(*(ask_async(kind, demo_way, stream=True) for kind in KINDS))
    for kind, got in zip(KINDS, streams, strict=True):
        check(demo, got, kind, stream=True)


def test_tools_are_not_called(kind: Kind, demo: Mesh) -> None:
    """Where tools are offered the demo answers with words."""
    got = ask(kind, demo.way("gateway"), tools=True)
    assert got.tool is None and "demo provider" in got.text


def test_word_by_word(demo_way: Way) -> None:
    """A stream arrives word by word and not at once."""
    times: list[float] = []
    with demo_way.client(CHAT.library, [], asynchronous=False) as http:
        for _ in CHAT.call(CHAT.make(demo_way, http, False), True, False):
            times.append(time.monotonic())
    assert len(times) > 20
    assert times[-1] - times[0] > 0.5
    late = sum(after - before > 0.005 for before, after in itertools.pairwise(times))
    assert late >= 4  # a busy machine hands over several words at once; one lump would be 0


def test_no_key_is_needed(demo: Mesh) -> None:
    """A call without any credential is answered; with one, the demo drops it."""
    body = {"model": "x", "messages": [{"role": "user", "content": "hi"}]}
    for headers in ({}, {"authorization": "Bearer nonsense"}):
        answer = httpx.post(f"{demo.gateway}/v1/chat/completions", json=body, headers=headers, trust_env=False)
        assert answer.status_code == 200
        assert demo.exchange(answer.headers["x-mesh-id"])["status"] == 200


def test_openai_others(demo_way: Way, demo: Mesh) -> None:
    """OpenAI's models and embeddings have their shapes."""
    with demo_way.client(httpx2, [], asynchronous=False) as http:
        client = make_openai(demo_way, http, False)
        assert [model.id for model in client.models.list()] == ["mitmesh-demo"]
        assert client.models.retrieve("gpt-x").id == "gpt-x"
        one = client.embeddings.create(model="e", input="hello")
        two = client.embeddings.create(model="e", input=["hello", "there"])
        assert len(client.embeddings.create(model="e", input=[1, 2, 3]).data) == 1
    assert one.data[0].embedding == two.data[0].embedding != two.data[1].embedding
    assert (len(two.data), two.usage.prompt_tokens) == (2, 2)


def test_anthropic_others(demo_way: Way) -> None:
    """Anthropic's models and token counts have their shapes."""
    with demo_way.client(httpx2, [], asynchronous=False) as http:
        client = make_anthropic(demo_way, http, False)
        assert [model.id for model in client.models.list()] == ["mitmesh-demo"]
        messages: Any = [{"role": "user", "content": "one two three"}]
        assert client.messages.count_tokens(model="claude-haiku-4-5", messages=messages).input_tokens == 3


def test_google_others(demo_way: Way) -> None:
    """Google's models, token counts and embeddings have their shapes."""
    with demo_way.client(httpx, [], asynchronous=False) as http:
        client = make_gemini(demo_way, http, False)
        assert [model.name for model in client.models.list()] == ["models/mitmesh-demo"]
        assert client.models.count_tokens(model="gemini-2.5-flash", contents="one two three").total_tokens == 3
        vectors = client.models.embed_content(model="gemini-embedding-001", contents=["one", "two"]).embeddings
    assert len(vectors) == 2 and len(vectors[0].values) == 8


def test_refusals_hold(demo: Mesh) -> None:
    """The demo serves no call that the stages refuse."""
    answer = httpx.post(f"{demo.gateway}/v1/chat/completions", content=b"not JSON", trust_env=False)
    assert (answer.status_code, answer.headers["x-mesh-rule"]) == (400, "body.bad_json")
    assert httpx.post(f"{demo.gateway}/nowhere", json={}, trust_env=False).status_code == 404


def test_nothing_leaves(demo: Mesh, provider: Provider) -> None:
    """After all of it, no connection was made but to this machine's own loopback upstream."""
    with demo.way("forward-h2").client(httpx, [], asynchronous=False) as client:
        assert client.post("https://api.openai.com/v1/responses", json={"model": "x", "input": "hi"}).is_success
    made = set(re.findall(r"server connect (\S+)", demo.log()))
    assert made and all(place.startswith("127.0.0.1:") for place in made)
    assert provider.calls == []
    assert "Traceback" not in demo.log() and demo.health()["failures"] == {}
