"""The semantic layer with real SDKs over real sockets: paraphrases are answered, what only looks like one is not."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2e.certs import Authority
from e2e.mesh import ROOT, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.replies import COMPLETION, PROMPT, TEXT
from e2e.sdks import KEY, Kind, Way, ask
from e2e.test_cache import RULES, Caller, booked, command, content
from e2e.test_live import Watching

pytestmark = pytest.mark.slow

ASKED, SAME = "How do I reset my password?", "How can I reset my password?"
SEMANTIC = "exact: true\nsemantic:\n  enabled: true\n  seconds: 5\n"
LOCAL = {**RULES, "cache.yaml": SEMANTIC}


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority
) -> Iterator[Mesh]:
    """One mitmesh with the semantic layer, redaction and quotas on."""
    mesh = Mesh(tmp_path_factory.mktemp("semantic"), resolve=names, trust=authority.ca, local=LOCAL).start()
    yield mesh
    mesh.stop()


@pytest.fixture
def caller(shared: Mesh, request: pytest.FixtureRequest) -> Caller:
    return Caller(shared, request.node.name)


@pytest.fixture
def way(shared: Mesh, request: pytest.FixtureRequest) -> Way:
    return replace(shared.way("forward-h1"), headers=(("x-test", request.node.name),))


def learned(mesh: Mesh, id: str) -> None:
    """Wait until the answer to a call can be found by meaning."""
    query = "select count(*) n, coalesce(max(exchange = ?), 0) here from entries where vector is not null"

    def known() -> bool:
        (row,) = mesh.rows(query, id, database="cache")
        return bool(row["here"]) and mesh.health()["stages"]["cache"]["vectors"] == row["n"]

    wait_for(known, f"{id} is learned; {mesh.health()['stages']['cache']}")


def keep(caller: Caller, words: str = ASKED, **more: Any) -> str:
    """A question that the provider answers, and that is found from now on; its exchange."""
    answer = caller.ask(words, **more)
    assert (answer.status_code, answer.headers["x-mesh-cache"]) == (200, "miss")
    learned(caller.mesh, answer.headers["x-mesh-id"])
    return str(answer.headers["x-mesh-id"])


@pytest.mark.parametrize("first", [False, True], ids=["json", "stream"])
def test_a_paraphrase_by_each_sdk(
    kind: Kind, way: Way, provider: Provider, shared: Mesh, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered without the provider in the form asked for, as JSON or as a stream; the SDK reads the first
    one's text and usage, the headers say that nothing was used."""
    if kind.operation == "embeddings":
        pytest.skip("embeddings are exact only")
    monkeypatch.setattr("e2e.sdks.QUESTION", ASKED)
    learned(shared, ask(kind, way, stream=first).id)
    monkeypatch.setattr("e2e.sdks.QUESTION", SAME)
    for stream in (False, True):
        hit = ask(kind, way, stream=stream)
        assert (hit.text, hit.prompt, hit.completion) == (TEXT, PROMPT, COMPLETION)
        told = {name: hit.headers.get(f"x-mesh-{name}") for name in ("cache", "tokens", "cost-usd", "origin")}
        assert told == {"cache": "semantic", "tokens": "0", "cost-usd": "0.000000", "origin": "cache"}
    assert len(provider.calls) == 1


