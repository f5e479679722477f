"""Who shares a cached answer."""

from __future__ import annotations

from typing import Any

import pytest

from audits import exchange
from mitmesh.caching.tenant import tenant_of
from mitmesh.exchange import Exchange, Identity


def call(credential: str | None = None, *claims: tuple[str, dict[str, str]]) -> Exchange:
    """A call of somebody of whom each source says so much."""
    who = Identity()
    for source, said in claims:
        who.attest(source, **said)
    return exchange(identity=who, credential=credential)


def tenant(x: Exchange, **rest: Any) -> str | None:
    return tenant_of(x, "team", lambda purpose, value: f"h({value})", **rest)


@pytest.mark.parametrize("source", ["kernel", "kubernetes", "certificate", "jwt", "key", "proxy", "network"])
def test_an_attested_team_is_one_tenant(source: str) -> None:
    assert (
        tenant(call("k1", (source, {"team": "blue"}))) == tenant(call("k2", (source, {"team": "blue"}))) == "team:blue"
    )


@pytest.mark.parametrize("source", ["header", "user_agent", "default", "never heard of"])
def test_a_team_that_nothing_attests_is_one_with_its_credential_only(source: str) -> None:
    """A header, the team of the unknown and any source that is not known to attest."""
    said = (source, {"team": "blue"})
    assert len({tenant(call("k1", said)), tenant(call("k2", said)), tenant(call("k1", ("network", said[1])))}) == 3
    assert tenant(call(None, said)) is None


def test_virtual_keys_without_a_team_are_apart() -> None:
    """The credential was taken away by then; the key's id stands for it."""
    one, other = (call(None, ("key", {"key": name})) for name in ("a", "b"))
    assert (tenant(one), tenant(other)) == ("key:a", "key:b")
    assert tenant(call(None, ("header", {"key": "a"}))) is None


def test_what_lives_at_the_provider_is_the_credentials_own() -> None:
    team = ("network", {"team": "blue"})
    found = [tenant(call(None, ("key", {"key": name}), team), own=True) for name in ("a", "b")]
    assert found == ["team:blue key:a", "team:blue key:b"]
    assert tenant(call("k1", team), own=True) == "team:blue credential:h(k1)"


def test_unknown_callers_never_share() -> None:
    """Not even with themselves."""
    assert tenant(call()) is None
    assert tenant(call(None, ("header", {"user": "ann"}))) is None


@pytest.mark.parametrize("field", ["user", "service_account", "pod"])
def test_an_attested_person(field: str) -> None:
    """Who has neither team nor credential is known by what is attested of them."""
    one, other = (tenant(call(None, ("kubernetes", {field: name}))) for name in ("a", "b"))
    assert one == f"{field}:a" != other


def test_pods_of_one_name_in_two_namespaces_are_two() -> None:
    one, two = (call(None, ("kubernetes", {"pod": "web-0", "namespace": name})) for name in ("a", "b"))
    assert tenant(one) != tenant(two)


def test_by_namespace() -> None:
    """The rule names what shares."""
    calls = [call(None, ("kubernetes", {"team": team, "namespace": "prod"})) for team in ("red", "blue")]
    assert {tenant_of(x, "namespace", lambda purpose, value: value) for x in calls} == {"namespace:prod"}
