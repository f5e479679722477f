"""Who shares answers: the attested team, one credential, one attested person; never whoever is unknown."""

from __future__ import annotations

import pytest

from cached import chat
from mitmesh.caching.tenant import tenant_of
from mitmesh.exchange import Exchange, Identity
from mitmesh.store.keys import Hasher

HASH = Hasher(b"k" * 32).hash


def call(source: str = "network", credential: str | None = None, **claims: str) -> Exchange:
    """A call of whom this source says it is."""
    x = chat("hi")
    x.identity, x.credential = Identity(), credential
    x.identity.attest(source, **claims)
    return x


def tenant(x: Exchange, by: str = "team", *, own: bool = False) -> str | None:
    return tenant_of(x, by, HASH, own=own)


@pytest.mark.parametrize("source", ["network", "kubernetes", "jwt", "key", "certificate", "process"])
def test_attested_team_shares(source: str) -> None:
    """Whatever credential, user or tool."""
    one, two = call(source, "sk-1", team="red", user="ann"), call(source, "sk-2", team="red")
    assert tenant(one) == tenant(two) == "team:red"
    assert tenant(call(source, team="blue")) != tenant(two)


@pytest.mark.parametrize("source", ["header", "claimed", "user_agent"])
def test_claimed_team_shares_by_credential(source: str) -> None:
    """A claim alone opens nobody's answers: not without a credential, and not with another's."""
    one, two = call(source, "sk-1", team="red"), call(source, "sk-1", team="red")
    assert tenant(one) == tenant(two) is not None
    others = [call(source, "sk-2", team="red"), call(source, "sk-1", team="blue"), call("network", team="red")]
    assert tenant(one) not in [tenant(other) for other in others]
    assert tenant(call(source, team="red")) is None


def test_credential_alone() -> None:
    """It is a tenant, under a keyed hash."""
    named = tenant(call(credential="sk-1"))
    assert named == tenant(call(credential="sk-1")) != tenant(call(credential="sk-2"))
    assert named and "sk-1" not in named


def test_unknown_callers_never_share() -> None:
    """Not even with themselves."""
    assert tenant(call()) is None
    assert tenant(call("header", user="ann")) is None


@pytest.mark.parametrize("field", ["user", "service_account", "pod", "key"])
def test_attested_person(field: str) -> None:
    """Who has no team is known by what is attested of them: the virtual key's id among it."""
    assert tenant(call("key", **{field: "a"})) == f"{field}:a"
    assert tenant(call("key", **{field: "a"})) != tenant(call("key", **{field: "b"}))


def test_pods_of_one_name_in_two_namespaces() -> None:
    """They are two."""
    one, two = (call("kubernetes", pod="web-0", namespace=name) for name in ("a", "b"))
    assert tenant(one) != tenant(two)


def test_by_namespace() -> None:
    """The rule names what shares."""
    one, two = (call("kubernetes", team=team, namespace="prod") for team in ("red", "blue"))
    assert tenant(one, "namespace") == tenant(two, "namespace") == "namespace:prod"


def test_what_lives_at_the_provider() -> None:
    """Its answer is known to one credential only."""
    one, two = (call(credential=each, team="red") for each in ("sk-1", "sk-2"))
    assert tenant(one, own=True) != tenant(two, own=True)
    assert tenant(one, own=True) != tenant(one)
