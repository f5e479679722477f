"""The proxy's listening sockets: found when we come late. Those opened after us the programs see by themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from loader import syscalls
from loader.settings import Address, Place, Settings

_LISTEN = "0A"


def _sockets(version: int) -> Iterator[tuple[Address, int, str]]:
    """Address, port and inode of each listening TCP socket of our network namespace."""
    table = Path("/proc/self/net/tcp6" if version == 6 else "/proc/self/net/tcp")
    for line in table.read_text().splitlines()[1:] if table.exists() else []:
        fields = line.split()
        host, _, port = fields[1].partition(":")
        if fields[3] == _LISTEN:
            words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
            yield ip_address(b"".join(words)), int(port, 16), fields[9]


def inode(place: Place) -> str | None:
    """The inode of the socket that listens there, on that address or on all."""
    for address, port, number in _sockets(place[0].version):
        if port == place[1] and (address == place[0] or address.is_unspecified):
            return number
    return None


def holder(number: str) -> tuple[int, int] | None:
    """A process that has the socket of this inode, and its descriptor there."""
    wanted = f"socket:[{number}]"
    for folder in Path("/proc").glob("[0-9]*/fd"):
        try:
            for entry in os.scandir(folder):
                if os.readlink(entry.path) == wanted:
                    return int(folder.parent.name), int(entry.name)
        except OSError:
            continue  # it ended
    return None


def proxy_pid(settings: Settings) -> int | None:
    """The process that listens where connections are turned to."""
    for place in settings.proxies:
        if (number := inode(place)) and (found := holder(number)):
            return found[0]
    return None


def put(listen: int, settings: Settings) -> None:
    """Put the sockets that listen now into the map of this descriptor; the kernel takes them out when they close."""
    for key, version in enumerate((4, 6)):
        place = settings.proxy(version)
        number = inode(place) if place else None
        found = holder(number) if number else None
        if found:
            fd = syscalls.getfd(*found)
            try:
                syscalls.update(listen, key.to_bytes(4, "little"), fd.to_bytes(4, "little"))
            finally:
                os.close(fd)
