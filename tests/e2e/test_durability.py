"""What the audit survives: `kill -9`, SIGTERM, a full disk; compared with what the provider itself has seen."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import MakeMesh
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.sdks import KEY

STRICT = RAW_TEXT + "  durability: strict\n"
LOSABLE = 2.0
"""Seconds of rows that async may lose to kill -9: the 0.2 it promises, and what a busy machine holds it up."""
URL = "/v1/chat/completions"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}


@dataclass
class Load:
    """Clients that call without pause, each call under its own session id."""

    url: str
    workers: int = 8
    answered: dict[str, float] = field(default_factory=dict)
    """When each call's answer was there, on the monotonic clock."""
    stopping: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        self.threads = [threading.Thread(target=self._work, args=(n,)) for n in range(self.workers)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)

    def before(self, seconds: float) -> set[str]:
        """The calls that were answered more than so many seconds ago."""
        moment = time.monotonic() - seconds
        return {name for name, when in list(self.answered.items()) if when < moment}

    def _work(self, worker: int) -> None:
        with httpx.Client(trust_env=False, timeout=20) as client, contextlib.suppress(httpx.HTTPError):
            for n in range(100_000):
                if self.stopping.is_set():
                    return
                name = f"load-{worker}-{n}"
                answer = client.post(self.url + URL, json=BODY, headers=own(name))
                if answer.status_code == 200:
                    self.answered[name] = time.monotonic()


def own(name: str) -> dict[str, str]:
    """Headers that name a call to the provider and, as the session that the client claims, in the audit."""
    return {"authorization": f"Bearer {KEY}", "session_id": name}


def reached(provider: Provider) -> set[str]:
    """The calls that the provider saw."""
    return {seen.header("session_id") or "" for seen in list(provider.calls)}


def kept(mesh: Mesh, where: str = "1") -> set[str]:
    """The calls that the audit has."""
    return {row["session"] for row in mesh.rows(f"select session from exchanges where {where}")}


def killed_under_load(mesh: Mesh, provider: Provider) -> set[str]:
    """Kill it while calls run and some wait; the calls answered so long before that none may be lost."""
    provider.clear()
    provider.script(*[Script(hang=True)] * 3)
    with Load(mesh.gateway) as load:
        wait_for(lambda: len(load.before(LOSABLE)) > 100, "calls under load")
        safe = load.before(LOSABLE)
        mesh.kill9()
    return safe


@pytest.mark.quick
def test_strict_survives_kill(make_mesh: MakeMesh, provider: Provider) -> None:
    """Strict: every call that the provider saw has a row after kill -9, and those cut off become interrupted."""
    mesh = make_mesh(local={"mesh.yaml": STRICT}).start()
    killed_under_load(mesh, provider)
    seen = reached(provider)
    assert len(seen) > 100
    assert seen - kept(mesh) == set()
    left = kept(mesh, "outcome is null")
    assert len(left) >= 3
    mesh.start()
    wait_for(lambda: not kept(mesh, "outcome is null"), "orphans are closed")
    assert left <= kept(mesh, "outcome = 'interrupted'")
    assert mesh.rows("pragma integrity_check") == [{"integrity_check": "ok"}]
    assert mesh.health()["stages"]["commit"]["interrupted"] == len(left)
    assert mesh.stop() == 0


@pytest.mark.slow
def test_async_loses_little_to_kill(make_mesh: MakeMesh, provider: Provider) -> None:
    """Async: of calls answered some time before kill -9 none is lost; the rest is there as a whole or not."""
    mesh = make_mesh().start()
    safe = killed_under_load(mesh, provider)
    assert len(safe) > 100
    assert safe - kept(mesh) == set()
    mesh.start()
    assert mesh.rows("select 1 from exchanges where outcome is null") == []
    assert mesh.rows("pragma integrity_check") == [{"integrity_check": "ok"}]
    assert mesh.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["async", "strict"])
def test_nothing_is_lost_to_sigterm(durability: str, make_mesh: MakeMesh, provider: Provider) -> None:
    """A process told to stop under load has a finished row for every call that the provider saw, and its texts."""
    text = f"{RAW_TEXT}  durability: {durability}\n"
    mesh = make_mesh(local={"mesh.yaml": text}, options=["--set", "mesh_drain=1"]).start()
    provider.clear()
    provider.script(*[Script(hang=True)] * 2)
    with Load(mesh.gateway) as load:
        wait_for(lambda: len(load.answered) > 200, "calls under load")
        assert mesh.stop() == 0
    seen = reached(provider)
    assert seen - kept(mesh, "outcome is not null") == set()
    assert set(load.answered) <= kept(mesh, "outcome = 'answered'")
    texts = mesh.rows("select count(distinct exchange) as n from exchange_messages", database="content")
    assert texts[0]["n"] >= len(seen)