def test_what_is_no_paraphrase(caller: Caller, provider: Provider) -> None:
    """Negation, numbers, direction; another system prompt, history, model, or tenant."""
    user = {"role": "user", "content": SAME}
    for words in (ASKED, "Delete the staging database", "List the 10 largest cities", "Convert the file from A to B"):
        keep(caller, words)
    for words in ("Do not delete the staging database", "List the 20 largest cities", "Convert the file from B to A"):
        assert caller.had(words) == "miss"
    others: list[dict[str, Any]] = [
        {"messages": [{"role": "system", "content": "Be brief."}, user]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, user]},
        {"model": "gpt-4o"},
        {"headers": {"openai-beta": "x=1"}},
    ]
    assert [caller.had(SAME, **other) for other in others] == ["miss"] * len(others)
    assert Caller(caller.mesh, caller.name, key=f"{KEY}-other").had(SAME) == "miss"
    assert caller.had(SAME) == "semantic"


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_values_behind_placeholders(caller: Caller, provider: Provider, stream: bool) -> None:
    """The same person: a hit, in which they read their address again; another: a miss."""
    provider.script(*[Script(text="Write to <EMAIL_1>.")] * 2)
    asked, same = ("How do I write to {} in our tool?", "How can I write to {} in our tool?")
    ann, bob = (f"{name}@northwind-traders.com" for name in ("ann", "bob"))
    keep(caller, asked.format(ann))
    hit = caller.ask(same.format(ann), stream=stream)
    assert (hit.headers["x-mesh-cache"], content(hit)) == ("semantic", f"Write to {ann}.")
    assert caller.had(same.format(bob)) == "miss"
    assert len(provider.calls) == 2


def test_books(caller: Caller, provider: Provider) -> None:
    """A hit takes nothing of a quota; audit, /live, metrics and scripts/why say how near and whose answer it was."""
    watching, user = Watching(caller.mesh), {"x-mesh-user": "semantic-books"}
    source = keep(caller, headers=user)
    hit = caller.ask(SAME, headers=user)
    paid, row = caller.mesh.exchange(source), caller.mesh.exchange(hit.headers["x-mesh-id"])
    assert 0.85 < row["cache_similarity"] < 1 and row["cache_age_s"] >= 0 and not row["forwarded"]
    assert paid["id"] == source
    event = booked(caller, "semantic", row, paid, watching)
    assert event["layer"] == "semantic" and event["similarity"] == pytest.approx(row["cache_similarity"])
    assert f"semantic hit, similarity {row['cache_similarity']:.3f}: the answer of {source}" in command(
        caller.mesh, "why", row["id"]
    )
    metrics = caller.mesh.control("/metrics").decode()
    assert 'mesh_cache_hits_total{layer="semantic"}' in metrics and "mesh_cache_semantic_up 1.0" in metrics
    unlike = caller.ask("How do I not reset my password?")
    assert "similar, but for: negation" in command(caller.mesh, "why", unlike.headers["x-mesh-id"])


def test_the_output_guard_judges_a_hit(
    tmp_path: Path, names: dict[str, Provider], authority: Authority, provider: Provider
) -> None:
    """What the provider said of others passes the guard as the provider's own would: masked."""
    local = {**LOCAL, "pii.yaml": "output:\n  action: mask\n  window: 60\n"}
    mesh = Mesh(tmp_path / "guarded", resolve=names, trust=authority.ca, local=local).start()
    try:
        caller = Caller(mesh, "x")
        provider.script(Script(text="Ask eve.stone@contoso-pharma.com."))
        keep(caller)
        (sealed,) = mesh.rows("select count(*) n from entries", database="cache")
        hit = caller.ask(SAME)
        assert sealed["n"] == 1 and hit.headers["x-mesh-cache"] == "semantic"
        assert "eve.stone" not in hit.text and content(hit).startswith("Ask ")
    finally:
        mesh.stop()


