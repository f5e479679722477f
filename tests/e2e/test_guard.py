"""What a failing stage does to a call: every stage and every hook, at the socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.certs import Authority
from e2e.conftest import MakeMesh, reachable
from e2e.faulty import SECRET
from e2e.mesh import Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.sdks import KEY

CLOSED = ["scope", "identity", "policy", "guard", "redact", "quota", "commit"]
OPEN = ["cache", "route", "meter", "metrics"]
CUTTING = ["guard", "quota"]
PASSING = ["scope", "identity", "policy", "redact", "cache", "route", "commit", "meter", "metrics"]
FAULTY = ("../tests/e2e/faulty", "stack")
RULES = "audit: {content: full, text: raw}\nlimits: {stage_seconds: 1}\n"
CHAT = ("https://api.openai.com", "/v1/chat/completions")
BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
MESSAGE: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": BODY["messages"]}


@pytest.fixture(scope="module")
def faulty(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority
) -> Iterator[Mesh]:
    """A mitmesh whose stages fail as each call asks."""
    folder = tmp_path_factory.mktemp("faulty")
    failing = [f"{stage}:connection:api.groq.com" for stage in (*CLOSED, *OPEN) if stage != "commit"]
    mesh = Mesh(
        folder,
        resolve=names,
        trust=authority.ca,
        local={"mesh.yaml": RULES, "egress.yaml": reachable(names)},
        scripts=FAULTY,
        environ={
            "MESH_TEST_FAULTS": ",".join([*failing, "commit:connection:api.anthropic.com"]),
            "MESH_TEST_GATE": str(folder / "gate"),
        },
    ).start()
    yield mesh
    mesh.stop()


def call(mesh: Mesh, fault: str, *, way: str = "forward-h1", stream: bool = False, url: str = "") -> httpx.Response:
    """One chat call with this fault; its whole answer."""
    way_ = mesh.way(way)
    headers = {"authorization": f"Bearer {KEY}", "x-api-key": KEY, "x-fault": fault}
    path = url or (way_.base or CHAT[0]) + CHAT[1]
    body = {**BODY, "stream": stream} if "messages" not in path else {**MESSAGE, "stream": stream}
    with way_.client(httpx, [], asynchronous=False) as client:
        answer: httpx.Response = client.post(path, json=body, headers=headers)
    return answer


def failures(mesh: Mesh, stage: str) -> float:
    """mesh_stage_failures_total of a stage."""
    for line in mesh.control("/metrics").decode().splitlines():
        if line.startswith(f'mesh_stage_failures_total{{stage="{stage}"}}'):
            return float(line.split()[-1])
    return 0


def nothing_told(mesh: Mesh, *answers: httpx.Response) -> None:
    """No exception's text is in an answer or in the log."""
    for answer in answers:
        assert SECRET not in answer.text
        assert SECRET not in str(answer.headers)
    assert SECRET not in mesh.log()
    assert "Traceback" not in mesh.log()


# --- before anything is sent ---


@pytest.mark.parametrize("how", ["raise", "cancel"])
@pytest.mark.parametrize("stage", CLOSED)
def test_refuses(stage: str, how: str, faulty: Mesh, provider: Provider) -> None:
    """A stage on which a call's safety depends refuses it in the call's own dialect, and nothing leaves."""
    before = failures(faulty, stage)
    answer = call(faulty, f"{stage}:request:{how}")
    assert (answer.status_code, answer.headers["x-mesh-origin"]) == (503, "proxy")
    assert answer.headers["x-mesh-rule"] == f"{stage}.failed"
    assert stage in answer.json()["error"]["message"]
    assert provider.calls == []
    row = faulty.exchange(answer.headers["x-mesh-id"])
    assert (row["outcome"], row["status"], row["forwarded"]) == ("refused", 503, 0)
    assert (row["refused_by"], row["refused_rule"]) == (stage, f"{stage}.failed")
    assert failures(faulty, stage) == before + 1
    nothing_told(faulty, answer)


