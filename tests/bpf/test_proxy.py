"""The proxy's own cgroup, so that its connects are left out and nobody else's; and where it can be reached from."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf import machine
from bpf.conftest import NODE, OTHER, Placed
from bpf.machine import REDIRECT, ROOT, Cgroup, cgroup_root, following, redirect, sh, status
from e2e.provider import wait_for
from mitmesh.kernel import Kernel

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PROXY = """
import socket, subprocess, sys, threading
s = socket.create_server((sys.argv[1], 8443), backlog=64)
def accept():
    while True:
        s.accept()[0].close()
threading.Thread(target=accept, daemon=True).start()
child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
for line in sys.stdin:
    print(socket.create_connection((line.strip(), 443), 5).getpeername()[0], flush=True)
"""
"""Listens as the proxy does, has a child, and says where a connect of its own to each address it is given ends."""
PEER = "import socket, sys; print(socket.create_connection((sys.argv[1], 443), 5).getpeername()[0])"


@pytest.fixture(autouse=True)
def clean(kernel: None) -> Iterator[None]:
    """Nothing is left behind, whatever a test did."""
    yield
    redirect("detach")
    assert not list(cgroup_root().rglob("mitmesh-left-out-*"))


class Proxy:
    """Stands in for the proxy; `how` starts it."""

    def __init__(self, how: list[str], address: str = "127.0.0.1") -> None:
        self.process = subprocess.Popen(
            [*how, "python3", "-c", PROXY, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.child = int(self.process.stdout.readline())

    def peer(self, address: str) -> str:
        """Where its own connect ends."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(address + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        """With its child."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, signal.SIGKILL)
        self.process.terminate()
        self.process.communicate()


def home(pid: int) -> str:
    """Its cgroup."""
    return Path(f"/proc/{pid}/cgroup").read_text().rpartition("0::")[2].strip()


def peer(cgroup: Cgroup, address: str) -> str:
    """Where a connect from this cgroup ends."""
    return sh(*cgroup.inside("python3", "-c", PEER, address)).stdout.strip()


@pytest.fixture
def session(network: None, other: Placed) -> Iterator[Cgroup]:
    """A cgroup that people share, such as a login session."""
    made = Cgroup("mitmesh-test-session.scope")
    yield made
    redirect("detach")
    made.remove()


def test_host_leaves_out_the_proxy_and_nobody_else(session: Cgroup) -> None:
    """The proxy shares a session: it gets a cgroup of its own there, with its children, and everybody else in the
    session is redirected. A proxy that comes after it gets one, too; detach moves it back."""
    proxy = Proxy(session.inside())
    try:
        with following("--host", "--all-443"):
            assert home(proxy.process.pid) == f"/{session.name}/mitmesh-left-out-{proxy.process.pid}"
            assert home(proxy.child) == home(proxy.process.pid)
            assert proxy.peer(OTHER) == OTHER
            assert peer(session, OTHER) == "127.0.0.1"
            assert status()["exempt"] == [home(proxy.process.pid)]
            proxy.end()
            proxy = Proxy(session.inside())
            wait_for(lambda: proxy.peer(OTHER) == OTHER, "the new one is left out")
            assert peer(session, OTHER) == "127.0.0.1"
        redirect("detach")
        assert home(proxy.process.pid) == home(proxy.child) == f"/{session.name}"
    finally:
        proxy.end()


def test_a_proxy_in_the_root(network: None, other: Placed, cgroup: Cgroup) -> None:
    """Everyone is in the root: the proxy gets a cgroup of its own."""
    proxy = Proxy([])
    try:
        before = home(proxy.process.pid)
        with following("--host", "--all-443"):
            assert proxy.peer(OTHER) == OTHER
            assert peer(cgroup, OTHER) == "127.0.0.1"
        redirect("detach")
        assert home(proxy.process.pid) == before
    finally:
        proxy.end()


