"""Who is behind an address, by rules/identities.yaml."""

from __future__ import annotations

from functools import lru_cache

from mitmesh.hostnames import Address, parse_address, parse_network, plain
from mitmesh.rules import Identities, NetworkIdentity, Rules

_NOBODY = NetworkIdentity(network="0.0.0.0/0")


class Networks:
    """The ranges of rules/identities.yaml, made ready for look-ups by address."""

    def __init__(self, identities: Identities) -> None:
        self._known = [(parse_network(entry.network), entry) for entry in identities.networks]
        self._trusted = [parse_network(text) for text in identities.trust_headers_from]
        self.find = lru_cache(maxsize=4096)(self._find)
        """(Who is behind an address: the first range that holds it, or an entry that says nothing; may its claims in
        headers be believed)"""

    def _find(self, client: str) -> tuple[NetworkIdentity, bool]:
        address: Address | None = parse_address(client)
        if address is None:
            return _NOBODY, False
        address = plain(address)
        entry = next((entry for network, entry in self._known if address in network), _NOBODY)
        return entry, any(address in network for network in self._trusted)


@lru_cache(maxsize=2)
def networks(rules: Rules) -> Networks:
    """The ranges of a snapshot, made ready once. (Two, because a reload briefly has an old and a new one.)"""
    return Networks(rules.identities)


def team_of(client: str, rules: Rules) -> str | None:
    """The team behind a client's IP address, as far as known when its connection opens."""
    return networks(rules).find(client)[0].team
