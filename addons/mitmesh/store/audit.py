"""Writing one batch of rows to audit.db."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter

from mitmesh.store.database import Row, insert, transaction
from mitmesh.store.pending import Batch, Entry
from mitmesh.store.rows import COLUMNS, CONNECTION_COLUMNS, OUTCOME_COLUMNS, SESSION


def _upsert() -> str:
    columns = ", ".join(("turn", "worker", *COLUMNS))
    marks = ", ".join("?" * (len(COLUMNS) + 2))
    # What is set here is what may change; columns with an index do not, and so no index is touched twice.
    changes = ", ".join(f"{name} = excluded.{name}" for name in OUTCOME_COLUMNS)
    return f"insert into exchanges ({columns}) values ({marks}) on conflict (id) do update set {changes}"


_EXCHANGES = _upsert()
_VERDICTS = "insert or ignore into verdicts values (?, ?, ?, ?, ?, ?, ?, ?)"
_CONNECTIONS = f"insert into connections ({', '.join(CONNECTION_COLUMNS)}) values (?, ?, ?, ?, ?, ?, ?, ?)"
_TUNNELS = (
    "insert into tunnels (day, host, connections) values (?, ?, ?)"
    " on conflict (day, host) do update set connections = connections + excluded.connections"
)
_TURNS = "select json_group_object(value, (select max(turn) from exchanges where session = value)) from json_each(?)"


def write(conn: sqlite3.Connection, batch: Batch, worker: int | None) -> None:
    """Write a batch in one transaction; it is there as a whole or not at all. Raises sqlite3.Error."""
    with transaction(conn):
        entries = list(batch.exchanges.values())
        turns = _turns(conn, entries)
        insert(conn, _EXCHANGES, [(turns.get(entry.row[0]), worker, *entry.row) for entry in entries])
        insert(conn, _VERDICTS, [row for entry in entries for row in entry.verdicts])
        insert(conn, _CONNECTIONS, batch.connections)
        insert(conn, _TUNNELS, [(*key, count) for key, count in batch.tunnels.items()])


def _turns(conn: sqlite3.Connection, entries: list[Entry]) -> dict[str, int]:
    """The number of each new exchange in its session. Other workers write the same sessions: this is asked while
    holding the write lock."""
    new: list[Row] = [entry.row for entry in entries if entry.new and entry.row[SESSION]]
    if not new:
        return {}
    sessions = json.dumps(list({row[SESSION] for row in new}))
    last: Counter[str] = Counter()
    last.update({key: n or 0 for key, n in json.loads(conn.execute(_TURNS, (sessions,)).fetchone()[0]).items()})
    turns = {}
    for row in new:
        last[row[SESSION]] += 1
        turns[row[0]] = last[row[SESSION]]
    return turns
