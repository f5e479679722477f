"""Connections, transactions and inserts."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mitmesh.store.database import AT_ONCE, connect, insert, read_only, transaction


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "a b?#.db")) as conn:
        conn.execute("create table t (a, b)")
        yield conn


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("\ud800x", "?x"),
        (2**63, None),
        (-(2**63) - 1, None),
        (2**63 - 1, 2**63 - 1),
        (object(), None),
        (True, 1),
        (1.5, 1.5),
    ],
)
def test_odd_values_are_made_to_fit(conn: sqlite3.Connection, value: Any, stored: Any) -> None:
    """What SQLite cannot hold is replaced; the rows around it are there once."""
    with transaction(conn):
        insert(conn, "insert into t values (?, ?)", [("first", 1), ("odd", value), ("last", 2)])
    assert conn.execute("select a, b from t").fetchall() == [("first", 1), ("odd", stored), ("last", 2)]


@pytest.mark.parametrize("rows", [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE, 3 * AT_ONCE + 5])
def test_many_rows(conn: sqlite3.Connection, rows: int) -> None:
    """However many there are, all are there in their order; of two of one key in one statement the second counts."""
    conn.execute("create table k (a primary key, b)")
    sql = "insert into k (a, b) values (?, ?) on conflict (a) do update set b = excluded.b"
    statements: list[str] = []
    conn.set_trace_callback(statements.append)
    with transaction(conn):
        insert(conn, sql, [*((n, n) for n in range(rows - 1)), (0, "again")])
    assert conn.execute("select a, b from k").fetchall() == [(0, "again"), *((n, n) for n in range(1, rows - 1))]
    assert sum(each.startswith("insert") for each in statements) == sum(divmod(rows, AT_ONCE))


def test_an_odd_value_among_many(conn: sqlite3.Connection) -> None:
    """It costs no other its row, in whichever statement it is."""
    rows = [(n, "\ud800" if n == 20 else n) for n in range(3 * AT_ONCE)]
    with transaction(conn):
        insert(conn, "insert into t values (?, ?)", rows)
    stored = conn.execute("select a, b from t").fetchall()
    assert stored == [(n, "?" if n == 20 else n) for n in range(3 * AT_ONCE)]


def test_a_transaction_is_undone_by_any_error(conn: sqlite3.Connection) -> None:
    """Nothing of a block that raises is kept, and the next block can begin."""
    with pytest.raises(KeyboardInterrupt), transaction(conn):
        conn.execute("insert into t values (1, 2)")
        raise KeyboardInterrupt
    with transaction(conn):
        assert conn.execute("select count(*) from t").fetchone() == (0,)


def test_files_are_wal_and_readable_by_any_name(conn: sqlite3.Connection, tmp_path: Path) -> None:
    """Readers do not block the writer, and odd characters in a path are no URI."""
    assert conn.execute("pragma journal_mode").fetchone() == ("wal",)
    assert read_only(tmp_path / "a b?#.db").table_names() == ["t"]
