"""bpf(2) and pidfd_getfd(2), as far as they are needed here. All raise OSError.

Not bcc: it has none of this, and what is loaded must be seen and undone on a machine without it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator
from typing import NamedTuple

_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}
_PIDFD_GETFD = 438

_LOOKUP, _UPDATE, _DELETE, _NEXT_KEY, _ATTACH, _DETACH = 1, 2, 3, 4, 8, 9
_NEXT_PROGRAM, _PROGRAM_FD, _MAP_FD, _INFO, _QUERY = 11, 13, 14, 15, 16

ALLOW_MULTI, REPLACE = 2, 4

_libc = ctypes.CDLL(None, use_errno=True)


class ProgramInfo(NamedTuple):
    """What the kernel says of a loaded program."""

    id: int
    type: int
    name: str
    maps: tuple[int, ...]


class MapInfo(NamedTuple):
    """What the kernel says of a map."""

    id: int
    type: int
    name: str
    key_size: int
    value_size: int
    entries: int


def _call(number: int, *arguments: int | ctypes.Array[ctypes.c_char] | None) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """The result, and the attributes as the kernel left them."""
    number = _BPF.get(platform.machine())
    if number is None:
        raise OSError(38, f"bpf(2) is not known on {platform.machine()}")
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    result = _call(number, command, buffer, 128)
    return result, buffer.raw


def _pointer(buffer: ctypes.Array[ctypes.c_char]) -> int:
    return ctypes.addressof(buffer)


def getfd(pid: int, fd: int) -> int:
    """A descriptor of our own for another process' descriptor."""
    pidfd = os.pidfd_open(pid)
    try:
        return _call(_PIDFD_GETFD, pidfd, fd, 0)
    finally:
        os.close(pidfd)


# --- programs ---


def program_ids() -> Iterator[int]:
    """The ids of all programs in the kernel."""
    last = 0
    while True:
        try:
            _, out = _bpf(_NEXT_PROGRAM, struct.pack("=I", last))
        except FileNotFoundError:
            return
        last = struct.unpack_from("=I", out, 4)[0]
        yield last


def program_fd(identity: int) -> int:
    """A descriptor of a program."""
    return _bpf(_PROGRAM_FD, struct.pack("=I", identity))[0]


def program_info(fd: int) -> ProgramInfo:
    """Of a program's descriptor."""
    maps = ctypes.create_string_buffer(4 * 64)
    info = ctypes.create_string_buffer(256)
    struct.pack_into("=IQ", info, 52, 64, _pointer(maps))  # nr_map_ids, map_ids
    _bpf(_INFO, struct.pack("=IIQ", fd, 256, _pointer(info)))
    kind, number = struct.unpack_from("=II", info, 0)
    count = struct.unpack_from("=I", info, 52)[0]
    name = info.raw[64:80].partition(b"\0")[0].decode("ascii", "replace")
    return ProgramInfo(number, kind, name, struct.unpack_from(f"={count}I", maps, 0))


def attached(cgroup: int, hook: int) -> list[int]:
    """The ids of the programs that hang on a cgroup (its descriptor) at a hook, in their order."""
    ids = ctypes.create_string_buffer(4 * 128)
    _, out = _bpf(_QUERY, struct.pack("=IIIIQI", cgroup, hook, 0, 0, _pointer(ids), 128))
    count = struct.unpack_from("=I", out, 24)[0]
    return list(struct.unpack_from(f"={count}I", ids, 0))


def attach(cgroup: int, hook: int, program: int, instead_of: int | None = None) -> None:
    """Hang a program on a cgroup beside what is there, or in one step in the place of another (both descriptors)."""
    flags = ALLOW_MULTI | (REPLACE if instead_of is not None else 0)
    _bpf(_ATTACH, struct.pack("=IIIII", cgroup, program, hook, flags, instead_of or 0))


def detach(cgroup: int, hook: int, program: int) -> None:
    """Take one program off a cgroup."""
    _bpf(_DETACH, struct.pack("=III", cgroup, program, hook))


# --- maps ---


def map_fd(identity: int) -> int:
    """A descriptor of a map."""
    return _bpf(_MAP_FD, struct.pack("=I", identity))[0]


def map_info(fd: int) -> MapInfo:
    """Of a map's descriptor."""
    info = ctypes.create_string_buffer(128)
    _bpf(_INFO, struct.pack("=IIQ", fd, 128, _pointer(info)))
    kind, number, key, value, entries = struct.unpack_from("=IIIII", info, 0)
    name = info.raw[24:40].partition(b"\0")[0].decode("ascii", "replace")
    return MapInfo(number, kind, name, key, value, entries)


def lookup(fd: int, key: bytes, value_size: int) -> bytes | None:
    """The value under a key, or None."""
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value_size)
    try:
        _bpf(_LOOKUP, struct.pack("=IIQQQ", fd, 0, _pointer(k), _pointer(v), 0))
    except FileNotFoundError:
        return None
    return v.raw


def update(fd: int, key: bytes, value: bytes) -> None:
    """Set the value under a key."""
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    _bpf(_UPDATE, struct.pack("=IIQQQ", fd, 0, _pointer(k), _pointer(v), 0))


def delete(fd: int, key: bytes) -> bool:
    """Remove a key; was it there?"""
    k = ctypes.create_string_buffer(key, len(key))
    try:
        _bpf(_DELETE, struct.pack("=IIQ", fd, 0, _pointer(k)))
    except FileNotFoundError:
        return False
    return True


def keys(fd: int, key_size: int) -> list[bytes]:
    """All keys there are now; while others write, some may be missed."""
    found: list[bytes] = []
    out = ctypes.create_string_buffer(key_size)
    key = None
    while len(found) < 1_000_000:
        try:
            _bpf(_NEXT_KEY, struct.pack("=IIQQ", fd, 0, _pointer(key) if key else 0, _pointer(out)))
        except FileNotFoundError:
            break
        found.append(out.raw)
        key = ctypes.create_string_buffer(out.raw, key_size)
    return found