def test_a_proxy_that_was_started_as_one(network: None, other: Placed) -> None:
    """`run --as-proxy` made a cgroup for it: that is left out, and nothing is moved."""
    proxy = Proxy([REDIRECT, "run", "--as-proxy", "--"])
    try:
        with following("--host", "--all-443"):
            assert status()["exempt"] == [f"/mitmesh-proxy-{proxy.process.pid}"]
            assert home(proxy.child) == f"/mitmesh-proxy-{proxy.process.pid}"
            assert proxy.peer(OTHER) == OTHER
    finally:
        proxy.end()


def test_it_is_said_whom_it_leaves_out_too(session: Cgroup) -> None:
    """Where no cgroup can be made there, one line names the cgroup and how many others it holds."""
    (session.path / "cgroup.max.descendants").write_text("0")
    neighbour = subprocess.Popen(session.inside("sleep", "600"))
    proxy = Proxy(session.inside())
    try:
        wait_for(lambda: home(neighbour.pid) == f"/{session.name}", "it is there")
        loader = subprocess.Popen([REDIRECT, "attach", "--host", "--all-443"], stderr=subprocess.PIPE, text=True)
        assert loader.stderr
        said = loader.stderr.readline()
        assert f"in {session.path}:" in said
        assert "1 other processes" in said
        loader.terminate()
        loader.communicate(timeout=20)
        assert proxy.peer(OTHER) == OTHER
        done = redirect("attach", "--cgroup", str(session.path), check=False)  # here it would leave out everybody
        assert (done.returncode, len(done.stderr.splitlines())) == (11, 1)
    finally:
        proxy.end()
        neighbour.kill()
        neighbour.wait()


@pytest.mark.parametrize("where", ["below", "itself"])
def test_a_tree_with_the_proxy_in_it(session: Cgroup, where: str) -> None:
    """Below the chosen cgroup or in the chosen one itself: its connects go out, everybody else's come to it."""
    inner = session if where == "itself" else Cgroup(f"{session.name}/inner")
    proxy = Proxy(inner.inside())
    try:
        redirect("attach", "--cgroup", str(session.path))
        assert (
            status()["exempt"] == [home(proxy.process.pid)] == [f"/{inner.name}/mitmesh-left-out-{proxy.process.pid}"]
        )
        assert proxy.peer(OTHER) == OTHER
        assert (peer(inner, OTHER), peer(session, OTHER)) == ("127.0.0.1", "127.0.0.1")
    finally:
        proxy.end()
        redirect("detach")
        if inner is not session:
            inner.remove()


def test_a_proxy_that_is_a_pod(session: Cgroup) -> None:
    """All pods are chosen, and the proxy is one: its connects go out."""
    pod = Cgroup("kubepods/burstable/pod0a1b2c3d-0000-4444-8888-0123456789ab")
    proxy = Proxy(pod.inside(), NODE)
    try:
        with following("--pods", "all", "--proxy", f"{NODE}:8443"):
            assert (proxy.peer(OTHER), peer(pod, OTHER), peer(session, OTHER)) == (OTHER, NODE, OTHER)
    finally:
        proxy.end()
        redirect("detach")
        pod.remove()
        for folder in (pod.path.parent, pod.path.parent.parent):
            folder.rmdir()


# --- loops ---

CLIENT = """
import socket, sys
if len(sys.argv) > 2:
    open(sys.argv[2], "w").write("0")
made = socket.create_connection((sys.argv[1], 443))
sys.stdin.read()
"""
LOOP = f"""
import socket, subprocess, sys
server = socket.create_server(("127.0.0.1", 8443))
with subprocess.Popen([sys.executable, "-c", {CLIENT!r}, *sys.argv[1:]], stdin=subprocess.PIPE):
    print(server.accept()[0].getsockopt(0, 0x6D65, 80).hex())
"""
"""The proxy's part of a connect that a child makes, from another cgroup where one is given."""


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("pid_namespace", [True, False])
def test_a_loop_is_seen(network: None, cgroup: Cgroup, beside: bool, pid_namespace: bool) -> None:
    """By the cgroup: from another process of the proxy's, or a proxy in a PID namespace of its own, it is one, too."""
    redirect("attach", "--cgroup", str(cgroup.path))
    inner = Cgroup(f"{cgroup.name}/inner")
    where = [] if beside else [f"{inner.path}/cgroup.procs"]
    words = ["unshare", "--pid", "--fork"] if pid_namespace else []
    try:
        raw = sh(*cgroup.inside(*words, "python3", "-c", LOOP, OTHER, *where)).stdout
        caller = Kernel().read(bytes.fromhex(raw))
        assert caller and caller.wanted == (OTHER, 443)
        assert (caller.beside_us, Kernel().is_us(caller)) == (beside, beside)
    finally:
        redirect("detach")
        inner.remove()


