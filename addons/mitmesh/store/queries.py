"""The questions that scripts and tests ask of the audit. Read only; each opens the files and closes them again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from mitmesh.store.database import AUDIT, CONTENT, read_only
from mitmesh.store.histories import LATEST

type Record = dict[str, Any]
"""A row by column name."""

_TOTALS = """
select {by} as key, count(*) as exchanges, sum(outcome = 'refused') as refused, sum(prompt_tokens) as prompt_tokens,
    sum(completion_tokens) as completion_tokens, sum(cost_microusd) as cost_microusd,
    sum(notional_microusd) as notional_microusd
from exchanges where started >= ? group by 1 order by exchanges desc, key
"""
_BY = {"day": "substr(started, 1, 10)", "team": "team", "model": "model"}


def recent(data: Path, limit: int = 20) -> list[Record]:
    """The latest exchanges, newest first. Raises sqlite3.OperationalError where there is no audit."""
    with closing(read_only(data / AUDIT)) as db:
        return list(db.query("select * from exchanges order by id desc limit ?", [limit]))


def exchange(data: Path, id: str) -> Record | None:
    """One exchange with its `verdicts` and `messages`, in order; None where there is none of this id."""
    with closing(read_only(data / AUDIT)) as db:
        found: Record | None = next(iter(db.query("select * from exchanges where id = ?", [id])), None)
        if found is None:
            return None
        found["verdicts"] = list(db.query("select * from verdicts where exchange = ? order by position", [id]))
    with closing(read_only(data / CONTENT)) as db:
        found["messages"] = list(db.query("select * from conversations where exchange = ?", [id]))
    return found


def totals(data: Path, by: Literal["day", "team", "model"], since: str = "") -> list[Record]:
    """Exchanges, tokens and micro-dollars by day, team or model, from `since` (ISO) on; most exchanges first."""
    with closing(read_only(data / AUDIT)) as db:
        return list(db.query(_TOTALS.format(by=_BY[by]), [since]))


def cached(data: Path) -> list[Record]:
    """Calls by what the cache had for them (`layer`), what that `saved`, what providers' own caches did
    (`vendor_saved`), and of that, what they did in calls in which we set breakpoints (`by_rule`), in micro-dollars."""
    sql = (
        "select cache as layer, count(*) as calls, coalesce(sum(cache_saved_microusd), 0) as saved,"
        " coalesce(sum(vendor_saved_microusd), 0) as vendor_saved,"
        " coalesce(sum(case when exists (select 1 from verdicts where exchange = exchanges.id and stage = 'vendor'"
        " and mode = 'enforce') then vendor_saved_microusd end), 0) as by_rule"
        " from exchanges where cache is not null group by 1"
    )
    with closing(read_only(data / AUDIT)) as db:
        return list(db.query(sql))


def search(data: Path, words: str, limit: int = 20) -> list[Record]:
    """Messages that hold all the words, best first, each with an `exchange` that used it lately."""
    sql = (
        f"select messages.*, {LATEST} as exchange"
        " from messages_fts join messages on messages.id = messages_fts.rowid"
        " where messages_fts match ? order by messages_fts.rank limit ?"
    )
    with closing(read_only(data / CONTENT)) as db:
        return list(db.query(sql, [db.quote_fts(words), limit]))


def connections(data: Path, limit: int = 20) -> list[Record]:
    """The latest connections, newest first."""
    with closing(read_only(data / AUDIT)) as db:
        return list(db.query("select * from connections order by id desc limit ?", [limit]))


def tunnels(data: Path) -> list[Record]:
    """Connections that were only tunnelled, counted per day and host."""
    with closing(read_only(data / AUDIT)) as db:
        return list(db.query("select * from tunnels order by day desc, connections desc"))
