"""The cgroup v2 tree: where it is, what hangs in it, and whose a cgroup is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from loader import RedirectError
from loader.needs import NO_CGROUP

_ESCAPE = re.compile(r"\\([0-7]{3})")


def root() -> Path:
    """Where cgroup v2 is mounted, alone or beside v1. Raises RedirectError."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(_ESCAPE.sub(lambda found: chr(int(found[1], 8)), where))
    raise RedirectError("no cgroup v2: boot with systemd.unified_cgroup_hierarchy=1, or mount it", NO_CGROUP)


def find(name: str) -> Path:
    """A cgroup by its folder, or by its path in the tree. Raises RedirectError."""
    top = root()
    for path in (Path(name), top / name.lstrip("/")):
        if path.is_dir() and (path == top or top in path.resolve().parents) and (path / "cgroup.procs").exists():
            return path.resolve()
    raise RedirectError(f"there is no cgroup {name} under {top}", NO_CGROUP)


def identity(path: Path) -> int:
    """The kernel's id of a cgroup: its folder's inode number."""
    return path.stat().st_ino


def make(name: str) -> Path:
    """A new cgroup under the root. Raises RedirectError."""
    path = root() / name
    try:
        path.mkdir()
    except OSError as error:
        raise RedirectError(f"cgroup {path} cannot be made: {error.strerror}", NO_CGROUP) from None
    return path


def of(pid: int) -> Path | None:
    """The cgroup of a process; None when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return None
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    return None if path is None else root() / path.lstrip("/")


def processes(path: Path) -> list[int]:
    """The processes of a cgroup, without those of its children."""
    try:
        return [int(line) for line in (path / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def put(path: Path, pid: int) -> None:
    """Move a process there; one that has ended is no error. Raises OSError."""
    try:
        (path / "cgroup.procs").write_text(str(pid))
    except ProcessLookupError:
        pass


def living() -> set[int]:
    """The ids of all there are."""
    found = set()
    for path in walk(root()):
        try:
            found.add(identity(path))
        except OSError:
            continue  # it went meanwhile
    return found


def walk(path: Path) -> Iterator[Path]:
    """A cgroup and all below it. What vanishes meanwhile is left out."""
    for folder, _, _ in os.walk(path):
        yield Path(folder)
