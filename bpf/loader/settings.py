"""What the programs are told: struct config of redirect.c."""

from __future__ import annotations

import argparse
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from loader import RedirectError

_NETNS_COOKIE = 71  # SO_NETNS_COOKIE
_FORMAT = struct.Struct("=QQQ16s16sI2s2s16s16s")
_OWNER = slice(16, 24)
PASS_WHEN_DOWN, HOST_LISTED, HOST_ALL = 1, 2, 4
SIZE = _FORMAT.size
PROXIES = ("127.0.0.1:8443", "[::1]:8443")
OWN = (8080, 8081)
PORTS = 8
"""So many ports fit in a list."""

Address = IPv4Address | IPv6Address
Place = tuple[Address, int]


def packed(address: Address) -> bytes:
    """16 bytes, IPv4 as IPv4-mapped IPv6."""
    return address.packed if address.version == 6 else b"\0" * 10 + b"\xff\xff" + address.packed


def unpacked(raw: bytes) -> Address:
    """The other way round."""
    six = IPv6Address(raw)
    return six.ipv4_mapped or six


def place(text: str) -> Place:
    """`host:port` of an address. Raises RedirectError."""
    host, _, port = text.rpartition(":")
    try:
        found = ip_address(host.strip("[]")), int(port)
    except ValueError:
        found = None
    if found is None or not 0 < found[1] < 65536 or found[0].is_unspecified:
        raise RedirectError(f"{text!r} is no address with a port, such as 127.0.0.1:8443 or [::1]:8443", 2)
    return found


def netns_cookie() -> int:
    """The kernel's name for the network namespace we are in: the proxy's, too."""
    with socket.socket() as probe:
        return int(struct.unpack("=Q", probe.getsockopt(socket.SOL_SOCKET, _NETNS_COOKIE, 8))[0])


@dataclass(frozen=True)
class Settings:
    """`proxies`: where connections are turned to, at most one address of each family. `ports` are redirected,
    `own` the proxy's other ports. `host`: None, "listed" (addresses of LLM hosts) or "all". `netns` is the
    network namespace that the proxy is in, `owner` the number of the attach in force."""

    proxies: tuple[Place, ...]
    ports: tuple[int, ...] = (443,)
    own: tuple[int, ...] = ()
    when_down: str = "refuse"
    host: str | None = None
    netns: int = 0
    owner: int = 0

    def __post_init__(self) -> None:
        families = [address.version for address, _ in self.proxies]
        if not families or len(set(families)) != len(families):
            raise RedirectError("the proxy needs one address, or one of each family", 2)
        for ports in (self.ports, self.own):
            if len(ports) > PORTS or not all(0 < port < 65536 for port in ports):
                raise RedirectError(f"ports are at most {PORTS}, from 1 to 65535", 2)
        if overlap := {port for _, port in self.proxies} & set(self.ports):
            raise RedirectError(f"port {min(overlap)} is the proxy's own; it cannot be redirected", 2)

    def proxy(self, version: int) -> Place | None:
        """Where connections of this family go."""
        return next((place for place in self.proxies if place[0].version == version), None)

    def pack(self, version: int) -> bytes:
        """struct config; `version` is that of redirect.c."""
        targets = [self.proxy(4), self.proxy(6)]
        addresses = [packed(target[0]) if target else bytes(16) for target in targets]
        ports = [_network(target[1]) if target else bytes(2) for target in targets]
        flags = PASS_WHEN_DOWN if self.when_down == "pass" else 0
        flags |= {"listed": HOST_LISTED, "all": HOST_ALL}.get(self.host or "", 0)
        return _FORMAT.pack(
            version, self.netns, self.owner, *addresses, flags, *ports, _list(self.ports), _list(self.own)
        )


def asked(options: argparse.Namespace) -> Settings:
    """The settings that a command line asks for. Raises RedirectError."""
    host = getattr(options, "host", False) and ("all" if options.all_443 else "listed")
    return Settings(
        proxies=tuple(place(text) for text in options.proxy or PROXIES),
        ports=tuple(options.port or (443,)),
        own=tuple(options.own_port or OWN),
        when_down=options.when_down or "refuse",
        host=host or None,
    )


def unpack(raw: bytes) -> tuple[int, Settings]:
    """The version and the settings in struct config. Raises RedirectError where its layout is another's."""
    if len(raw) != _FORMAT.size:
        raise RedirectError("the attached programs are of another version; detach them with their own loader")
    version, netns, owner, four, six, flags, port4, port6, ports, own = _FORMAT.unpack(raw)
    proxies = tuple(
        (unpacked(address), int.from_bytes(port, "big")) for address, port in ((four, port4), (six, port6)) if any(port)
    )
    host = "all" if flags & HOST_ALL else "listed" if flags & HOST_LISTED else None
    when_down = "pass" if flags & PASS_WHEN_DOWN else "refuse"
    return version, Settings(proxies, _ports(ports), _ports(own), when_down, host, netns, owner)


def disowned(raw: bytes) -> bytes:
    """struct config, of whatever version, in force for nobody who follows: these fields stay where they are."""
    return raw[: _OWNER.start] + bytes(8) + raw[_OWNER.stop :]


def show(place: Place) -> str:
    """An address with its port, as people write it."""
    return f"[{place[0]}]:{place[1]}" if place[0].version == 6 else f"{place[0]}:{place[1]}"


def _network(port: int) -> bytes:
    return port.to_bytes(2, "big")


def _list(ports: tuple[int, ...]) -> bytes:
    return b"".join(map(_network, ports)).ljust(2 * PORTS, b"\0")


def _ports(raw: bytes) -> tuple[int, ...]:
    return tuple(port for (port,) in struct.iter_unpack("!H", raw) if port)
