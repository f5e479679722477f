"""What hangs in the kernel: attached, taken over, detached; while the proxy is there, is not, and comes back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf import machine
from bpf.conftest import OPENAI4, OPENAI6, OTHER, Placed
from bpf.machine import REDIRECT, ROOT, Cgroup, cgroup_root, redirect, sh, status
from e2e.provider import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

WHERE = """
import socket, sys
for address in sys.argv[1:]:
    try:
        print(*socket.create_connection((address, 443), 5).getpeername()[:2])
    except OSError as error:
        print(type(error).__name__)
"""
"""Prints where a connect to port 443 of each address ended."""


def where(cgroup: Cgroup, *addresses: str) -> list[str]:
    return sh(*cgroup.inside("python3", "-c", WHERE, *addresses)).stdout.splitlines()


def hooks() -> list[str]:
    """What hangs on the root of the cgroup tree, in its order."""
    return sh("bpftool", "cgroup", "show", str(cgroup_root())).stdout.splitlines()[1:]


class Listener:
    """Stands in for the proxy: accepts, and does nothing."""

    def __init__(self) -> None:
        self.sockets = [
            socket.create_server(("127.0.0.1", 8443), backlog=256),
            socket.create_server(("::1", 8443), family=socket.AF_INET6, backlog=256),
        ]

    def close(self) -> None:
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # a thread that waits in accept would keep it
            each.close()


@pytest.fixture
def listener(network: None) -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def clean(kernel: None) -> Iterator[None]:
    """Nothing is left behind, whatever a test did."""
    yield
    redirect("detach")


def test_detach_leaves_the_kernel_as_it_was(network: None, cgroup: Cgroup) -> None:
    """After detach `bpftool prog` and the hooks of the root are what they were before attach."""
    before = machine.programs(), hooks()
    redirect("attach", "--cgroup", str(cgroup.path))
    assert len(machine.programs()) == len(before[0]) + 6
    redirect("detach")
    assert (machine.programs(), hooks()) == before
    assert "nothing of ours" in redirect("detach").stderr


def test_attach_again_doubles_nothing(network: None, cgroup: Cgroup) -> None:
    """A second attach finds the programs of the first, and only tells them what to do now."""
    redirect("attach", "--cgroup", str(cgroup.path))
    first = hooks()
    redirect("attach", "--port", "8444", "--when-down", "pass")
    assert hooks() == first
    found = status()
    assert (found["ports"], found["when_down"], found["cgroups"]) == ([8444], "pass", [])


def test_a_killed_loader_leaves_everything_in_place(network: None, cgroup: Cgroup) -> None:
    """Programs outlive a loader that follows and is killed; status shows them, a new attach takes over."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((OTHER, 443))
        here = str(probe.getsockname()[0])
    words = ["attach", "--cgroup", str(cgroup.path), "--proxy", f"{here}:8443"]
    with socket.create_server((here, 8443)):
        loader = subprocess.Popen([REDIRECT, *words, "--pods", "all"], stderr=subprocess.PIPE, text=True)
        assert loader.stderr
        assert "redirecting" in loader.stderr.readline()
        first = hooks()
        loader.kill()
        loader.wait()
        assert where(cgroup, OTHER) == [f"{here} 8443"]
        assert status()["cgroups"] == [f"/{cgroup.name}"]
        redirect(*words)
        assert hooks() == first
        assert where(cgroup, OTHER) == [f"{here} 8443"]


