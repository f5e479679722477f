"""The launcher as a process, with a stand-in for the engine: what it starts, what it says, how it ends."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mitmesh.browse.users import Kind, Role, Users
from mitmesh.launch import ROOT, ports

ANY = ["--port", "0", "--gateway-port", "0", "--control-port", "0", "--browse-port", "0"]
DEADLINE = 60
type Start = Callable[..., "Launcher"]


class Launcher:
    """A running launcher and all it has written, with its children's output."""

    def __init__(self, tree: Path, arguments: list[str], environment: dict[str, str]) -> None:
        self.home = tree / "home"
        self.output = tree / "output"
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mitmesh.launch", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=tree,
                env={**os.environ, "PYTHONPATH": str(tree / "addons"), "MITMESH_HOME": str(self.home), **environment},
            )

    def text(self) -> str:
        return self.output.read_text()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; fails with the output if it does not come true or the launcher ends first."""
        deadline = time.monotonic() + DEADLINE
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not in time\n{self.text()}"
            assert self.process.poll() is None, f"{what}: the launcher ended\n{self.text()}"
            time.sleep(0.02)

    def until_ready(self) -> dict[str, str]:
        """Where everything is, as printed."""
        self.until(lambda: "Ctrl-C ends it" in self.text(), "ready")
        return dict(re.findall(r"^  (\w+) +(\S+)", self.text(), re.MULTILINE))

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def children(self) -> list[int]:
        """The pids of what it started."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts launchers in a project of their own; ends what a test left running."""
    unwanted = shutil.ignore_patterns("data", "__pycache__")
    shutil.copytree(ROOT / "addons" / "mitmesh", tmp_path / "addons" / "mitmesh", ignore=unwanted)
    shutil.copy(Path(__file__).with_name("fake_stack.py"), tmp_path / "addons" / "stack.py")
    shutil.copy(ROOT / "mitm.conf", tmp_path)
    started: list[Launcher] = []

    def make(*arguments: str, **environment: str) -> Launcher:
        started.append(Launcher(tmp_path, list(arguments), environment))
        return started[-1]

    yield make
    for launcher in started:
        if launcher.process.poll() is None:
            launcher.end(signal.SIGTERM)


def status(url: str, token: str = "") -> int:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def token(launcher: "Launcher") -> str:
    """An auditor's, made as scripts/browse makes one."""
    return Users(launcher.home).add("test", Role.AUDITOR, Kind.TOKEN)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def refused(launcher: Launcher) -> str:
    """The one line of a launcher that would not start."""
    assert launcher.process.wait(DEADLINE) == 1
    assert launcher.text().count("\n") == 1, launcher.text()
    return launcher.text().strip()