# --- reached from elsewhere ---


def test_no_cgroup_v2(network: None) -> None:
    """One line, and its exit code."""
    done = sh("unshare", "--mount", "sh", "-c", f'umount {cgroup_root()} && exec "$0" attach', REDIRECT, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (11, 1), done.stderr
    assert "no cgroup v2" in done.stderr


def named(said: str) -> str:
    """The network namespace that a line sends us to."""
    found = re.search(r"nsenter -t ([0-9]+) -n", said)
    assert found, said
    return os.readlink(f"/proc/{found[1]}/ns/net")


def test_run_in_another_network_namespace(network: None, cgroup: Cgroup) -> None:
    """What is attached goes to a loopback that is not this one's: a line says so, and where to run it."""
    proxy = Proxy(cgroup.inside())
    try:
        redirect("attach")
        assert status()["network"] == "this one"
        with machine.own_network():
            assert status()["network"] == "another network namespace"
            done = redirect("run", "--", "true", check=False)
        assert done.returncode == 17
        said = done.stderr.splitlines()[-1]
        assert "127.0.0.1:8443 of another network namespace" in said
        assert named(said) == os.readlink(f"/proc/{proxy.child}/ns/net")
        assert redirect("run", "--", "true").returncode == 0
    finally:
        proxy.end()


def test_nobody_listens_here(network: None, cgroup: Cgroup) -> None:
    """Nothing is attached, and the proxy listens elsewhere: run and attach say so, and where; then do as they are told
    for a proxy that is down."""
    refused = ["python3", "-c", f"import socket; socket.create_connection(('{OTHER}', 443))"]
    proxy = Proxy(cgroup.inside())
    try:
        with machine.own_network():
            done = redirect("run", "--", *refused, check=False)
            attached = redirect("attach")
            redirect("detach")
        assert "ConnectionRefusedError" in done.stderr
        for said in (done.stderr, attached.stderr):
            assert "nobody listens on 127.0.0.1:8443 in this network namespace" in said
            assert named(said) == os.readlink(f"/proc/{proxy.child}/ns/net")
    finally:
        proxy.end()
    assert "start the proxy" in redirect("attach").stderr


@pytest.mark.parametrize("words", [["attach"], ["attach", "--host", "--all-443"], ["run", "--", "true"]])
def test_in_another_pid_namespace(network: None, cgroup: Cgroup, words: list[str]) -> None:
    """The process that listens cannot be seen: one line says so and what to do, and nothing is attached."""
    before = machine.programs()
    proxy = Proxy(cgroup.inside())
    try:
        done = sh("unshare", "--pid", "--fork", "--mount-proc", REDIRECT, *words, check=False)
        assert done.returncode == 17, done.stderr
        said = done.stderr.splitlines()[-1]
        assert "127.0.0.1:8443 cannot be seen from here" in said
        assert "nsenter" in said
        assert machine.programs() == before
    finally:
        proxy.end()


def test_the_demo_beside_an_attach(network: None) -> None:
    """The demo has a network namespace of its own, which what is attached does not go to: it ends with that line."""
    redirect("attach")
    done = sh(str(ROOT / "scripts" / "demo-transparent"), check=False)
    assert done.returncode == 17, done.stdout + done.stderr
    assert "another network namespace" in done.stderr.splitlines()[-1]