@pytest.mark.parametrize("stage", CLOSED)
@pytest.mark.slow
def test_refuses_what_takes_too_long(stage: str, faulty: Mesh, provider: Provider) -> None:
    """A stage that does not end in its time has failed."""
    answer = call(faulty, f"{stage}:request:hang")
    assert answer.status_code == 503
    assert "took too long" in answer.json()["error"]["message"]
    assert provider.calls == []
    assert faulty.exchange(answer.headers["x-mesh-id"])["refused_by"] == stage


def test_a_time_limit(faulty: Mesh, provider: Provider) -> None:
    """So it is with one of them (the slow tests have all)."""
    test_refuses_what_takes_too_long("redact", faulty, provider)


@pytest.mark.parametrize("how", ["raise", "cancel"])
@pytest.mark.parametrize("stage", OPEN)
def test_goes_on(stage: str, how: str, faulty: Mesh, provider: Provider) -> None:
    """A failure of a stage that only helps is counted and logged, and the call goes on."""
    before = failures(faulty, stage)
    answer = call(faulty, f"{stage}:request:{how}")
    assert (answer.status_code, answer.headers["x-mesh-origin"]) == (200, "provider")
    assert len(provider.calls) == 1
    assert faulty.exchange(answer.headers["x-mesh-id"])["outcome"] == "answered"
    assert failures(faulty, stage) == before + 1
    assert f"stage {stage} failed in request" in faulty.log()
    nothing_told(faulty, answer)


def test_route_at_the_gateway(faulty: Mesh, provider: Provider) -> None:
    """Where a call has nowhere to go without its route, a failing route refuses it."""
    answer = call(faulty, "route:request:raise", way="gateway")
    assert (answer.status_code, answer.headers["x-mesh-origin"]) == (404, "proxy")
    assert provider.calls == []


@pytest.mark.parametrize("way", ["forward-h2", "gateway"])
def test_dialects(way: str, faulty: Mesh, provider: Provider) -> None:
    """The refusal has the shape of whichever API was called, whichever way it came."""
    base = faulty.way(way).base or "https://api.anthropic.com"
    answer = call(faulty, "guard:request:raise", way=way, url=f"{base}/v1/messages")
    assert (answer.status_code, answer.json()["type"]) == (503, "error")
    assert set(answer.json()["error"]) >= {"type", "message"}


# --- while the answer returns ---


@pytest.mark.parametrize("way", ["forward-h1", "forward-h2", "gateway"])
@pytest.mark.parametrize("hook", ["response_start", "response"])
@pytest.mark.parametrize("stage", CUTTING)
def test_withholds_an_answer(stage: str, hook: str, way: str, faulty: Mesh, provider: Provider) -> None:
    """An answer that the output guard or the quota could not judge is withheld."""
    answer = call(faulty, f"{stage}:{hook}:raise", way=way)
    assert (answer.status_code, answer.headers["x-mesh-origin"]) == (503, "proxy")
    assert stage in answer.json()["error"]["message"]
    row = faulty.exchange(answer.headers["x-mesh-id"])
    assert (row["outcome"], row["refused_by"], row["forwarded"]) == ("refused", stage, 1)
    nothing_told(faulty, answer)


@pytest.mark.parametrize("way", ["forward-h1", "forward-h2", "gateway"])
@pytest.mark.parametrize("hook", ["response_start", "stream"])
@pytest.mark.parametrize("stage", CUTTING)
def test_withholds_a_stream(stage: str, hook: str, way: str, faulty: Mesh, provider: Provider) -> None:
    """A stream that has not begun becomes a refusal, and the client's connection stays in step."""
    answer = call(faulty, f"{stage}:{hook}:raise", way=way, stream=True)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/json")
    assert stage in answer.json()["error"]["message"]
    row = faulty.exchange(answer.headers["x-mesh-id"])
    assert (row["outcome"], row["refused_by"]) == ("refused", stage)


