from __future__ import annotations

import pytest

from mitmesh.identities import Networks, team_of
from mitmesh.rules import Identities, NetworkIdentity, Rules

IDENTITIES = Identities(
    networks=[
        NetworkIdentity(network="10.1.0.0/16", team="build", namespace="ci"),
        NetworkIdentity(network="10.0.0.0/8", team="office"),
        NetworkIdentity(network="fd00::/8", team="six"),
    ],
    trust_headers_from=["10.1.0.9", "fd00::/16"],
)


@pytest.mark.parametrize(
    ("client", "team", "trusted"),
    [
        ("10.1.2.3", "build", False),
        ("10.2.2.3", "office", False),
        ("::ffff:10.1.2.3", "build", False),
        ("10.1.0.9", "build", True),
        ("::ffff:10.1.0.9", "build", True),
        ("fd00::5", "six", True),
        ("fdff::5", "six", False),
        ("192.168.0.1", None, False),
        ("", None, False),
        ("not an address", None, False),
    ],
)
def test_networks(client: str, team: str | None, trusted: bool) -> None:
    """The first range that holds an address says who is behind it; trust is a list of its own."""
    entry, believed = Networks(IDENTITIES).find(client)
    assert (entry.team, believed) == (team, trusted)


def test_team_of_follows_the_snapshot() -> None:
    """The team is that of the rules given, not of those before."""
    assert team_of("10.1.2.3", Rules(identities=IDENTITIES)) == "build"
    assert team_of("10.1.2.3", Rules()) is None
