"""Several loaders: attach beside run, and one attach after another."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf import machine
from bpf.conftest import NODE, OTHER
from bpf.machine import REDIRECT, Cgroup, cgroup_root, redirect, sh, status
from bpf.test_life import Listener, _accept, where

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def clean(kernel: None) -> Iterator[None]:
    """Nothing is left behind, whatever a test did."""
    yield
    redirect("detach")


@pytest.fixture
def listener(network: None) -> Iterator[Listener]:
    """Stands in for the proxy. In this very process: --host would move it."""
    made = Listener()
    yield made
    made.close()


@pytest.fixture
def running(listener: Listener) -> Iterator[Cgroup]:
    """A command of `run` that has not ended; its cgroup."""
    words = [REDIRECT, "run", "--", "sh", "-c", "echo up; read line"]
    loader = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert loader.stdout and loader.stdout.readline() == "up\n"
    made = Cgroup.__new__(Cgroup)
    made.name = f"mitmesh-run-{loader.pid}"
    made.path = cgroup_root() / made.name
    yield made
    loader.communicate("\n", timeout=30)


def follow(*words: str) -> subprocess.Popen[str]:
    """A loader that follows; it has attached."""
    loader = subprocess.Popen([REDIRECT, "attach", *words], stderr=subprocess.PIPE, text=True)
    assert loader.stderr
    assert "redirecting" in loader.stderr.readline()
    return loader


# --- attach beside run ---


@pytest.mark.parametrize(
    "words",
    [
        ["--proxy", "127.0.0.1:9999"],
        ["--proxy", "127.0.0.1:8443"],
        ["--port", "9443"],
        ["--when-down", "pass"],
        ["--own-port", "9000"],
    ],
)
def test_an_attach_changes_no_run(running: Cgroup, cgroup: Cgroup, words: list[str]) -> None:
    """It is refused in one line where the command would then go elsewhere than it was told; nothing has changed."""
    before = status()
    done = redirect("attach", "--cgroup", str(cgroup.path), *words, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (16, 1)
    assert "1 commands of `bpf/redirect run`" in done.stderr
    assert status() == before
    assert where(running, OTHER) == ["127.0.0.1 8443"]


def test_an_attach_elsewhere_changes_no_run(running: Cgroup) -> None:
    """The same for one from another network namespace, which would take the command's loopback for its own."""
    with machine.own_network():
        done = redirect("attach", check=False)
    assert done.returncode == 16
    assert where(running, OTHER) == ["127.0.0.1 8443"]


def test_an_attach_beside_a_run(running: Cgroup, cgroup: Cgroup) -> None:
    """One that agrees is attached beside it, and stays when the command ends, which ends no sooner than it would."""
    redirect("attach", "--cgroup", str(cgroup.path), "--port", "443", "--port", "9443")
    assert (where(running, OTHER), where(cgroup, OTHER)) == (["127.0.0.1 8443"], ["127.0.0.1 8443"])
    assert set(status()["cgroups"]) == {f"/{running.name}", f"/{cgroup.name}"}


def test_a_detach_tells_of_runs(running: Cgroup) -> None:
    """It takes all away, and says for whom."""
    assert "1 commands of `bpf/redirect run` are redirected no more" in redirect("detach").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--proxy", "127.0.0.1:9999"], "redirects to 127.0.0.1:8443"),
        (["--port", "9443"], "does not redirect port 9443"),
        (["--when-down", "refuse"], "has --when-down pass"),
        (["--own-port", "9000"], "has no --own-port 9000"),
    ],
)
def test_a_run_changes_no_attach(listener: Listener, cgroup: Cgroup, words: list[str], said: str) -> None:
    """What it asks for and does not get, it is told in one line; what it does not ask for is as it is."""
    redirect("attach", "--cgroup", str(cgroup.path), "--when-down", "pass")
    before = status()
    done = redirect("run", *words, "--", "true", check=False)
    assert done.returncode == 16
    assert said in done.stderr.splitlines()[-1]
    assert redirect("run", "--", "true").returncode == 0
    assert status() == before


