"""The proxy's listening sockets: found when we come late. Those opened after us the programs see by themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from loader import syscalls
from loader.settings import Address, Place, Settings

_LISTEN = "0A"


def _sockets(version: int, process: str = "self") -> Iterator[tuple[Address, int, str]]:
    """Address, port and inode of each listening TCP socket of a process' network namespace."""
    table = Path("/proc", process, "net", "tcp6" if version == 6 else "tcp")
    try:
        lines = table.read_text().splitlines()[1:]
    except OSError:
        return  # no IPv6 here, or the process ended
    for line in lines:
        fields = line.split()
        host, _, port = fields[1].partition(":")
        if fields[3] == _LISTEN:
            words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
            yield ip_address(b"".join(words)), int(port, 16), fields[9]


def inode(place: Place, process: str = "self") -> str | None:
    """The inode of the socket that listens there, on that address or on all."""
    for address, port, number in _sockets(place[0].version, process):
        if port == place[1] and (address == place[0] or address.is_unspecified):
            return number
    return None


def holders(number: str) -> Iterator[tuple[int, int]]:
    """The processes that have the socket of this inode, as far as we may see them, and their descriptors there."""
    wanted = f"socket:[{number}]"
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            found = [int(entry.name) for entry in os.scandir(folder) if _target(entry.path) == wanted]
        except OSError:
            continue  # it ended
        if found:
            yield int(folder.parent.name), found[0]


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""  # closed meanwhile


def proxy_pid(settings: Settings) -> int | None:
    """The process that listens where connections are turned to."""
    return next(iter(proxy_pids(settings)), None)


def proxy_pids(settings: Settings) -> list[int]:
    """All that listen there."""
    numbers = [number for place in settings.proxies if (number := inode(place))]
    return list(dict.fromkeys(pid for number in numbers for pid, _ in holders(number) if pid != 1))


def elsewhere(settings: Settings) -> int | None:
    """A process in whose network namespace somebody listens there, where in ours nobody does."""
    seen = {_namespace("self")}
    for pid in (folder.name for folder in Path("/proc").glob("[0-9]*")):
        if (space := _namespace(pid)) in seen:
            continue
        seen.add(space)
        if any(inode(place, pid) for place in settings.proxies):
            return int(pid)
    return None


def _namespace(process: str) -> str:
    return _target(f"/proc/{process}/ns/net")


def put(listen: int, settings: Settings) -> None:
    """Put the sockets that listen now into the map of this descriptor; the kernel takes them out when they close."""
    for key, version in enumerate((4, 6)):
        place = settings.proxy(version)
        number = inode(place) if place else None
        found = next(holders(number), None) if number else None
        if found:
            fd = syscalls.getfd(*found)
            try:
                syscalls.update(listen, key.to_bytes(4, "little"), fd.to_bytes(4, "little"))
            finally:
                os.close(fd)
