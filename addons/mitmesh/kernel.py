"""Who connected, and where to, as the kernel attests it. bpf/redirect.c answers at the accepted socket, by a getsockopt
of its own; without its programs, and for connections it did not see, there is no answer. No privilege is needed."""

from __future__ import annotations

import ipaddress
import pwd
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitmesh.cgroups import Owner, Tree
from mitmesh.pods import Pod, Pods

LEVEL, OPTION = 0, 0x6D65
_RECORD = struct.Struct("=II16s2sHIIIIIQQ16s")
"""struct record of redirect.c: size, flags, wanted address, port, family, sequence, pid, tgid, uid, gid, cgroup id,
the client socket's cookie, comm."""
_REDIRECTED, _SAME_CGROUP = 1, 2


@dataclass(slots=True, frozen=True)
class Caller:
    """The process behind a connection. `comm` is what it calls itself: shown, never decided by."""

    pid: int
    uid: int
    gid: int
    comm: str
    cgroup: int
    redirected: bool
    """Was it turned to us? Else it came by itself."""
    wanted: tuple[str, int]
    """Where it wanted to go."""
    owner: Owner | None = None
    pod: Pod | None = None
    beside_us: bool = False
    """Is it in our own cgroup?"""

    @property
    def process(self) -> str | None:
        """What rules may decide by, for no process chooses it: `namespace/pod`, a container's id (12 digits), a systemd
        unit, or the cgroup's path; None where the cgroup is not known."""
        owner = self.owner
        if owner is None:
            return None
        if self.pod:
            return f"{self.pod.namespace}/{self.pod.name}"
        if owner.container:
            return owner.container[:12]
        return owner.unit or owner.path

    @property
    def text(self) -> str:
        """For the audit: `curl[4711] in nginx.service`."""
        return f"{self.comm}[{self.pid}] in {self.process or f'cgroup {self.cgroup}'}"

    @property
    def on_host(self) -> bool:
        """Does its uid mean what it does on this machine? In a container it may be anybody's."""
        return self.owner is not None and not self.owner.container and not self.owner.pod


class Kernel:
    """Asks for callers, and knows their cgroups and pods."""

    def __init__(self, pods: Path | None = None, tree: Tree | None = None) -> None:
        self._tree, self._pods = tree or Tree(), Pods(pods)

    def caller(self, sock: Any) -> Caller | None:
        """Who is at the other end of an accepted socket; None where the kernel does not tell."""
        if sys.platform != "linux":
            return None
        try:
            raw = sock.getsockopt(LEVEL, OPTION, _RECORD.size)
        except (OSError, AttributeError):
            return None
        return self.read(raw)

    def read(self, raw: bytes) -> Caller | None:
        """The answer's bytes as a caller; None where they are no record."""
        if len(raw) != _RECORD.size:
            return None
        size, flags, address, port, _, _, _, pid, uid, gid, cgroup, _, comm = _RECORD.unpack(raw)
        if size != _RECORD.size:
            return None  # programs of another version
        owner = self._tree.owner(cgroup, pid)
        pod = self._pods.get(owner.pod) if owner and owner.pod else None
        wanted = (_text(address), int.from_bytes(port, "big"))
        redirected, beside_us = bool(flags & _REDIRECTED), bool(flags & _SAME_CGROUP)
        return Caller(pid, uid, gid, _word(comm), cgroup, redirected, wanted, owner, pod, beside_us)

    def why_not(self, caller: Caller | None, original: tuple[str, int], local: tuple[str, int]) -> str | None:
        """Why a connection to the transparent listener is closed, or None. `original` is where it wanted to go as
        mitmproxy knows it, `local` our end of it."""
        if caller and not caller.redirected:
            return "only redirected connections are taken here"
        if original == local:
            return "it wanted to go to this listener itself"
        return None

    def is_us(self, caller: Caller) -> bool:
        """Is it a connection of our own, turned back to us? Our cgroup should have been left out: as it was not,
        whatever is in it comes back, from this process or from another of ours, in whatever PID namespace."""
        return caller.redirected and caller.beside_us


def user_name(uid: int) -> str:
    """The user's name on this machine, or the number. May ask the network (LDAP): not on the event loop."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _text(raw: bytes) -> str:
    six = ipaddress.IPv6Address(raw)
    return str(six.ipv4_mapped or six)


def _word(raw: bytes) -> str:
    """A name that a process gave itself, fit to be shown."""
    text = raw.partition(b"\0")[0].decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() and letter not in "[]" else "?" for letter in text) or "?"