def test_restart_and_two_workers(
    tmp_path: Path, names: dict[str, Provider], authority: Authority, provider: Provider
) -> None:
    """What one process kept, the next and the one beside it find; what the operator clears, neither."""
    one = Mesh(tmp_path / "one", resolve=names, trust=authority.ca, local=LOCAL).start()
    two = Mesh(tmp_path / "two", resolve=names, trust=authority.ca, local=LOCAL)
    two.data = one.data
    try:
        first = keep(Caller(one, "x"))
        assert one.stop() == 0
        one.start()
        learned(one, first)
        assert Caller(one, "x").had(SAME) == "semantic"
        two.start()
        learned(two, first)
        assert Caller(two, "x").had(SAME) == "semantic"
        second = keep(Caller(two, "x"), "How do I change my address?")
        learned(one, second)
        assert Caller(one, "x").had("How can I change my address?") == "semantic"
        assert "2 entries forgotten" in command(one, "cache", "clear", "--all")
        for mesh in (one, two):
            wait_for(lambda: mesh.health()["stages"]["cache"]["vectors"] == 0, "it is forgotten")  # noqa: B023
        for mesh in (one, two):  # each miss is kept, so nobody asks before both have forgotten
            assert Caller(mesh, mesh.folder.name).had(SAME) == "miss"
    finally:
        for mesh in (one, two):
            if mesh.process and mesh.process.poll() is None:
                mesh.stop()


LIBRARY = """
import sys
import numpy as np, onnxruntime
from tokenizers import Tokenizer
class Tokens:
    def __init__(self, model): self.made = Tokenizer.from_file(model + "/tokenizer.json")
    def __call__(self, text): return {"input_ids": self.made.encode(text).ids}
class SentenceTransformer:
    max_seq_length = 256
    def __init__(self, model, device):
        self.tokenizer, self.session = Tokens(model), onnxruntime.InferenceSession(model + "/model.int8.onnx")
    def encode(self, text, show_progress_bar):
        ids = np.array([self.tokenizer(text)["input_ids"]], dtype=np.int64)
        return self.session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0]
"""


def test_another_model_that_dies_and_hangs(
    tmp_path: Path, names: dict[str, Provider], authority: Authority, provider: Provider
) -> None:
    """A model in its own process answers as the shipped one does (here it is the same weights behind the library's
    face). Killed, or stopped in its tracks: calls are misses after a bounded wait, /health says why, and it comes
    back."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "sentence_transformers.py").write_text(LIBRARY)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "library"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    model = ROOT / "addons" / "mitmesh" / "data" / "embedder"
    own = f"  model: {model}\n  python: {python}\n  least_similarity: 0.85\n"
    local = {**LOCAL, "cache.yaml": SEMANTIC.replace("seconds: 5", "seconds: 1") + own}
    mesh = Mesh(tmp_path / "mesh", resolve=names, trust=authority.ca, local=local).start()
    try:
        caller = Caller(mesh, "x")
        wait_for(lambda: mesh.health()["stages"]["cache"]["semantic_up"], "the model is loaded", 30)
        keep(caller)
        assert caller.had(SAME) == "semantic"

        os.kill(embedder(mesh, model), signal.SIGKILL)
        assert caller.had("Could I reset my password?") == "miss"
        said = mesh.health()
        assert "embedder" in said["stages"]["cache"]["warning"] and said["status"] == "ready"
        wait_for(lambda: mesh.health()["stages"]["cache"]["semantic_up"], "it runs again", 30)
        assert caller.had(SAME) == "semantic"

        os.kill(embedder(mesh, model), signal.SIGSTOP)
        began = time.monotonic()
        assert caller.had("Which planets are there?") == "miss"
        assert 1 <= time.monotonic() - began < 8
        began = time.monotonic()
        assert [caller.had(f"Which planet is number {n}?") for n in range(3)] == ["miss"] * 3
        assert time.monotonic() - began < 3, "nobody else waits"
        assert caller.had(ASKED) == "exact"
        failures = next(
            line for line in mesh.control("/metrics").decode().splitlines()
            if line.startswith("mesh_cache_semantic_failures_total")
        )  # fmt: skip
        assert float(failures.split()[1]) >= 5
    finally:
        mesh.stop()


def embedder(mesh: Mesh, model: Path) -> int:
    """The process id of its embedder."""
    assert mesh.process
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(parent) == mesh.process.pid and str(model).encode() in words:
                return int(entry.name)
    raise AssertionError("no embedder runs")