def test_a_run_takes_nothing_over(listener: Listener, cgroup: Cgroup, tmp_path: Path) -> None:
    """What another version attached keeps its settings; the run is refused, and says what to do."""
    sh("cp", "-r", str(Path(REDIRECT).parent), str(tmp_path / "bpf"))
    with (tmp_path / "bpf" / "redirect.c").open("a") as source:
        source.write("\n// another version\n")
    sh(str(tmp_path / "bpf" / "redirect"), "attach", "--cgroup", str(cgroup.path), "--when-down", "pass")
    done = redirect("run", "--", "true", check=False)
    assert (done.returncode, "attach again" in done.stderr.splitlines()[-1]) == (16, True)
    found = json.loads(sh(str(tmp_path / "bpf" / "redirect"), "status", "--json").stdout)
    assert (found["current"], found["when_down"], found["cgroups"]) == ("yes", "pass", [f"/{cgroup.name}"])


def test_one_engine_after_the_other(listener: Listener, cgroup: Cgroup) -> None:
    """nftables after BPF, and BPF after nftables: what was attached before is gone."""
    redirect("attach", "--cgroup", str(cgroup.path))
    done = redirect("attach", "--engine", "nft", "--cgroup", str(cgroup.path), check=False)
    if done.returncode:
        pytest.skip(done.stderr.strip())
    assert "attached     nft" in redirect("status").stdout
    redirect("attach", "--cgroup", str(cgroup.path))
    assert "mitmesh" not in sh("nft", "list", "tables").stdout
    assert where(cgroup, OTHER) == ["127.0.0.1 8443"]


# --- one attach after another ---


def test_an_older_follower_ends(network: None, cgroup: Cgroup) -> None:
    """A newer attach takes over: the older says so, ends by itself, and has undone nothing meanwhile."""
    pod = Cgroup("kubepods/burstable/pod0a1b2c3d-0000-4444-8888-0123456789ab")
    try:
        old = follow("--proxy", f"{NODE}:8443", "--pods", "all")
        assert status()["cgroups"] == [f"/{pod.name}"]
        redirect("attach", "--proxy", f"{NODE}:8443", "--cgroup", str(cgroup.path))
        assert "taken over" in old.communicate(timeout=20)[1]
        assert old.returncode == 0
        assert status()["cgroups"] == [f"/{cgroup.name}"]
        newer = follow("--proxy", f"{NODE}:8443", "--pods", "all")
        newest = follow("--proxy", f"{NODE}:8443", "--pods", "all", "--when-down", "pass")
        assert "taken over" in newer.communicate(timeout=20)[1]
        found = status()
        assert (found["cgroups"], found["when_down"]) == ([f"/{pod.name}"], "pass")
        redirect("detach")
        assert "detach" in newest.communicate(timeout=20)[1]
    finally:
        pod.remove()
        for folder in (pod.path.parent, pod.path.parent.parent):
            folder.rmdir()


def test_an_older_follower_of_another_version_ends(network: None, cgroup: Cgroup, tmp_path: Path) -> None:
    """Also where the maps are others by then, because more connections are to be remembered or the layout changed."""
    sh("cp", "-r", str(Path(REDIRECT).parent), str(tmp_path / "bpf"))
    source = tmp_path / "bpf" / "redirect.c"
    source.write_text(source.read_text().replace("u16 own[8];", "u16 own[8]; u64 more[2];"))
    packed = tmp_path / "bpf" / "loader" / "settings.py"
    packed.write_text(packed.read_text().replace('16s16s")', '16s16s16x")'))
    old = follow("--proxy", f"{NODE}:8443", "--pods", "all")
    sh(str(tmp_path / "bpf" / "redirect"), "attach", "--proxy", f"{NODE}:8443", "--cgroup", str(cgroup.path))
    assert "taken over" in old.communicate(timeout=20)[1]
    sh(str(tmp_path / "bpf" / "redirect"), "detach")


def test_taking_over_leaves_no_gap(listener: Listener, cgroup: Cgroup) -> None:
    """While attach follows attach, a client that connects without a pause always comes to the proxy."""
    script = f"""if 1:
        import select, socket, sys
        count = 0
        while not select.select([sys.stdin], [], [], 0)[0]:
            with socket.create_connection(("{OTHER}", 443)) as s:
                assert s.getpeername() == ("127.0.0.1", 8443), s.getpeername()
            count += 1
        print(count)"""
    redirect("attach", "--cgroup", str(cgroup.path))
    threading.Thread(target=_accept, args=(listener.sockets[0], []), daemon=True).start()
    client = subprocess.Popen(
        cgroup.inside("python3", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for entries in ("4096", "8192", "4096"):
        redirect("attach", "--cgroup", str(cgroup.path), "--entries", entries)
    assert int(client.communicate("", timeout=30)[0]) > 100
