"""What a CA may sign for: the hosts of rules/hosts.yaml as X.509 name constraints, and the other way round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from cryptography import x509

from mitmesh.exchange import Mode
from mitmesh.hostnames import Network, Pattern, parse_host, parse_pattern
from mitmesh.rules import HostRule, Rules


@dataclass(frozen=True, slots=True)
class Names:
    """A DNS name stands for itself and all below it (RFC 5280, section 4.2.1.10); the empty one is any."""

    dns: tuple[str, ...]
    networks: tuple[Network, ...]
    not_dns: tuple[str, ...] = ()
    not_networks: tuple[Network, ...] = ()

    def permits(self, name: str) -> bool:
        """May a certificate have this host name or address?"""
        host = parse_host(name)
        if host is None:
            return False
        return self._network(ip_network(host.address)) if host.address is not None else self._dns(host.name)

    def covers(self, pattern: Pattern) -> bool:
        """May a certificate have whatever name this pattern matches?"""
        if pattern.network is not None:
            return self._network(pattern.network)
        return self._dns(pattern.name or pattern.suffix)

    def _dns(self, name: str) -> bool:
        return any(_below(name, base) for base in self.dns) and not any(_below(name, base) for base in self.not_dns)

    def _network(self, network: Network) -> bool:
        if any(_inside(network, other) for other in self.not_networks):
            return False
        return any(_inside(network, other) for other in self.networks)

    def extension(self) -> x509.NameConstraints | None:
        """The constraints as a certificate carries them; None where there is nothing to constrain."""
        if self == EVERYTHING:
            return None
        permitted = [x509.DNSName(name) for name in self.dns] + [x509.IPAddress(each) for each in self.networks]
        return x509.NameConstraints(permitted, None)


EVERYTHING = Names(("",), (ip_network("0.0.0.0/0"), ip_network("::/0")))
HERE = ("localhost", "127.0.0.0/8", "::1")
"""Always permitted, so that a model server on this very machine can be added at any time. Both address families are
named, for a family that is not would be free."""


def wanted(rules: Rules) -> Names:
    """The names that a CA for these rules needs, each once, without those that another one covers."""
    patterns = [parse_pattern(text) for text in HERE]
    patterns += [pattern for _, _, pattern in _decrypted(rules, lambda rule: True)]
    dns = {pattern.name or pattern.suffix for pattern in patterns if pattern.network is None}
    networks = {pattern.network for pattern in patterns if pattern.network is not None}
    return Names(
        tuple(sorted(name for name in dns if not any(_below(name, other) for other in dns - {name}))),
        tuple(sorted((n for n in networks if not any(_inside(n, other) for other in networks - {n})), key=str)),
    )


def outside(rules: Rules, covers: Callable[[Pattern], bool]) -> tuple[HostRule, str] | None:
    """The first entry of hosts.yaml, and its pattern, that is decrypted but not covered; None if all are.

    What is blocked is not decrypted, unless that is only observed."""
    modes = {rules.mesh.mode, *(team.mode for team in rules.mesh.teams.values())}

    def counts(rule: HostRule) -> bool:
        return rule.status != "blocked" or Mode.OBSERVE in ({rule.mode} if rule.mode else modes)

    return next(((rule, text) for rule, text, pattern in _decrypted(rules, counts) if not covers(pattern)), None)


def _decrypted(rules: Rules, counts: Callable[[HostRule], bool]) -> Iterator[tuple[HostRule, str, Pattern]]:
    for rule in rules.hosts.hosts:
        if rule.action == "decrypt" and counts(rule):
            for text in rule.match:
                yield rule, text, parse_pattern(text)


def of_certificate(certificate: x509.Certificate) -> Names:
    """What this CA certificate permits by its own constraints; EVERYTHING where it has none."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return EVERYTHING
    dns, networks = _split(found.permitted_subtrees or ())
    not_dns, not_networks = _split(found.excluded_subtrees or ())
    return Names(dns or EVERYTHING.dns, networks or EVERYTHING.networks, not_dns, not_networks)


def _split(names: Iterable[x509.GeneralName]) -> tuple[tuple[str, ...], tuple[Network, ...]]:
    names = list(names)
    dns = [name.value.lower().removeprefix(".") for name in names if isinstance(name, x509.DNSName)]
    return tuple(dns), tuple(ip_network(str(name.value)) for name in names if isinstance(name, x509.IPAddress))


def _below(name: str, base: str) -> bool:
    return not base or name == base or name.endswith("." + base)


def _inside(network: Network, other: Network) -> bool:
    # Of one version, which the type checker cannot see.
    return network.version == other.version and network.subnet_of(other)  # type: ignore[arg-type]
