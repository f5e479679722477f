"""What the tests do to the machine: namespaces, addresses, cgroups, and the loader as a person calls it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
REDIRECT = str(ROOT / "bpf" / "redirect")


def sh(*words: str, check: bool = True, timeout: float = 60, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command, its output kept; at most so many seconds."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=timeout, **options)
    assert not check or done.returncode == 0, f"{' '.join(words)}: {done.stderr or done.stdout}"
    return done


def redirect(*words: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """bpf/redirect, as a person calls it."""
    return sh(REDIRECT, *words, check=check, **options)


@contextlib.contextmanager
def following(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A loader that follows."""
    loader = subprocess.Popen([REDIRECT, "attach", *words], stderr=subprocess.PIPE, text=True)
    assert loader.stderr
    line = loader.stderr.readline()
    assert "redirecting" in line, line
    try:
        yield loader
    finally:
        loader.terminate()
        loader.communicate(timeout=20)


def status() -> dict[str, Any]:
    """What it says of itself."""
    found: dict[str, Any] = json.loads(redirect("status", "--json").stdout)
    return found


def programs() -> list[str]:
    """`bpftool prog`: every program in the kernel, without what changes while nothing does."""
    return [line for line in sh("bpftool", "prog").stdout.splitlines() if line[:1].isdigit()]


@cache
def why_not() -> str | None:
    """Why this machine cannot run these tests, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux"
    for tool in ("bpftool", "ip", "nft", "curl"):
        if not shutil.which(tool):
            return f"needs {tool}"
    try:
        with own_network():
            attached = redirect("attach", check=False)
            redirect("detach", check=False)
    except OSError as error:
        return f"no network namespace: {error.strerror}"
    return attached.stderr.strip() if attached.returncode else None


@contextlib.contextmanager
def own_network() -> Iterator[None]:
    """This thread, and what it starts, in a network namespace of its own, with loopback up."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    os.unshare(os.CLONE_NEWNET)
    try:
        sh("ip", "link", "set", "lo", "up")
        yield
    finally:
        os.setns(before, os.CLONE_NEWNET)
        os.close(before)


def cgroup_root() -> Path:
    """Where cgroup v2 is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split(" ")[2] == "cgroup2":
            return Path(line.split(" ")[1])
    raise AssertionError("no cgroup v2")


class Cgroup:
    """A cgroup of a test's own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = cgroup_root() / name
        self.path.mkdir(parents=True)

    @property
    def id(self) -> int:
        """As the kernel counts."""
        return self.path.stat().st_ino

    def take(self, pid: int) -> None:
        """Move a process here."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def inside(self, *words: str) -> list[str]:
        """A command that moves here, then does what it should."""
        return ["sh", "-c", f'echo $$ > "{self.path}/cgroup.procs" && exec "$@"', "sh", *words]

    def remove(self) -> None:
        """End what is in it, and it."""
        for folder in sorted((Path(each) for each, _, _ in os.walk(self.path)), reverse=True):
            for pid in (folder / "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            for _ in range(200):
                try:
                    folder.rmdir()
                    break
                except OSError:
                    sh("sleep", "0.01")


def told(hosts: Path, words: Sequence[str], resolv: Path | None = None) -> list[str]:
    """A command that finds these names in its /etc/hosts, alone."""
    mounts = f'mount --bind "{hosts}" /etc/hosts'
    if resolv:
        mounts += f' && mount --bind "{resolv}" /etc/resolv.conf'
    return ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh", *words]


class Namespace:
    """A network namespace with one address, joined to ours by a veth pair, as a pod's is."""

    def __init__(self, number: int) -> None:
        self.name, self.veth = f"mitmesh-{os.getpid()}-{number}", f"pod{number}"
        self.address = f"10.77.{number}.2"
        here = f"10.77.{number}.1"
        sh("ip", "netns", "add", self.name)
        sh("ip", "link", "add", self.veth, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        sh("ip", "addr", "add", f"{here}/24", "dev", self.veth)
        sh("ip", "link", "set", self.veth, "up")
        for words in (
            ["link", "set", "lo", "up"],
            ["addr", "add", f"{self.address}/24", "dev", "eth0"],
            ["link", "set", "eth0", "up"],
            ["route", "add", "default", "via", here],
        ):
            sh("ip", "-n", self.name, *words)

    def inside(self, *words: str) -> list[str]:
        """A command that runs there."""
        return ["nsenter", f"--net=/run/netns/{self.name}", *words]

    def remove(self) -> None:
        """With its veth pair."""
        sh("ip", "link", "del", self.veth, check=False)
        sh("ip", "netns", "del", self.name, check=False)
