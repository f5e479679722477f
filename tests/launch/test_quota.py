"""scripts/quota: what it shows, and what it grants."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from mitmesh.launch import LaunchError, quota
from mitmesh.launch.__main__ import limits, parser
from mitmesh.quotas.in_sqlite import SqliteLedger
from mitmesh.quotas.ledger import Key, Want
from mitmesh.quotas.plan import NOW, quoted
from mitmesh.quotas.windows import window
from mitmesh.rules.quotas import Limit, Quotas

NOON = 1_800_000_000
LIMITS = Quotas(
    limits=[
        Limit(id="team", unit="tokens", limit="2000000", per="month", team="each"),
        Limit(id="usd", unit="dollars", limit="12.50", rolling="5h"),
        Limit(id="now", unit="concurrent", limit="9"),
        Limit(id="pair", unit="requests", limit="9", per="day", user="each", model="gpt-*"),
    ]
)


def told(folder: Path, *words: str, rules: Quotas = LIMITS) -> str:
    """What the command says."""

    async def run() -> str:
        ledger = SqliteLedger(folder, lambda: NOON)
        try:
            return await quota.run(quota.parser().parse_args(words), rules, ledger, NOON)
        finally:
            await ledger.close()

    return asyncio.run(run())


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A folder in which team red used something and runs a call."""

    async def run() -> None:
        ledger = SqliteLedger(tmp_path, lambda: NOON)
        for limit, kind, subject, sunk, rest in (
            (LIMITS.limits[0], "tokens/month", "team=red", 1_000, 34),
            (LIMITS.limits[1], "dollars/5h", "", 2_000_000, 10),
            (LIMITS.limits[2], "concurrent/now", "", 0, 1),
        ):
            at = NOW if limit.unit == "concurrent" else window(limit, NOON)
            want = Want(Key(limit.id, kind, subject), at.slot, at.first, at.last, at.expires, 2**50, sunk, rest)
            await ledger.reserve(f"old-{limit.id}", [want], 60)
            await ledger.settle(f"old-{limit.id}", {want.key.text: sunk})
            await ledger.reserve(f"new-{limit.id}", [want], 60)
        await ledger.close()

    asyncio.run(run())
    return tmp_path


def test_shows_how_full_each_limit_is(used: Path) -> None:
    """Used, reserved, left, of how much, and when it begins anew; unused ones too."""
    lines = [line.split("  ") for line in told(used).splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells == [
        ["limit", "whose", "used", "reserved", "left", "of", "begins anew"],
        ["team", "team 'red'", "1,000", "1,034", "1,997,966", "2,000,000 tokens", "2027-02-01 00:00 UTC"],
        ["usd", "everyone", "$2.00", "$2.00001", "$8.49999", "$12.50", "2027-01-15 13:05 UTC"],
        ["now", "everyone", "0", "1", "8", "9 concurrent", "never"],
        ["pair", "user 'each', model 'gpt-*'", "0", "0", "9", "9 requests", "2027-01-16 00:00 UTC"],
    ]


def test_grants_and_revokes(used: Path) -> None:
    """A grant is shown with its reason until it is revoked."""
    said = told(used, "grant", "usd", "--amount", "1.5", "--for", "2h", "--reason", "a launch\x1b[2J")
    name = said.rpartition(" ")[2]
    shown = told(used)
    assert "$12.50 + $1.50 granted" in shown
    assert f"grant {name}: $1.50 more of usd for each until 2027-01-15 10:00 UTC" in shown
    assert "a launch?[2J" in shown and "without effect" not in shown
    for other in (LIMITS.limits[0], Limit(id="usd", unit="tokens", limit="5", per="day")):
        rules = Quotas(limits=[other])  # it left the rules, or counts something else now
        shown = told(used, rules=rules)
        assert "$1.50 more of usd for each" in shown and "no limit usd in dollars" in shown
        assert all(row["granted"] == 0 for row in json.loads(told(used, "--json", rules=rules))["limits"])
    doc = json.loads(told(used, "--json"))
    assert [row["left"] for row in doc["limits"] if row["limit"] == "usd"] == [9_999_990]
    assert told(used, "revoke", name) == "revoked"
    assert "granted" not in told(used)
    with pytest.raises(LaunchError, match="no grant"):
        told(used, "revoke", name)


def test_an_unused_limit_is_named_as_it_is_counted(used: Path) -> None:
    """Whatever its name has in it; and what was granted of it is there."""
    rules = Quotas(limits=[Limit(id="odd", unit="requests", limit="5", per="day", team="é,=x")])
    words = ("--amount", "2", "--for", "2h", "--reason", "r", "--subject", f"team={quoted('é,=x')}")
    assert told(used, "grant", "odd", *words, rules=rules).startswith("granted")
    assert "team 'é,=x'" in told(used, rules=rules).splitlines()[1]
    (row,) = json.loads(told(used, "--json", rules=rules))["limits"]
    assert (row["subject"], row["left"]) == ("team=%C3%A9%2C%3Dx", 7)


GOOD = {"limit": "team", "--amount": "5", "--for": "2h", "--reason": "r"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": "teem"}, "no limit 'teem'.*team, usd, now, pair"),
        ({"--for": "2 hours"}, "--for must be a time"),
        ({"--for": "32d"}, "at most 31d"),
        ({"--amount": "-5"}, "--amount must be a number of tokens"),
        ({"--amount": "0"}, "--amount"),
        ({"--amount": "1.5"}, "--amount"),
        ({"--reason": " "}, "--reason"),
        ({"--subject": "group=x"}, "--subject of limit team must be team=NAME"),
        ({"--subject": "user=x"}, "must be team=NAME"),
        ({"--subject": "team="}, "must be team=NAME"),
        ({"--subject": "team"}, "must be team=NAME"),
        ({"--subject": "team=a,team=b"}, "must be team=NAME"),
        ({"--subject": "team=a,user=b"}, "must be team=NAME"),
        ({"--subject": ""}, "must be team=NAME"),
        ({"limit": "now", "--subject": "team=a"}, "one count for all calls: leave --subject out"),
        ({"limit": "pair", "--subject": "user=a,model=gpt*"}, r"must be user=NAME,model=gpt-\*"),
        ({"limit": "pair", "--subject": "user=a"}, r"must be user=NAME,model=gpt-\*"),
    ],
)
def test_what_cannot_be_granted(used: Path, change: dict[str, str], message: str) -> None:
    """Is one clear line."""
    asked = {**GOOD, **change}
    words = [asked.pop("limit"), *(f"{name}={value}" for name, value in asked.items())]
    with pytest.raises(LaunchError, match=message):
        told(used, "grant", *words)


