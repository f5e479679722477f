"""Whose a cgroup is: systemd unit, container, pod. Read from names in the tree, which everybody may read.

Only what the system itself placed is believed. Below a user's own slice anyone can make cgroups of any name, so there
the unit is the user's service manager, and no container or pod is seen. The names are those that containerd, CRI-O,
Docker and Podman give, with systemd's driver and with their own.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

_POD = re.compile(r"(?:kubepods(?:-[a-z]+)?-)?pod([0-9a-f]{8}[-_0-9a-f]{24,36})(?:\.slice)?")
_CONTAINER = re.compile(r"(?:(?:cri-containerd|crio|docker|libpod)-)?([0-9a-f]{64})(?:\.scope)?")
_UNIT = re.compile(r"[^/]+\.(?:service|scope)")
_KUBERNETES = ("kubepods.slice", "kubepods")
_CONTAINERS = (*_KUBERNETES, "system.slice", "machine.slice", "docker")
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(slots=True, frozen=True)
class Owner:
    """Whose a cgroup is; `path` begins with `/`, `pod` is the uid, `container` the 64 digits."""

    path: str
    unit: str | None = None
    container: str | None = None
    pod: str | None = None


def owner_of(path: str) -> Owner:
    """Read a cgroup's path."""
    parts = path.strip("/").split("/")
    pod = container = None
    if parts[0] in _KUBERNETES:
        pod = next((found[1].replace("_", "-") for part in parts if (found := _POD.fullmatch(part))), None)
    if parts[0] in _CONTAINERS:
        container = next((found[1] for part in parts if (found := _CONTAINER.fullmatch(part))), None)
    unit = None if container else next((part for part in parts if _UNIT.fullmatch(part)), None)
    return Owner(path, unit, container, pod)


class Tree:
    """The cgroup v2 tree as seen from here, by the kernel's ids, which are the inode numbers of its folders."""

    MOST = 4096

    def __init__(self, root: Path | None = None, proc: Path = Path("/proc")) -> None:
        self._root, self._proc = root or _mounted(proc), proc
        self._known: OrderedDict[int, Owner | None] = OrderedDict()

    def owner(self, cgroup: int, pid: int) -> Owner | None:
        """Whose the cgroup of this id is, which this process was in; None where it is gone, or not seen from here."""
        if cgroup in self._known:
            self._known.move_to_end(cgroup)
            return self._known[cgroup]
        path = self._of(cgroup, pid) or self._search(cgroup)
        found = self._known[cgroup] = owner_of(path) if path is not None else None
        if len(self._known) > self.MOST:
            self._known.popitem(last=False)
        return found

    def _of(self, cgroup: int, pid: int) -> str | None:
        """The path that the process says it is in, if that has this id: it may have moved, or be another by now."""
        if self._root is None:
            return None
        try:
            for line in (self._proc / str(pid) / "cgroup").read_text().splitlines():
                if line.startswith("0::/") and os.stat(f"{self._root}{line[3:]}").st_ino == cgroup:
                    return line[3:]
        except OSError:
            pass  # it has ended
        return None

    def _search(self, cgroup: int) -> str | None:
        for folder, _, _ in os.walk(self._root) if self._root else ():
            try:
                if os.stat(folder).st_ino == cgroup:
                    return "/" + os.path.relpath(folder, self._root).removeprefix(".")
            except OSError:
                continue
        return None


def _mounted(proc: Path) -> Path | None:
    """Where cgroup v2 is mounted, alone or beside v1."""
    try:
        mounts = (proc / "self" / "mounts").read_text().splitlines()
    except OSError:
        return None  # no Linux
    for line in mounts:
        _, where, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(_ESCAPE.sub(lambda found: chr(int(found[1], 8)), where))
    return None
