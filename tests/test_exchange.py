"""The Exchange keeps what was decided, in order, and gives nothing away."""

from __future__ import annotations

import dataclasses
from datetime import UTC

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Answer, Call, Operation
from mitmesh.exchange import Action, Exchange, Identity, Mode, Origin, Target, id_at, new_id
from mitmesh.rules import HostRule, Mesh, Rules, TeamRules

RULES = Rules(mesh=Mesh(teams={"research": TeamRules(mode=Mode.OBSERVE)}))
KEY = "sk-canary-1234567890"


def exchange() -> Exchange:
    """A call."""
    return Exchange(
        dialect=DIALECTS["openai_chat"],
        call=Call(Operation.CHAT, "m"),
        host=HostRule(id="h", match=["h"], provider="openai"),
        target=Target("https", "h", 443),
        path=f"/v1/x?key={KEY}",
        headers={"authorization": KEY},
        rules=RULES,
        credential=KEY,
    )


@pytest.mark.parametrize(
    ("team", "mode", "refused"),
    [
        (None, None, True),
        ("blue", None, True),
        ("research", None, False),
        ("research", Mode.ENFORCE, True),
        (None, Mode.OBSERVE, False),
    ],
)
def test_modes(team: str | None, mode: Mode | None, refused: bool) -> None:
    """A refusal holds by the team's mode unless its own is given; one that does not hold is recorded all the same."""
    x = exchange()
    x.identity.team = team
    verdict = x.refuse("quota", "q1", "too much", **({"mode": mode} if mode else {}))
    assert x.verdicts == [verdict]
    assert (x.refusal is verdict) is refused
    assert verdict.policy_version == RULES.version


def test_the_first_refusal_counts() -> None:
    """Of several verdicts the first refusal that is enforced is the one that is told."""
    x = exchange()
    x.decide("scope", Action.WARN, "w", "odd")
    x.refuse("policy", "seen", "observed", mode=Mode.OBSERVE)
    first = x.refuse("guard", "first", "no")
    x.refuse("quota", "second", "no")
    assert x.refusal is first
    assert [verdict.rule_id for verdict in x.verdicts] == ["w", "seen", "first", "second"]


def test_an_answer_of_our_own() -> None:
    """It keeps the answer, who made it, and why."""
    x = exchange()
    x.reply_with("cache", "c", Answer(id="a"), Origin.CACHE, "hit")
    assert x.reply and (x.reply.answer.id, x.reply.origin) == ("a", Origin.CACHE)
    assert (x.verdicts[0].action, x.refusal) == (Action.ANSWER, None)


def test_the_stronger_source_stands() -> None:
    """What was attested first is not overwritten, and each field names its source."""
    who = Identity()
    who.attest("network", team="blue", user=None)
    who.attest("header", team="red", user="ann", tool="")
    assert (who.team, who.user, who.tool) == ("blue", "ann", None)
    assert who.sources == {"team": "network", "user": "header"}


def test_its_repr_holds_no_credential() -> None:
    """An Exchange that is printed by mistake gives away no header and no credential."""
    x = exchange()
    hidden = {field.name for field in dataclasses.fields(x) if not field.repr}
    assert hidden >= {"credential", "headers", "path"}
    assert KEY not in repr(x)


@given(st.integers(min_value=0, max_value=2**48 - 2), st.integers(min_value=0, max_value=2**80 - 1))
def test_ids_sort_by_time(moment: int, random: int) -> None:
    """An id has 26 characters and sorts after every id of an earlier millisecond."""
    number = id_at(moment, random)
    assert len(number) == 26
    assert id_at(moment) <= number < id_at(moment + 1)


def test_new_ids_differ() -> None:
    """No two are alike, and the clock is UTC."""
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids), "within a millisecond too: of two answers to one call the later one is kept"
    assert exchange().started.tzinfo is UTC