@pytest.mark.parametrize("how", ["raise", "cancel"])
@pytest.mark.parametrize("way", ["forward-h1", "forward-h2", "gateway"])
@pytest.mark.parametrize("stage", CUTTING)
def test_ends_a_stream(stage: str, way: str, how: str, faulty: Mesh, provider: Provider) -> None:
    """A stream that has begun ends with the dialect's error event, and the provider is cut off."""
    provider.script(_endless())
    answer = call(faulty, f"{stage}:event:{how}", way=way, stream=True)
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert stage in events[-1]["error"]["message"]
    assert len(events) == 3
    assert provider.ended() == "client_gone"
    row = faulty.exchange(answer.headers["x-mesh-id"])
    assert (row["outcome"], row["refused_by"], row["status"], row["estimated"]) == ("refused", stage, 200, 1)
    nothing_told(faulty, answer)


@pytest.mark.parametrize("hook", ["end", "response"])
@pytest.mark.parametrize("stage", CUTTING)
def test_ends_a_stream_at_its_end(stage: str, hook: str, faulty: Mesh, provider: Provider) -> None:
    """A failure at the very end is told too: the client must not take the answer for judged."""
    answer = call(faulty, f"{stage}:{hook}:raise", stream=True)
    assert f"The {stage} stage failed" in answer.text
    row = faulty.exchange(answer.headers["x-mesh-id"])
    assert (row["outcome"], row["refused_by"]) == ("refused", stage)


@pytest.mark.parametrize("hook", ["response_start", "response"])
@pytest.mark.parametrize("stage", PASSING)
def test_passes_an_answer(stage: str, hook: str, faulty: Mesh, provider: Provider) -> None:
    """No other stage's failure on an answer keeps it from the client."""
    before = failures(faulty, stage)
    answer = call(faulty, f"{stage}:{hook}:raise")
    assert (answer.status_code, answer.headers["x-mesh-origin"]) == (200, "provider")
    assert faulty.exchange(answer.headers["x-mesh-id"])["outcome"] == "answered"
    assert failures(faulty, stage) == before + 1
    nothing_told(faulty, answer)


@pytest.mark.parametrize("hook", ["response_start", "stream", "event", "end", "response"])
@pytest.mark.parametrize("stage", PASSING)
def test_passes_a_stream(stage: str, hook: str, faulty: Mesh, provider: Provider) -> None:
    """Nor on a stream: its events pass as they are, and the failure is told once, not at every event."""
    before = failures(faulty, stage)
    whole = call(faulty, "", stream=True)
    answer = call(faulty, f"{stage}:{hook}:raise", stream=True)
    lines = [line for line in answer.text.splitlines() if line]
    assert len(lines) >= len([line for line in whole.text.splitlines() if line])
    assert lines[-1] == "data: [DONE]"
    assert faulty.exchange(answer.headers["x-mesh-id"])["outcome"] == "answered"
    assert failures(faulty, stage) == before + 1
    nothing_told(faulty, answer)


@pytest.mark.parametrize("hook", ["finish", "needs_settling"])
@pytest.mark.parametrize("stage", [*CLOSED, *OPEN])
def test_finish(stage: str, hook: str, faulty: Mesh, provider: Provider) -> None:
    """A failure in finish() changes nothing for the client, and keeps no other stage from its own."""
    before = failures(faulty, stage)
    answer = call(faulty, f"{stage}:{hook}:raise")
    assert answer.status_code == 200
    wait_for(lambda: failures(faulty, stage) > before, "the failure is counted")
    if (stage, hook) != ("commit", "finish"):
        assert faulty.exchange(answer.headers["x-mesh-id"])["outcome"] == "answered"
    nothing_told(faulty, answer)


def test_connection(faulty: Mesh, provider1: Provider, provider: Provider) -> None:
    """A stage that fails on a connection keeps neither the call nor the other stages' record of it."""
    url = "https://api.groq.com/openai/v1/chat/completions"
    assert call(faulty, "", url=url).status_code == 200
    wait_for(lambda: faulty.rows("select * from connections where host = 'api.groq.com' and kind = 'decrypted'"))
    assert call(faulty, "", url="https://api.anthropic.com/v1/messages").status_code == 200
    wait_for(lambda: failures(faulty, "commit"), "the audit's own failure is counted")
    nothing_told(faulty)


