"""Door files may be touched, broken, deleted, doubled and loaded in any order: never is a call ungoverned."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import MakeMesh
from e2e.mesh import ROOT, Mesh
from e2e.provider import Provider, wait_for
from e2e.sdks import KEY
from mitmesh.stage import ALWAYS, ORDER

BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
OPENAI = "https://api.openai.com/v1/chat/completions"


def door(folder: Path, name: str, text: str | None = None) -> Path:
    """A door file of a test's own; by default it says what the shipped one does."""
    shipped = ROOT / "addons" / f"{name}.py"
    text = text if text is not None else shipped.read_text()
    path = folder / f"{name}.py"
    path.write_text(f"import sys\nsys.path.insert(0, {str(ROOT / 'addons')!r})\n" + text)
    return path


def stages(mesh: Mesh) -> list[str]:
    """Which stages run, in their order."""
    return list(mesh.health()["stages"])


class Traffic:
    """Calls, one after the other, from several threads, until told to stop; what became of each by its traceparent."""

    def __init__(self, ask: Callable[[str], httpx.Response | None], threads: int = 2) -> None:
        self._ask, self._stop = ask, threading.Event()
        self.answers: dict[str, httpx.Response | None] = {}
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def more(self, count: int = 4) -> None:
        """Wait for so many further answers."""
        before = len(self.answers)
        wait_for(lambda: len(self.answers) >= before + count, "traffic flows")

    def _run(self) -> None:
        while not self._stop.is_set():
            trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
            self.answers[trace] = self._ask(trace)


def through(mesh: Mesh, way: str = "forward-h1") -> Callable[[str], httpx.Response | None]:
    """Asks through this mitmesh, a connection for each call."""

    def ask(trace: str) -> httpx.Response | None:
        where = mesh.way(way)
        with where.client(httpx, [], asynchronous=False) as client:
            url = OPENAI if where.base is None else f"{where.base}/v1/chat/completions"
            answer: httpx.Response = client.post(
                url, json=BODY, headers={"authorization": f"Bearer {KEY}", "traceparent": trace}
            )
        return answer

    return ask


def governed(mesh: Mesh, provider: Provider) -> None:
    """Fails unless the audit has a row of every call that the provider saw."""
    seen = {call.header("traceparent") for call in provider.calls}
    query = "select traceparent from exchanges where forwarded = 1"
    wait_for(lambda: seen <= {row["traceparent"] for row in mesh.rows(query)}, "a row of every call that left")


@pytest.mark.quick
def test_doors_change_while_traffic_flows(make_mesh: MakeMesh, tmp_path: Path, provider: Provider) -> None:
    """A door that is touched, broken, mended, emptied or deleted takes nothing away, for no call."""
    path = door(tmp_path, "stack")
    whole = path.read_text()
    mesh = make_mesh(scripts=(str(path.with_suffix("")),)).start()
    before = stages(mesh)

    def loads() -> int:
        return mesh.log().count(f"Loading script {path}")

    with Traffic(through(mesh)) as traffic:
        for number, text in enumerate((whole, "def (\n", "import nothing_of_this_name\n", "", whole), start=2):
            path.write_text(text)
            stamp = time.time() + 5 * number
            os.utime(path, (stamp, stamp))
            wait_for(lambda n=number: loads() == n, "the door is loaded again")  # type: ignore[misc]
            traffic.more()
        path.unlink()
        wait_for(lambda: f"Removing script {path}" in mesh.log(), "the door is gone")
        traffic.more()
    answers = traffic.answers.values()
    assert {answer.headers["x-mesh-origin"] for answer in answers if answer is not None} == {"provider"}
    assert None not in answers
    assert len(provider.calls) == len(answers)
    assert stages(mesh) == before
    governed(mesh, provider)


@pytest.mark.parametrize(
    ("doors", "missing"),
    [
        (("audit", "metrics"), ("route", "meter")),
        (("metrics", "audit"), ("route", "meter")),
        (("meter", "metrics", "route", "audit"), ()),
        (("scope",), ("route", "commit", "meter", "metrics")),
        (("stack", "audit"), ()),
    ],
    ids=lambda names: "-".join(names) or "all",
)
def test_subsets(doors: tuple[str, ...], missing: tuple[str, ...], make_mesh: MakeMesh, provider: Provider) -> None:
    """Any doors in any order are these stages, and those that always run, in the engine's order."""
    mesh = make_mesh(scripts=doors).start()
    loaded = stages(mesh)
    assert loaded == [name for name in ORDER if name in loaded]
    assert set(ALWAYS) <= set(loaded)
    assert not set(missing) & set(loaded)
    if "audit" in doors or "stack" in doors:
        assert "commit" in loaded
        answer = through(mesh)("00-" + "1" * 32 + "-" + "2" * 16 + "-01")
        assert answer is not None
        assert mesh.exchange(answer.headers["x-mesh-id"])["outcome"] == "answered"
        governed(mesh, provider)
    if "metrics" in loaded:
        assert b"mesh_open_exchanges" in mesh.control("/metrics")
    if "route" in missing:
        assert mesh.run["gateway"] == "none"  # nobody could say where a call goes


