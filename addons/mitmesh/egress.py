"""Destinations that the forward proxy refuses: loopback is not a boundary, and neither is link-local."""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network

from mitmesh.hostnames import Address, Host, parse_host, split_port

_LOOPBACK = "localhost"
"""How this machine's loopback is called here: one key for 127.0.0.1, ::1, 0.0.0.0, :: and localhost."""

_EMBEDDING = (ip_network("::/96"), ip_network("64:ff9b::/96"))
"""IPv6 ranges whose last 32 bits are an IPv4 address: deprecated IPv4-compatible, and NAT64 (RFC 6052)."""

_METADATA = (IPv6Address("fd00:ec2::254"), IPv4Address("100.100.100.200"))
"""Cloud metadata services that are not link-local: AWS over IPv6, Alibaba Cloud."""


def egress_refused(
    host: str,
    port: int,
    *,
    own_ports: Collection[int] = (),
    own_addresses: Collection[str] = (),
    allow: Collection[str] = (),
    listed: bool = False,
) -> str | None:
    """Why the proxy does not connect there, or None where it may.

    `allow` is rules/egress.yaml's list; `listed` says that rules/hosts.yaml has an entry for this host and port;
    `own_ports` are the ports this process listens on, `own_addresses` the machine's addresses besides loopback. Call
    it with the name a client asks for, and again with the address that the name resolved to: names lie.
    """
    parsed = parse_host(host)
    if parsed is None:
        return "is no host name or address"
    key, why = _place(parsed)
    if key in own_addresses and port in own_ports:
        why = "is one of mitmesh's own ports"
    if why is None or any(_allows(entry, key, port) for entry in allow):
        return None
    if key == _LOOPBACK and port in own_ports:
        return "is one of mitmesh's own ports"  # not even a host rule opens these
    return None if listed else why


def _place(host: Host) -> tuple[str, str | None]:
    """The key under which a destination is compared, and why it is refused, if it is."""
    if host.address is None:
        local = host.name == _LOOPBACK or host.name.endswith(".localhost")
        return (_LOOPBACK, "is this machine's loopback") if local else (host.name, None)
    address = _embedded(host.address)
    if address.is_unspecified or str(address) in ("127.0.0.1", "::1"):
        return _LOOPBACK, "is this machine's loopback"
    if address.is_loopback or (address.version == 4 and address.packed[0] == 0):
        return str(address), "is this machine's loopback"
    if address.is_link_local or address in _METADATA:
        return str(address), "is link-local (cloud metadata)"
    return str(address), None


def _embedded(address: Address) -> Address:
    # `::` and `::1` lie in the first range too, but are no IPv4 addresses.
    if isinstance(address, IPv6Address) and int(address) > 0xFFFF and any(address in net for net in _EMBEDDING):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


@lru_cache(maxsize=256)
def parse_allow(entry: str) -> tuple[str, int | None]:
    """An entry of rules/egress.yaml as key and port (`*`: None, any); ValueError says what is wrong with it."""
    if entry.endswith(":*"):
        text, port = entry.removesuffix(":*").strip("[]"), None
    else:
        text, port = split_port(entry)
        if port is None:
            raise ValueError("must be `host:port`, or `host:*` for every port")
    host = parse_host(text)
    if host is None:
        raise ValueError("must be `host:port` with a host name or an address")
    return _place(host)[0], port


def _allows(entry: str, key: str, port: int) -> bool:
    allowed, allowed_port = parse_allow(entry)
    return allowed == key and allowed_port in (None, port)