@pytest.mark.quick
def test_ndjson(make_mesh: MakeMesh, provider: Provider) -> None:
    """By option each exchange is also a line of JSON, in SemaMesh's field names."""
    mesh = make_mesh(local={"mesh.yaml": RAW_TEXT + "  ndjson: calls.ndjson\n"}).start()
    with httpx.Client(trust_env=False) as client:
        good = client.post(mesh.gateway + URL, json=BODY, headers=own("good"))
        bad = client.post(mesh.gateway + URL, content=b"{", headers=own("bad"))
    assert mesh.stop() == 0
    lines = {line["id"]: line for line in map(json.loads, (mesh.data / "calls.ndjson").read_text().splitlines())}
    line = lines[good.headers["x-mesh-id"]]
    assert (line["model"], line["prompt_text"]) == ("gpt-4o-mini", "hello")
    assert (line["status"], line["total_tokens"]) == (200, 34)
    assert "once upon a time" in line["completion_text"] and 0 < line["cost_usd"] < 0.01
    assert lines[bad.headers["x-mesh-id"]]["outcome"] == "refused"
    assert len(lines) == 2
    assert (mesh.data / "calls.ndjson").stat().st_mode & 0o077 == 0


# --- a full disk ---

SIZE = 3 * 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


def call_until(mesh: Mesh, name: str, done: Callable[[httpx.Response], bool]) -> int:
    """Call again and again until an answer is as wanted; how many calls it took."""
    with httpx.Client(trust_env=False, timeout=20) as client:
        for n in range(400):
            if done(client.post(mesh.gateway + URL, json=BODY, headers=own(f"{name}-{n}"))):
                return n + 1
            time.sleep(0.02)
    raise AssertionError(f"no answer of {name} was as wanted; the log:\n{mesh.log()}")


def health(mesh: Mesh) -> tuple[int, dict[str, Any]]:
    """Status and JSON of /health, ready or not."""
    answer = httpx.get(f"http://{mesh.run['control']}/health", trust_env=False)
    return answer.status_code, answer.json()


def with_data(mesh: Mesh, data: Path) -> Mesh:
    """The same mitmesh with its data on another disk."""
    mesh.data = data / "data"
    mesh.data.mkdir(mode=0o700)
    return mesh


@pytest.mark.quick
def test_full_disk_strict(make_mesh: MakeMesh, small_disk: Path, provider: Provider) -> None:
    """Strict: while no row can be written every call is refused with 503 and none leaves; with room again they pass."""
    mesh = with_data(make_mesh(local={"mesh.yaml": STRICT}), small_disk).start()
    call_until(mesh, "before", lambda answer: answer.status_code == 200)
    filler = fill(small_disk)
    call_until(mesh, "full", lambda answer: answer.status_code == 503)
    provider.clear()
    with httpx.Client(trust_env=False) as client:
        refused = client.post(mesh.gateway + URL, json=BODY, headers=own("refused"))
    assert (refused.status_code, refused.headers["x-mesh-rule"]) == (503, "audit")
    assert "audit cannot be written" in refused.json()["error"]["message"]
    assert provider.calls == []
    status, said = health(mesh)
    assert (status, said["status"]) == (503, "not ready")
    assert "full" in said["stages"]["commit"]["problem"]
    filler.unlink()
    call_until(mesh, "after", lambda answer: answer.status_code == 200)
    wait_for(lambda: health(mesh)[0] == 200, "ready again")
    assert reached(provider) <= kept(mesh)
    assert mesh.stop() == 0


def test_full_disk_async(make_mesh: MakeMesh, small_disk: Path, provider: Provider) -> None:
    """Async: calls go on, rows wait in a bounded queue, what it drops is counted, /health warns; all that waited is
    written once there is room."""
    limit = 100
    text = f"{RAW_TEXT}  queue_rows: {limit}\n"
    mesh = with_data(make_mesh(local={"mesh.yaml": text}), small_disk).start()
    call_until(mesh, "before", lambda answer: answer.status_code == 200)
    filler = fill(small_disk)
    call_until(mesh, "full", lambda _: "warning" in health(mesh)[1]["stages"]["commit"])
    with httpx.Client(trust_env=False, timeout=20) as client:
        for n in range(limit + 50):
            assert client.post(mesh.gateway + URL, json=BODY, headers=own(f"waiting-{n}")).status_code == 200
    status, said = health(mesh)
    commit = said["stages"]["commit"]
    assert status == 200 and "full" in commit["warning"]
    assert commit["queued"] <= limit and commit["dropped"] > 0
    assert "cannot be written" in mesh.log()
    filler.unlink()
    wait_for(lambda: health(mesh)[1]["stages"]["commit"]["queued"] == 0, "the queue is written")
    assert "warning" not in health(mesh)[1]["stages"]["commit"]
    waiting = [name for name in kept(mesh, "outcome = 'answered'") if name.startswith("waiting")]
    assert len(waiting) >= limit // 2
    call_until(mesh, "after", lambda answer: answer.status_code == 200)
    assert mesh.stop() == 0
    assert any(name.startswith("after") for name in kept(mesh, "outcome = 'answered'"))