@pytest.mark.parametrize(
    ("limit", "asked", "subject"),
    [
        ("team", None, "*"),
        ("team", "*", "*"),
        ("team", "team=red", "team=red"),
        ("team", "team=R&D = ü", "team=R%26D %3D %C3%BC"),
        ("team", "team=R%26D", "team=R%26D"),
        ("pair", "model=gpt-*,user=ann", "user=ann,model=gpt-*"),
    ],
)
def test_a_grant_is_for_a_subject_of_the_limit(limit: str, asked: str | None, subject: str) -> None:
    """As it is counted, however it is written."""
    words = ["grant", limit, "--amount", "5", "--for", "2h", "--reason", "r", *(["--subject", asked] if asked else [])]
    assert quota.granted(quota.parser().parse_args(words), LIMITS, NOON).subject == subject


def test_a_grant_beyond_a_low_stop() -> None:
    """Where the limit refuses does not matter to what may be granted of it."""
    low = Limit(id="low", unit="requests", limit="9", per="day", hard_stop_at=50)
    words = ["grant", "low", "--amount", "5", "--for", "2h", "--reason", "r"]
    assert quota.granted(quota.parser().parse_args(words), Quotas(limits=[low]), NOON).amount == 5


def test_a_grant_for_nobody_says_so(used: Path) -> None:
    """A name that nothing is counted for may be misspelt."""
    words = ("grant", "team", "--amount", "5", "--for", "2h", "--reason", "r", "--subject")
    assert "is it spelt so" in told(used, *words, "team=Red") and "spelt" not in told(used, *words, "team=red")


def test_flags_of_scripts_run() -> None:
    """AgentMesh's flags are limits of this run."""
    words = ["--team-limit", "engineering=2000000", "--team-limit", "ops=5", "--warn-at", "70", "--hard-stop-at", "90"]
    assert limits(parser().parse_args(words)) == {
        "mesh_team_limits": "engineering=2000000,ops=5",
        "mesh_warn_at": "70",
        "mesh_hard_stop_at": "90",
    }
    assert limits(parser().parse_args([])) == {}
    for spec in ("engineering", "engineering=many", "=5", "engineering=-1"):
        with pytest.raises(LaunchError, match="TEAM=TOKENS"):
            limits(parser().parse_args(["--team-limit", spec]))


@pytest.mark.parametrize("run", [{}, {"mesh_team_limits": "red=7", "mesh_warn_at": 50, "mesh_hard_stop_at": 100}])
def test_knows_the_limits_of_the_run(tmp_path: Path, run: dict[str, Any]) -> None:
    """Those of the rules it runs with, and those it was started with."""
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "hosts.yaml").write_text("hosts: []\n")
    (rules / "quotas.yaml").write_text("limits: [{id: a, unit: requests, limit: 1, per: day}]\n")
    (tmp_path / "run.json").write_text(json.dumps({"rules": str(rules), **run}))
    assert [limit.id for limit in quota.settings(tmp_path).limits] == (["team-limit:red", "a"] if run else ["a"])
