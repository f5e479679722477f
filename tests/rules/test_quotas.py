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
        ("limits: [{id: a, unit: tokens, limit: -5, per: day}]", r"limits\[0\].limit: must not be negative"),
        ("limits: [{id: a, unit: dollars, limit: -0.5, per: day}]", r"limits\[0\].limit: must not be negative"),
        ("limits: [{id: a, unit: tokens, limit: 2M, per: day}]", r"limits\[0\].limit: must be a plain number"),
        ("limits: [{id: a, unit: tokens, limit: 5, per: day, billing: []}]", r"limits\[0\].billing: must not be empty"),
        ("limits: [{id: a, unit: requests, limit: 5, per: day, output_cap: 7}]", r"limits\[0\]: .output_cap. is for"),
        ("limits: [{id: a, unit: concurrent, limit: 5, output_cap: 7}]", r"limits\[0\]: .output_cap. is for"),
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
        (
            "limits: [{id: a, unit: tokens, limit: 5, per: day, warn_at: 101}]",
            r"limits\[0\]: .warn_at. must not be above",
        ),
        (
            "limits: [{id: a, unit: tokens, limit: 5, per: day, team: '*'}]",
            r"limits\[0\]: .team. takes a name or .each.",
        ),
        ("loops: {warn: 9, stop: 3}", "loops: .warn. must not be above .stop."),
        ("batches: maybe", "batches: must be one of charge, refuse or free"),
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


@pytest.mark.parametrize(
    ("spec", "warn", "stop", "message"),
    [
        ("a=5,a=6", 80, 100, "a team has one limit; there are two for 'a'"),
        ("a=5, a =6", 80, 100, "there are two for 'a'"),
        ("a=5,b=6", 0, 100, "--warn-at must be greater than or equal to 1"),
        ("a=5", 80, 5000, "--hard-stop-at must be less than or equal to 1000"),
        ("a=5", 90, 80, "--warn-at and --hard-stop-at: `warn_at` must not be above"),
        ("a=99999999999999", 80, 100, "must be a whole number below 1,000,000,000,000"),
        (f"{'x' * 500}=5", 80, 100, "a team's name "),
    ],
)
def test_flags_that_are_no_limit(spec: str, warn: int, stop: int, message: str) -> None:
    """Which flag, and what it must be; never pydantic's own heading."""
    with pytest.raises(ValueError) as raised:
        team_limits(Quotas(), spec, warn, stop)
    assert message in str(raised.value) and "validation error" not in str(raised.value)


def test_a_flag_beside_a_rule_of_its_name() -> None:
    """A team's limit from a flag and one of the same id in the file would be one count."""
    rules = Quotas(limits=[Limit(id="team-limit:a", unit="requests", limit="5", per="day", team="a")])
    with pytest.raises(ValueError, match="there are two for 'a'"):
        team_limits(rules, "a=5", 80, 100)


@pytest.mark.parametrize(("stop", "warning"), [(200, 80), (100, 80), (99, 79), (50, 40), (30, 24), (1, 1)])
def test_a_stop_below_the_usual_warning(stop: int, warning: int) -> None:
    """Whoever sets the stop alone is warned before it, and need not set the warning; in the file and by flag."""
    flag = team_limits(Quotas(), "a=5", 80, stop).limits[0]
    assert (flag.hard_stop_at, flag.warn_at) == (stop, warning)
    assert Limit(id="a", unit="tokens", limit="5", per="day", hard_stop_at=stop).warn_at == warning
