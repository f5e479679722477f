"""rules/quotas.yaml: what it says, and what is no limit."""

from __future__ import annotations

from pathlib import Path

import pytest

from mitmesh.rules import RulesError, load
from mitmesh.rules.quotas import Limit, Quotas, team_limits

FOLDER = Path(__file__).parents[2] / "rules"


def write(folder: Path, text: str) -> Path:
    rules = folder / "rules"
    rules.mkdir(exist_ok=True)
    (rules / "hosts.yaml").write_text("hosts: []\n")
    (rules / "quotas.yaml").write_text(text)
    return rules


def test_nothing_is_limited_as_shipped(tmp_path: Path) -> None:
    """And every example in it is a limit."""
    text = (FOLDER / "quotas.yaml").read_text()
    assert load(write(tmp_path, text)).quotas == Quotas()
    head, _, examples = text.partition("limits: []\n")
    shown = head + "limits:\n" + "".join(line.removeprefix("# ") + "\n" for line in examples.splitlines())
    limits = load(write(tmp_path, shown)).quotas.limits
    assert [(each.id, each.amount) for each in limits] == [
        ("engineering-month", 2_000_000),
        ("each-user-day", 20_000_000),
        ("opus-burst", 60),
        ("at-once", 50),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limits: [{id: a, unit: tokens, limit: 5, per: day, teem: x}]", r"limits\[0\].teem: unknown field.*team"),
        ("limits: [{id: a, unit: tokens, limit: -5, per: day}]", r"limits\[0\].limit"),
        ("limits: [{id: a, unit: euros, limit: 5, per: day}]", r"limits\[0\].unit: must be one of tokens, dollars"),
        ("limits: [{id: a, unit: tokens, limit: 5, per: year}]", r"limits\[0\].per: must be one of minute"),
        ("limits: [{id: a, unit: tokens, limit: 1.5, per: day}]", r"limits\[0\]: .limit. must be a whole number"),
        ("limits: [{id: a, unit: dollars, limit: 1.12345678, per: day}]", r"limits\[0\].limit"),
        ("limits: [{id: a, unit: tokens, limit: 5}]", r"limits\[0\]: must have either .per. or .rolling."),
        ("limits: [{id: a, unit: tokens, limit: 5, per: day, rolling: 5h}]", "must have either"),
        ("limits: [{id: a, unit: tokens, limit: 5, rolling: 5s}]", r"limits\[0\].rolling"),
        ("limits: [{id: a, unit: concurrent, limit: 5, per: day}]", "concurrent calls have no window"),
        ("limits: [{id: a, unit: tokens, limit: 5, per: day, unpriced_tokens: 5}]", "unpriced_tokens"),
        ("limits: [{id: a, unit: tokens, limit: 5, per: day, warn_at: 0}]", r"limits\[0\].warn_at"),
        ("limits: [{id: a, unit: tokens, limit: 5, per: day, mode: maybe}]", r"limits\[0\].mode"),
        ("limits: [{unit: tokens, limit: 5, per: day}]", r"limits\[0\].id: is required"),
        ("limits: [{id: a, unit: tokens, per: day}]", r"limits\[0\].limit: is required"),
        (
            "limits: [{id: a, unit: requests, limit: 1, per: day}, {id: a, unit: tokens, limit: 1, per: day}]",
            r"limits\[1\].id: the id 'a' is given twice",
        ),
        ("redis: redis://:secret@host", "redis: must be env:NAME, file:PATH"),
        ("redis_away: pass", "redis_away: must be one of refuse or spend_share"),
        ("loops: {stop: 1}", "loops.stop"),
    ],
)
def test_mistakes_name_file_line_and_field(tmp_path: Path, text: str, message: str) -> None:
    """A limit that cannot hold is one clear line, without what may be secret."""
    with pytest.raises(RulesError, match=r"quotas\.yaml:1: .*" + message) as caught:
        load(write(tmp_path, text))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("unit", "limit", "amount"),
    [
        ("tokens", "2000000", 2_000_000),
        ("dollars", "20", 20_000_000),
        ("dollars", "0.000001", 1),
        ("dollars", "1.1", 1_100_000),
    ],
)
def test_amounts_are_exact(unit: str, limit: str, amount: int) -> None:
    """In micro-dollars, or as they are."""
    assert Limit.model_validate({"id": "a", "unit": unit, "limit": limit, "per": "day"}).amount == amount


def test_team_limits() -> None:
    """AgentMesh's flags: tokens of a calendar month, before the file's own."""
    own = Quotas(limits=[Limit(id="a", unit="requests", limit="1", per="day")])
    made = team_limits(own, "engineering=2000000,ops=5", 70, 90)
    assert [limit.id for limit in made.limits] == ["team-limit:engineering", "team-limit:ops", "a"]
    first = made.limits[0]
    assert (first.team, first.amount, first.per, first.warn_at, first.hard_stop_at) == (
        "engineering",
        2_000_000,
        "month",
        70,
        90,
    )
    assert team_limits(own, "", 80, 100) is own
