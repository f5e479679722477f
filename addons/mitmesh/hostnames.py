"""Host names and addresses: one spelling for each, and the patterns of the rules that match them."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

type Address = IPv4Address | IPv6Address
type Network = IPv4Network | IPv6Network

_LABEL = r"[a-z0-9_-]{1,63}"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ODD_IPV4 = re.compile(r"[0-9][0-9a-fx.]*")
_WILD = re.compile(rf"(?:\*\*\.)?(?:[a-z0-9_*-]{{1,63}}\.)*{_LABEL}")
_PORT = re.compile(r"[0-9]{1,5}")
_LONGEST = 253


@dataclass(slots=True, frozen=True)
class Host:
    """A host in its one spelling: a name in lower case and A-labels without trailing dot, or an address."""

    name: str
    address: Address | None = None


def parse_host(text: str) -> Host | None:
    """What a resolver would take `text` for, or None for what no resolver takes.

    Case, a trailing dot, brackets, IPv6 zones, full-width letters and IDNA, IPv4 as `127.1`, `0x7f.1` or
    `2130706433`, and IPv4 mapped into IPv6 make no difference.
    """
    return _parse_host(text) if 0 < len(text) <= _LONGEST + 2 else None


@lru_cache(maxsize=4096)
def _parse_host(text: str) -> Host | None:
    if ":" in text or text.startswith("["):
        return _ipv6(text)
    if not text.isascii():
        try:
            text = text.encode("idna").decode("ascii")  # the codec that Python's own getaddrinfo uses
        except UnicodeError:
            return None
    name = text.lower().rstrip(".")
    if len(name) > _LONGEST or not _NAME.fullmatch(name):
        return None
    if _ODD_IPV4.fullmatch(name):
        try:
            address = IPv4Address(socket.inet_aton(name))  # no look-up; reads the odd spellings as resolvers do
            return Host(str(address), address)
        except OSError:
            pass  # digits and dots that are a name after all
    return Host(name)


def _ipv6(text: str) -> Host | None:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        address = plain(IPv6Address(text.partition("%")[0]))
    except ValueError:
        return None
    return Host(str(address), address)


def plain(address: Address) -> Address:
    """An IPv4 address that is mapped into IPv6 as what it is; any other as it is."""
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """The address that `text` spells in full (a socket's peer), or None."""
    try:
        return plain(ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def split_port(text: str) -> tuple[str, int | None]:
    """`host`, `host:port`, `[v6]:port` or bare IPv6 as host and port; ValueError for a port that is none."""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("an address in brackets is followed by nothing or by `:port`")
        return host[1:], _port(rest[1:]) if rest else None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, _port(port)
    return text, None


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 0 < int(text) < 65536:
        raise ValueError("a port is a number from 1 to 65535")
    return int(text)


@dataclass(slots=True, frozen=True)
class Pattern:
    """What a rule says of hosts. Exactly one of `name`, `regex` and `network` is set; `suffix` is the literal end of
    what `regex` matches, for an index. `port` None is any."""

    port: int | None
    name: str | None = None
    regex: re.Pattern[str] | None = None
    suffix: str = ""
    network: Network | None = None

    def matches(self, host: Host, port: int) -> bool:
        """Is this host and port meant? Anchored at both ends."""
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return host.address is not None and host.address in self.network
        if self.regex is not None:
            return host.address is None and self.regex.fullmatch(host.name) is not None
        return host.name == self.name


def parse_pattern(text: str) -> Pattern:
    """A pattern of rules/hosts.yaml; ValueError says what is wrong with it.

    `*` stands for one label, or within a label for any part of it; a leading `**.` for any number of labels, none
    included. Addresses and CIDR ranges stand for themselves. Each may be followed by `:port`.
    """
    text = text.strip()
    body, port = split_port(text)
    if "/" in body or ":" in body:
        return Pattern(port, network=parse_network(body))
    if "*" not in body:
        host = parse_host(body)
        if host is None:
            raise ValueError("must be a host name, an address or a CIDR range, without scheme and path")
        if host.address is not None:
            return Pattern(port, network=ip_network(host.address))
        return Pattern(port, name=host.name)
    name = body.lower().rstrip(".")
    if not _WILD.fullmatch(name) or "**" in name.removeprefix("**."):
        raise ValueError("must end in a literal label; `*` stands within a label, `**.` only at the beginning")
    labels = name.removeprefix("**.").split(".")
    literal = len(labels)
    while literal and "*" not in labels[literal - 1]:
        literal -= 1
    regex = r"\.".join(_label(label) for label in labels)
    if name.startswith("**."):
        regex = rf"(?:{_LABEL}\.)*{regex}"
    return Pattern(port, regex=re.compile(regex), suffix=".".join(labels[literal:]))


def _label(label: str) -> str:
    return _LABEL if label == "*" else re.escape(label).replace(r"\*", "[a-z0-9_-]*")


def parse_network(text: str) -> Network:
    """A CIDR range or a single address; ValueError says what is wrong with it."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        wide = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("must be an address or a CIDR range such as 10.0.0.0/8") from None
    raise ValueError(f"has bits set behind its prefix; the range is written {wide}")