# --- other settings ---


def test_open_if_asked(make_mesh: MakeMesh, provider: Provider) -> None:
    """`fail_mode: open` lets calls go on without a stage, and the start-up log says so loudly."""
    rules = RULES + "fail_mode: {guard: open, redact: open}\n"
    mesh = make_mesh(scripts=FAULTY, local={"mesh.yaml": rules}).start()
    answers = [call(mesh, f"guard:{hook}:raise") for hook in ("request", "response_start", "response")]
    answers.append(call(mesh, "guard:event:raise", stream=True))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert answers[-1].text.rstrip().endswith("data: [DONE]")
    assert call(mesh, "quota:request:raise").status_code == 503
    for stage in ("guard", "redact"):
        assert f"FAIL OPEN is set for stage {stage}" in mesh.log()
    nothing_told(mesh, *answers)
    mesh.overlay("mesh.yaml", RULES + "fail_mode: {quota: open}\n")
    wait_for(lambda: "FAIL OPEN is set for stage quota" in mesh.log(), "a reload says so too")
    assert call(mesh, "quota:request:raise").status_code == 200
    assert call(mesh, "guard:request:raise").status_code == 503

    version = mesh.health()["policy_version"]
    mesh.overlay("mesh.yaml", RULES + "mode: observe\n")
    wait_for(lambda: mesh.health()["policy_version"] != version, "a roll-out that only observes")
    assert call(mesh, "policy:request:raise").status_code == 503  # what a stage could not judge is refused all the same


def test_scope_fails(make_mesh: MakeMesh, provider: Provider, provider1: Provider) -> None:
    """When it cannot be told whether a host is an LLM's, the connection is closed."""
    mesh = make_mesh(scripts=FAULTY, environ={"MESH_TEST_FAULTS": "scope"}).start()
    with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as client:
        for url in ("https://api.openai.com/v1/models", "https://plain.example/", "http://plain.example/"):
            try:
                assert client.get(url).status_code >= 500
            except httpx.TransportError:
                pass
    assert (provider.calls, provider1.calls) == ([], [])
    nothing_told(mesh)


@pytest.mark.quick
def test_health_fails(make_mesh: MakeMesh, tmp_path: Path) -> None:
    """A stage that cannot say how it is makes the proxy not ready, and /health says which."""
    mesh = make_mesh(scripts=FAULTY, environ={"MESH_TEST_FAULTS": "metrics:health"})
    mesh.launch()
    wait_for(lambda: (mesh.data / "run.json").exists(), "it runs", 40)
    mesh.run = json.loads((mesh.data / "run.json").read_text())
    answer = httpx.get(f"http://{mesh.run['control']}/health", trust_env=False)
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    assert "metrics" in answer.json()["problems"][0]
    nothing_told(mesh, answer)


def _endless() -> Script:
    """A stream that goes on until somebody ends it."""
    piece = b'data: {"id":"a","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
    return Script(pieces=[piece] * 20, hold=12)


@pytest.mark.parametrize("kind", ["json", "stream", "refused"])
def test_the_answer_leaves_before_stages_are_told_of_its_end(kind: str, faulty: Mesh, provider: Provider) -> None:
    """What rows, metrics and events take, nobody waits for: here a stage ends only once the client has its answer."""
    gate, before = faulty.data.parent / "gate", failures(faulty, "metrics")
    gate.unlink(missing_ok=True)
    fault = "metrics:finish:wait"
    if kind == "refused":
        way = faulty.way("gateway")
        with way.client(httpx, [], asynchronous=False) as client:
            answer = client.post(f"{way.base}/nowhere", content=b"{}", headers={"x-fault": fault})
    else:
        answer = call(faulty, fault, way="gateway", stream=kind == "stream")
    gate.touch()
    row = wait_for(lambda: faulty.exchange(answer.headers["x-mesh-id"]), "the row")
    assert row["outcome"] == ("refused" if kind == "refused" else "answered")
    assert failures(faulty, "metrics") == before
