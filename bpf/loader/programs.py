"""The programs of redirect.c: compiled, hung on the root of the cgroup tree, found again, and taken away.

What hangs there outlives us. So a loader always begins with what it finds: programs of its own version it only tells
what to do, those of another it replaces hook by hook, in one step each, with programs on the very same maps: a
connection that is on its way belongs to both.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loader import RedirectError, cgroups, needs, syscalls

SOURCE = Path(__file__).resolve().parents[1] / "redirect.c"
LOCK = Path("/run/mitmesh-redirect.lock")
SETTLE = 0.05
"""Seconds that connections on their way have to be accepted before their records go."""

HOOKS = {
    # in the order of attaching: nothing is turned away before the proxy can ask where it wanted to go
    "mitmesh_getopt": (25, 21),
    "mitmesh_sockops": (13, 3),
    "mitmesh_udp4": (18, 14),
    "mitmesh_udp6": (18, 15),
    "mitmesh_conn4": (18, 10),
    "mitmesh_conn6": (18, 11),
}
"""Name: program type, hook (bpf_attach_type)."""

MAPS = ("config", "counts", "opening", "flows", "chosen", "exempt", "listed", "listen")
_PREFIX = "mitmesh_"


@dataclass
class Loaded:
    """Descriptors of our programs by name, several where doubles were found, and of their maps."""

    programs: dict[str, list[int]] = field(default_factory=dict)
    maps: dict[str, int] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Does one program hang on every hook, and are all maps there?"""
        return all(len(self.programs.get(name, ())) == 1 for name in HOOKS) and set(self.maps) == set(MAPS)


def check() -> None:
    """Raises RedirectError where programs cannot be attached."""
    needs.check_rights()
    needs.check_kernel()
    cgroups.root()


@contextmanager
def alone() -> Iterator[None]:
    """One loader at a time changes what hangs there."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def top() -> Iterator[int]:
    """A descriptor of the root of the cgroup tree."""
    fd = os.open(cgroups.root(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


def version(source: bytes | None = None) -> int:
    """That of redirect.c."""
    return int.from_bytes(hashlib.sha256(source or SOURCE.read_bytes()).digest()[:8], "little")


def find() -> Loaded:
    """What of ours hangs on the root, whoever hung it there."""
    found = Loaded()
    with top() as root:
        for name, (_, hook) in HOOKS.items():
            for identity in syscalls.attached(root, hook):
                fd = syscalls.program_fd(identity)
                info = syscalls.program_info(fd)
                maps = {each.name: each.id for each in map(_map_of, info.maps)} if info.name == name else {}
                if not maps or not all(each.startswith(_PREFIX) for each in maps):
                    os.close(fd)
                    continue
                found.programs.setdefault(name, []).append(fd)
                for each in MAPS:
                    identity_of_map = maps.get(f"{_PREFIX}{each}"[:15])
                    if each not in found.maps and identity_of_map is not None:
                        found.maps[each] = syscalls.map_fd(identity_of_map)
    return found


def load(before: Loaded, cflags: tuple[str, ...] = ()) -> Loaded:
    """Compile redirect.c and load its programs, on the maps of those before where they fit. Raises RedirectError."""
    needs.check_compiler()
    flags = ["-w", *cflags] + (["-DSET_RETVAL"] if needs.kernel() >= needs.RETVAL else [])
    with _quiet() as said:
        try:
            return _load(before, flags)
        except Exception as error:  # noqa: BLE001 # bcc raises plain Exception
            reason = said() or str(error)
            raise RedirectError(f"the kernel or the compiler refused redirect.c: {reason}", needs.REFUSED) from None


def _load(before: Loaded, flags: list[str]) -> Loaded:
    import bcc

    module = bcc.BPF(text=SOURCE.read_text(), cflags=flags)
    maps = {name: int(bcc.lib.bpf_table_fd(module.module, f"{_PREFIX}{name}".encode())) for name in MAPS}
    shared = {maps[name]: fd for name, fd in before.maps.items() if _same(fd, maps[name])}
    loaded = Loaded()
    for name, (kind, hook) in HOOKS.items():
        _rebind(bcc.lib, module.module, name.encode(), shared)
        function = module.load_func(name.encode(), kind, attach_type=hook)
        loaded.programs[name] = [os.dup(function.fd)]
    loaded.maps = {name: os.dup(shared.get(fd, fd)) for name, fd in maps.items()}
    module.cleanup()
    return loaded


def _same(one: int, other: int) -> bool:
    return syscalls.map_info(one)[1:] == syscalls.map_info(other)[1:]


def _rebind(lib: Any, module: Any, name: bytes, maps: dict[int, int]) -> None:
    """Let a compiled function use other maps: in each 16-byte load of a map's descriptor, put the other."""
    start, size = lib.bpf_function_start(module, name), lib.bpf_function_size(module, name)
    code = (ctypes.c_char * size).from_address(start)
    for at in range(0, size - 8, 8):
        if code.raw[at] == 0x18 and code.raw[at + 1] >> 4 == 1:  # BPF_LD | BPF_DW | BPF_IMM, BPF_PSEUDO_MAP_FD
            fd = int.from_bytes(code.raw[at + 4 : at + 8], "little")
            code[at + 4 : at + 8] = maps.get(fd, fd).to_bytes(4, "little")


def attach(new: Loaded, before: Loaded) -> None:
    """Hang programs on every hook, in the place of those before where there are some. Raises RedirectError."""
    with top() as root:
        for name, (_, hook) in HOOKS.items():
            old = before.programs.get(name, [])
            try:
                syscalls.attach(root, hook, new.programs[name][0], old[0] if old else None)
            except OSError as error:
                raise RedirectError(f"{name} cannot be attached: {error.strerror}", needs.REFUSED) from None
            for double in old[1:]:
                syscalls.detach(root, hook, double)


def detach(found: Loaded) -> None:
    """Take all of ours off the root, what turns connections away first; the maps go with the last of them."""
    with top() as root:
        for name in reversed(HOOKS):
            if name == "mitmesh_sockops" and found.programs.get(name):
                time.sleep(SETTLE)
            for program in found.programs.get(name, ()):
                syscalls.detach(root, HOOKS[name][1], program)
    close(found)


def close(loaded: Loaded) -> None:
    """Let go of the descriptors."""
    for fd in [*(fd for fds in loaded.programs.values() for fd in fds), *loaded.maps.values()]:
        os.close(fd)
    loaded.programs, loaded.maps = {}, {}


def _map_of(identity: int) -> syscalls.MapInfo:
    fd = syscalls.map_fd(identity)
    try:
        return syscalls.map_info(fd)
    finally:
        os.close(fd)


@contextmanager
def _quiet() -> Iterator[Any]:
    """What clang and the verifier write to our stderr is kept; the call yielded gives its telling line."""
    with tempfile.TemporaryFile() as kept:
        real = os.dup(2)
        sys.stderr.flush()
        os.dup2(kept.fileno(), 2)

        def said() -> str:
            kept.seek(0)
            lines = [line.strip() for line in kept.read().decode("utf-8", "replace").splitlines() if line.strip()]
            telling = [line for line in lines if "error" in line or "invalid" in line or "R1 " in line]
            return (telling or lines or [""])[-1][:300]

        try:
            yield said
        finally:
            os.dup2(real, 2)
            os.close(real)