def test_one_stage_from_two_files(make_mesh: MakeMesh, tmp_path: Path, provider: Provider) -> None:
    """Two files may open the same door; the stage runs once."""
    again = door(tmp_path, "again", 'from mitmesh.engine import door\naddons = door("commit")\n')
    mesh = make_mesh(scripts=("audit", str(again.with_suffix("")))).start()
    assert stages(mesh) == ["scope", "identity", "commit"]
    answer = through(mesh)("00-" + "4" * 32 + "-" + "4" * 16 + "-01")
    assert answer is not None
    assert mesh.exchange(answer.headers["x-mesh-id"])["outcome"] == "answered"


def ends(mesh: Mesh) -> str:
    """Start it; it must end by itself, not with 0, and never be ready. Its log."""
    assert mesh.launch().wait(40) != 0
    assert "is ready" not in mesh.log()
    return mesh.log()


def test_the_same_file_twice(make_mesh: MakeMesh) -> None:
    """mitmproxy takes each file once."""
    assert "Duplicate script" in ends(make_mesh(scripts=("audit", "audit")))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def (\n", "SyntaxError"),
        ("import nothing_of_this_name\n", "nothing_of_this_name"),
        ('from mitmesh.engine import door\naddons = door("redactt")\n', "there is no stage 'redactt'"),
    ],
    ids=["syntax", "import", "unknown-stage"],
)
@pytest.mark.parametrize(
    "order", ["alone", *(pytest.param(order, marks=pytest.mark.slow) for order in ("before", "after"))]
)
def test_broken_at_start(text: str, told: str, order: str, make_mesh: MakeMesh, tmp_path: Path) -> None:
    """A door that cannot be opened ends the process, whatever other doors there are."""
    broken = str(door(tmp_path, "broken", text).with_suffix(""))
    scripts = {"before": (broken, "stack"), "after": ("stack", broken), "alone": (broken,)}[order]
    assert told in ends(make_mesh(scripts=scripts))


@pytest.fixture
def loopback_only() -> Iterator[None]:
    """These tests look into /proc."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("needs /proc")
    yield


def listening(pid: int) -> set[str]:
    """The addresses (not ports) on which a process listens now, as in /proc: 0100007F is 127.0.0.1."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = os.readlink(descriptor)
        except OSError:
            continue
        if name.startswith("socket:["):
            inodes.add(name[8:-1])
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else ():
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1].partition(":")[0])
    return found


@pytest.mark.quick
def test_plain_form(make_mesh: MakeMesh, provider: Provider, free_port: int, loopback_only: None) -> None:
    """`mitmdump -s addons/stack.py` governs or refuses from its first moment, and ends up on loopback alone."""
    mesh = make_mesh(options=["-p", str(free_port)], without=["server", "mesh_listen"])
    mesh.run = {"proxy": f"127.0.0.1:{free_port}"}

    def knock(trace: str) -> httpx.Response | None:
        """Plain HTTP to an LLM host, which needs no certificate: it could leave at once."""
        headers = {"authorization": f"Bearer {KEY}", "traceparent": trace, "connection": "close"}
        try:
            with httpx.Client(proxy=f"http://127.0.0.1:{free_port}", trust_env=False, timeout=5) as client:
                return client.post("http://api.openai.com/v1/chat/completions", json=BODY, headers=headers)
        except httpx.TransportError:
            return None

    mesh.resolve = {**mesh.resolve, "api.openai.com:80": mesh.resolve["plain.example:80"]}
    plain = mesh.resolve["plain.example:80"]
    plain.clear()
    with Traffic(knock, 3) as traffic:
        mesh.start()
        assert mesh.run["proxy"] == f"127.0.0.1:{free_port}"
        wait_for(lambda: any(traffic.answers.values()), "calls are served")
        traffic.more()
    for answer in filter(None, traffic.answers.values()):
        assert answer.headers["x-mesh-id"]
        assert answer.status_code in (200, 503)
    assert len(plain.calls) == sum(
        answer is not None and answer.status_code == 200 for answer in traffic.answers.values()
    )
    assert mesh.process
    assert listening(mesh.process.pid) == {"0100007F"}
    governed(mesh, plain)


def test_plain_form_opens_its_own_address_alone(make_mesh: MakeMesh, loopback_only: None) -> None:
    """mesh_listen is where it listens from the first moment: mitmproxy's *:8080 is never opened, and may be taken."""
    with contextlib.ExitStack() as taken:
        with contextlib.suppress(OSError):  # somebody else has it, which does as well
            taken.enter_context(socket.create_server(("", 8080)))
        mesh = make_mesh(options=["--set", "termlog_verbosity=info"], without=["server"]).start()
        said = [line for line in mesh.log().splitlines() if "listening at" in line or "8080" in line]
        assert len(said) == 2, said  # proxy and gateway
        assert all("listening at 127.0.0.1:" in line for line in said), said


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