def test_a_run_whose_loader_was_killed_is_forgotten(network: None, cgroup: Cgroup) -> None:
    """Its cgroup and its entry go with the next attach, run or detach, once its processes have ended; not before."""
    redirect("attach", "--cgroup", str(cgroup.path))
    loader = subprocess.Popen([REDIRECT, "run", "--", "sh", "-c", "echo up; exec sleep 60"], stdout=subprocess.PIPE)
    assert loader.stdout
    assert loader.stdout.readline() == b"up\n"
    folder = cgroup_root() / f"mitmesh-run-{loader.pid}"
    loader.kill()
    loader.wait()
    assert f"/{folder.name}" in status()["cgroups"]
    for pid in (folder / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while folder.exists() and time.monotonic() < deadline:
        found = status()
        assert folder.exists(), "status only reads"
        assert f"/{folder.name}" in found["cgroups"]
        redirect("attach", "--cgroup", str(cgroup.path))
        time.sleep(0.1)
    assert not folder.exists()
    assert status()["cgroups"] == [f"/{cgroup.name}"]


def test_cgroups_of_others_stay(network: None) -> None:
    """An empty cgroup that somebody else named nearly as ours is not removed."""
    others = [Cgroup("mitmesh-test-7a"), Cgroup("mitmesh-run-7a"), Cgroup("mitmesh-test-99999999")]
    try:
        redirect("attach")
        redirect("detach")
        assert all(each.path.exists() for each in others)
    finally:
        for each in others:
            if each.path.exists():
                each.remove()


def test_another_version_takes_over_without_a_gap(
    network: None, cgroup: Cgroup, listener: Listener, tmp_path: Path
) -> None:
    """Programs of another version are replaced hook by hook on the same maps: no connect meanwhile goes astray, one
    that was on its way is still known, and nothing is there twice."""
    redirect("attach", "--cgroup", str(cgroup.path))
    shutil.copytree(ROOT / "bpf", tmp_path / "bpf")
    with (tmp_path / "bpf" / "redirect.c").open("a") as source:
        source.write("\n// another version\n")
    script = f"""if 1:
        import select, socket, sys
        held = socket.create_connection(("{OTHER}", 443))
        while not select.select([sys.stdin], [], [], 0)[0]:
            with socket.create_connection(("{OTHER}", 443)) as s:
                assert s.getpeername() == ("127.0.0.1", 8443), s.getpeername()
        print("fine"); held.close()"""
    accepted: list[socket.socket] = []
    threading.Thread(target=_accept, args=(listener.sockets[0], accepted), daemon=True).start()
    client = subprocess.Popen(
        cgroup.inside("python3", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    wait_for(lambda: len(accepted) == 1, "the first connection is there")
    old = hooks()
    sh(str(tmp_path / "bpf" / "redirect"), "attach", "--cgroup", str(cgroup.path))
    new = hooks()
    assert len(new) == len(old)
    assert {line.split()[0] for line in new}.isdisjoint(line.split()[0] for line in old)
    assert original(accepted[0]) == (OTHER, 443)
    assert client.communicate("", timeout=30)[0] == "fine\n"
    assert "another version" in redirect("status").stdout


def _accept(listener: socket.socket, into: list[socket.socket]) -> None:
    try:
        while True:
            made = listener.accept()[0]
            if into:
                made.close()  # the first is kept, and asked later
            else:
                into.append(made)
    except OSError:
        return


def original(accepted: socket.socket) -> tuple[str, int]:
    """Where a redirected connection wanted to go."""
    raw = accepted.getsockopt(socket.SOL_IP, 80, 16)
    return socket.inet_ntop(socket.AF_INET, raw[4:8]), int.from_bytes(raw[2:4], "big")


def test_it_lives_beside_others(network: None, cgroup: Cgroup, listener: Listener, tmp_path: Path) -> None:
    """Another's program on the same hook stays through attach and detach, and runs all the while."""
    source = """
    int other_conn4(struct bpf_sock_addr *ctx) { return ctx->user_port != bpf_htons(7777); }
    """
    script = f"""if 1:
        import bcc, os, sys, time
        b = bcc.BPF(text={source!r}, cflags=["-w"])
        f = b.load_func(b"other_conn4", 18, attach_type=10)
        root = os.open("{cgroup_root()}", os.O_RDONLY)
        b.attach_func(f, root, 10, 2)
        print("there", flush=True); sys.stdin.read()
        b.detach_func(f, root, 10)"""
    other = subprocess.Popen(
        ["/usr/bin/python3", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout and other.stdout.readline() == "there\n"
    refused = "import socket; socket.create_connection(('127.0.0.1', 7777))"
    redirect("attach", "--cgroup", str(cgroup.path))
    assert where(cgroup, OTHER) == ["127.0.0.1 8443"]
    assert "PermissionError" in sh("python3", "-c", refused, check=False).stderr
    redirect("detach")
    assert any("other_conn4" in line for line in hooks())
    assert "PermissionError" in sh("python3", "-c", refused, check=False).stderr
    other.communicate()


@pytest.mark.parametrize("when_down", ["refuse", "pass"])
def test_while_the_proxy_is_down(network: None, cgroup: Cgroup, openai: Placed, other: Placed, when_down: str) -> None:
    """Nothing listens: connects are refused or passed, as told, of both families; when the proxy is back, so is the
    redirection, by itself."""
    redirect("attach", "--cgroup", str(cgroup.path), "--when-down", when_down)
    direct = [f"{OPENAI4} 443", f"{OPENAI6} 443"]
    down = ["ConnectionRefusedError"] * 2 if when_down == "refuse" else direct
    up = ["127.0.0.1 8443", "::1 8443"]
    for _ in range(2):
        assert where(cgroup, OPENAI4, OPENAI6) == down
        listener = Listener()
        assert where(cgroup, OPENAI4, OPENAI6) == up
        listener.close()
    assert where(cgroup, OPENAI4, OPENAI6) == down
    assert status()["counts"]["refused" if when_down == "refuse" else "passed"] == 6


def test_a_proxy_that_listened_before_is_found(network: None, cgroup: Cgroup, listener: Listener) -> None:
    """It was there before us; when it closes, the kernel knows at once."""
    redirect("attach", "--cgroup", str(cgroup.path))
    assert where(cgroup, OPENAI4, OPENAI6) == ["127.0.0.1 8443", "::1 8443"]
    listener.close()
    assert where(cgroup, OPENAI4, OPENAI6) == ["ConnectionRefusedError"] * 2


def test_another_port_or_namespace_is_not_the_proxy(network: None, cgroup: Cgroup) -> None:
    """Somebody who listens on the proxy's port in a namespace of his own gets nothing."""
    redirect("attach", "--cgroup", str(cgroup.path))
    with machine.own_network():
        impostor = Listener()
    assert where(cgroup, OPENAI4) == ["ConnectionRefusedError"]
    impostor.close()


def test_run(network: None, listener: Listener) -> None:
    """`run -- COMMAND` redirects the command and its children, gives back its exit code, and leaves nothing."""
    before = machine.programs()
    done = redirect("run", "--", "sh", "-c", 'python3 -c "$0" "$1"; exit 7', WHERE, OTHER, check=False)
    assert (done.stdout, done.returncode) == ("127.0.0.1 8443\n", 7)
    assert machine.programs() == before
    assert not list(cgroup_root().glob("mitmesh-run-*"))
    assert redirect("run", "--", "no-such-command", check=False).returncode == 127


def test_run_sets_what_to_trust(network: None, listener: Listener, tmp_path: Path) -> None:
    """The CA variables name the bundle; proxy variables are gone."""
    (tmp_path / "bundle.pem").write_text("")
    environ = {**os.environ, "HTTPS_PROXY": "http://nowhere", "MITMESH_HOME": str(tmp_path)}
    done = redirect("run", "--ca", str(tmp_path / "bundle.pem"), "--", "env", env=environ)
    assert f"SSL_CERT_FILE={tmp_path}/bundle.pem" in done.stdout
    assert f"NODE_EXTRA_CA_CERTS={tmp_path}/bundle.pem" in done.stdout
    assert "HTTPS_PROXY" not in done.stdout


def test_run_is_the_person_who_called_sudo(network: None, listener: Listener) -> None:
    """Under sudo the command runs as whoever called it."""
    environ = {**os.environ, "SUDO_UID": "65534", "SUDO_GID": "65534"}
    assert redirect("run", "--", "id", "-u", env=environ).stdout == "65534\n"


def test_run_beside_an_attach(network: None, cgroup: Cgroup, listener: Listener) -> None:
    """A run uses what is attached and leaves it there; one that wants another proxy is told so."""
    redirect("attach", "--cgroup", str(cgroup.path))
    first = hooks()
    assert redirect("run", "--", "python3", "-c", WHERE, OTHER).stdout == "127.0.0.1 8443\n"
    assert hooks() == first
    done = redirect("run", "--proxy", "127.0.0.1:9999", "--", "true", check=False)
    assert done.returncode == 16
    assert len(done.stderr.splitlines()) == 2  # no certificates, and this
    assert where(cgroup, OTHER) == ["127.0.0.1 8443"]


def test_two_runs_at_once(network: None, listener: Listener) -> None:
    """The first to end takes nothing from the other; the last takes all away."""
    before = machine.programs()
    slow = subprocess.Popen(
        [REDIRECT, "run", "--", "sh", "-c", f'sleep 3; python3 -c "$0" {OTHER}', WHERE],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    time.sleep(1.5)
    assert redirect("run", "--", "python3", "-c", WHERE, OTHER).stdout == "127.0.0.1 8443\n"
    assert slow.communicate(timeout=30)[0] == "127.0.0.1 8443\n"
    assert machine.programs() == before


def test_records_are_pushed_out_and_counted(network: None, cgroup: Cgroup, listener: Listener) -> None:
    """Map pressure: the status adds up what came, what went, what is there, and so what was pushed out."""
    redirect("attach", "--cgroup", str(cgroup.path))
    script = f"import socket, time; h = [socket.create_connection(('{OTHER}', 443)) for _ in range(200)]; time.sleep(2)"
    client = subprocess.Popen(cgroup.inside("python3", "-c", script))
    time.sleep(1.2)
    counts = status()["counts"]
    assert (counts["connections"], counts["remembered"] - counts["forgotten"], counts["evicted"]) == (200, 200, 0)
    client.send_signal(signal.SIGKILL)
    client.wait()
    listener.close()  # what waited to be accepted is gone
    machine.sh("sleep", "0.2")
    assert status()["counts"]["connections"] == 0


def test_under_pressure_the_oldest_are_forgotten(network: None, cgroup: Cgroup, listener: Listener) -> None:
    """More connections than can be remembered: the pushed out are counted, and nobody is told a wrong destination."""
    redirect("attach", "--cgroup", str(cgroup.path), "--entries", "256")
    script = """if 1:
        import resource, socket, time
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
        h = [socket.create_connection(("198.18.0.20", 443)) for _ in range(1000)]
        print("all", flush=True); time.sleep(60)"""
    client = subprocess.Popen(cgroup.inside("python3", "-c", script), stdout=subprocess.PIPE, text=True)
    accepted = [listener.sockets[0].accept()[0] for _ in range(1000)]
    assert client.stdout and client.stdout.readline() == "all\n"
    counts = status()["counts"]
    assert counts["connections"] <= 256
    assert counts["evicted"] == 1000 - counts["connections"]
    assert original(accepted[-1]) == (OTHER, 443)
    answers = [_original_or_none(each) for each in accepted]
    assert set(answers) == {(OTHER, 443), None}
    assert answers.count(None) == counts["evicted"]
    client.kill()
    client.communicate()


def _original_or_none(accepted: socket.socket) -> tuple[str, int] | None:
    try:
        return original(accepted)
    except OSError:
        return None