@pytest.mark.slow
def test_it_starts_all_says_where_it_is_and_ends_all(start: Start) -> None:
    """Proxy, gateway, control and Datasette answer where the text says; Ctrl-C ends each process, with code 0."""
    launcher = start(*ANY, "--demo", "--", "--set", "tcp_timeout=77", SSLKEYLOGFILE="keys")
    printed = launcher.until_ready()
    assert status(printed["live"]) == 200
    for path in ("/audit.json", "/content.json"):
        assert status(printed["audit"] + path, token(launcher)) == 200
        assert status(printed["audit"] + path) == 401
    password = re.search(r"password ([0-9a-f]{40}) ", launcher.text())
    assert password and password[1] not in (launcher.home / "browse.json").read_text()
    for name in ("proxy", "gateway"):
        host, _, port = printed[name].removeprefix("http://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=5).close()
    assert Path(printed["CA"]).read_text() in (launcher.home / "ca" / "bundle.pem").read_text()
    assert "Authorization" not in launcher.text()

    seen = json.loads((launcher.home / "seen.json").read_text())
    assert (seen["server"], seen["flow_detail"], seen["tcp_timeout"], seen["mesh_demo"]) == (False, 0, 77, True)
    assert "SSLKEYLOGFILE" not in seen["environment"]
    for folder in (launcher.home, launcher.home / "ca"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    children = launcher.children()
    assert len(children) == 2
    assert launcher.end(signal.SIGINT) == 0
    assert all(gone(pid) for pid in children)
    assert "Traceback" not in launcher.text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_during_start_up_is_clean(start: Start, number: int) -> None:
    """Told to stop before it is ready, it ends its child and exits with 0."""
    launcher = start(*ANY, MESH_FAKE="unready")
    launcher.until((launcher.home / "seen.json").exists, "start")
    children = launcher.children()
    assert launcher.end(number) == 0
    assert children
    assert all(gone(pid) for pid in children)
    assert "mitmesh is ready" not in launcher.text()
    assert "Traceback" not in launcher.text()


@pytest.mark.slow
def test_a_child_that_cannot_start_ends_it_with_its_code(start: Start) -> None:
    """What the proxy said last is on the screen, and its exit code is ours."""
    launcher = start(*ANY, MESH_FAKE="crash")
    assert launcher.process.wait(DEADLINE) == 3
    assert "fake: no such rule" in launcher.text()
    assert "mitmesh: mitmdump ended by itself (exit code 3)" in launcher.text()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_child_that_dies_ends_all(start: Start, victim: int) -> None:
    """Whichever child is killed, the other is ended and the exit code is not 0."""
    launcher = start(*ANY)
    launcher.until_ready()
    children = sorted(launcher.children())
    os.kill(children[victim], signal.SIGKILL)
    assert launcher.process.wait(DEADLINE) == 1
    assert all(gone(pid) for pid in children)
    assert "ended by itself (exit code -9)" in launcher.text()


@pytest.mark.slow
def test_two_on_one_folder_are_one_too_many(start: Start) -> None:
    """A second launcher is refused in one line; one after a `kill -9` is not, whatever run.json says."""
    first = start(*ANY)
    first.until_ready()
    kept = first.output.rename(first.output.with_name("output.first"))
    assert refused(start(*ANY)) == (
        f"mitmesh: it runs on {first.home} already: stop it, or set MITMESH_HOME to another folder"
    )
    children = first.children()
    first.process.kill()
    first.process.wait(DEADLINE)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    assert (first.home / "run.json").exists()
    start(*ANY).until_ready()
    assert kept.exists()


def test_a_port_in_use_is_one_line_before_anything_starts(start: Start) -> None:
    """The port and its option are named, and no folder is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        launcher = start(*ANY, "--gateway-port", str(port))
        assert refused(launcher) == f"mitmesh: port {port} is in use: choose another with --gateway-port"
    assert not launcher.home.exists()


def test_a_folder_that_cannot_be_made_is_one_line(start: Start, tmp_path: Path) -> None:
    """MITMESH_HOME that cannot be a folder is one clear line."""
    (tmp_path / "file").touch()
    line = refused(start(*ANY, MITMESH_HOME=str(tmp_path / "file" / "home")))
    assert line.startswith("mitmesh: ") and "set MITMESH_HOME to another" in line


@pytest.mark.slow
def test_browse_alone(start: Start, tmp_path: Path) -> None:
    """Datasette alone: nothing to show is one line; later it serves what is there."""
    command = [sys.executable, "-m", "mitmesh.launch.browse", "--port"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "addons"), "MITMESH_HOME": str(tmp_path / "home")}
    nothing = subprocess.run([*command, "0"], env=environment, capture_output=True, text=True)
    assert (nothing.returncode, nothing.stderr.count("\n")) == (1, 1)
    assert "there is no audit" in nothing.stderr

    launcher = start(*ANY)
    launcher.until_ready()
    assert launcher.end() == 0
    known = token(launcher)
    made = subprocess.run([*command[:-1], "--user", "ada"], env=environment, capture_output=True, text=True)
    assert re.fullmatch(r"viewer ada, password [0-9a-f]{40} \(shown this once\)\n", made.stdout), made
    port = ports.free()
    alone = subprocess.Popen([*command, str(port)], env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                assert status(f"http://127.0.0.1:{port}/audit.json", known) == 200
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        alone.terminate()
        alone.wait(DEADLINE)
