"""What scripts ask of the audit."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from audits import answered, exchange
from mitmesh.exchange import Outcome
from mitmesh.stages.commit import Commit
from mitmesh.store import queries
from mitmesh.store.database import AUDIT, read_only


async def filled(data: Path) -> Commit:
    commit = Commit(data, redacting=False)
    await commit.start()
    for team, cost in (("blue", 5), ("blue", None), ("red", 7)):
        x = answered(exchange(), cost=cost)
        x.identity.team = team
        commit.finish(x)
    refused = exchange()
    refused.outcome = Outcome.REFUSED
    commit.finish(refused)
    await commit.stop()
    return commit


async def test_totals(tmp_path: Path) -> None:
    """Sums by team, model or day; the cost of what has no price is in none of them."""
    await filled(tmp_path)
    names = ("key", "exchanges", "refused", "prompt_tokens", "cost_microusd")
    found = [tuple(row[name] for name in names) for row in queries.totals(tmp_path, "team")]
    assert found == [("blue", 3, 1, 20, 5), ("red", 1, 0, 10, 7)]
    assert [(row["key"], row["exchanges"]) for row in queries.totals(tmp_path, "model")] == [("gpt-4o", 4)]
    assert [row["exchanges"] for row in queries.totals(tmp_path, "day")] == [4]
    assert queries.totals(tmp_path, "day", since="2999") == []


async def test_the_views_answer(tmp_path: Path) -> None:
    """What Datasette shows first can be read, and what has no price is counted as such."""
    await filled(tmp_path)
    db = read_only(tmp_path / AUDIT)
    assert set(db.view_names()) == {"daily", "refusals"}
    assert [(row["team"], row["unpriced"]) for row in db["daily"].rows] == [("blue", 1), ("red", 0)]
    assert list(db["refusals"].rows) == []


async def test_questions_cannot_write(tmp_path: Path) -> None:
    """The connection behind a question is read only."""
    await filled(tmp_path)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        read_only(tmp_path / AUDIT).execute("delete from exchanges")


async def test_an_unknown_id_is_none_and_odd_words_are_no_syntax(tmp_path: Path) -> None:
    """Neither an unknown id nor a quote in the words is an error."""
    await filled(tmp_path)
    assert queries.exchange(tmp_path, "nobody") is None
    assert queries.search(tmp_path, 'a" OR NEAR(') == []
