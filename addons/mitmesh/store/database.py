"""Connections to the audit's files, and the few things every writer of them needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlite_utils import Database, Migrations

from mitmesh.store.keys import create_private

AUDIT = "audit.db"
CONTENT = "content.db"
BUSY_MS = 5_000
DAMAGED = ".damaged"
"""What a file that cannot be used is renamed with; the next one takes its place."""

AT_ONCE = 16
"""Rows that one statement inserts."""

type Row = tuple[Any, ...]

MISFITS = (UnicodeEncodeError, OverflowError, sqlite3.ProgrammingError, sqlite3.InterfaceError)
"""What sqlite3 raises for a value it cannot store."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection to write with: WAL, explicit transactions, waits up to five seconds for another process."""
    create_private(path)
    conn = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    if not path.stat().st_size:  # of use only while the file is empty; later it would write, which a full disk forbids
        conn.execute("PRAGMA auto_vacuum=INCREMENTAL")
    conn.execute("PRAGMA journal_mode=WAL")
    conn.execute("PRAGMA journal_size_limit=16777216")
    conn.execute("PRAGMA synchronous=NORMAL")
    conn.execute("PRAGMA secure_delete=ON")  # what retention deletes is overwritten, not merely forgotten
    return conn


def migrate(conn: sqlite3.Connection, migrations: Migrations) -> None:
    """Bring the file to the current schema; one process at a time (`keys.locked`)."""
    migrations.apply(Database(conn))


def read_only(path: Path) -> Database:
    """A connection that cannot write, for questions. Raises sqlite3.OperationalError where the file is not there."""
    conn = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_MS / 1000)
    return Database(conn)


def set_aside(path: Path) -> None:
    """Rename a database that cannot be used, with what SQLite keeps beside it, in place of the last one so renamed."""
    for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        if file.exists():
            file.replace(file.with_name(f"{file.name}{DAMAGED}"))


@contextmanager
def transaction(conn: sqlite3.Connection) -> Iterator[None]:
    """A write transaction: takes the write lock first, so that what the block reads is still true when it writes."""
    conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        conn.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some errors have ended the transaction already
            conn.execute("ROLLBACK")
        raise


def insert(conn: sqlite3.Connection, sql: str, rows: list[Row]) -> None:
    """Run one statement for all rows. Values that SQLite cannot hold are made to fit: one odd call of a client must
    not cost the others their rows.

    Plain executemany and not sqlite-utils' insert_all or upsert_all: those build and parse their SQL for each call
    and inspect the table first, which costs several times the write itself."""
    if not rows:
        return
    conn.execute("SAVEPOINT rows")
    try:
        _insert(conn, sql, rows)
    except MISFITS:
        conn.execute("ROLLBACK TO rows")
        _insert(conn, sql, [tuple(map(_fitting, row)) for row in rows])
    conn.execute("RELEASE rows")


def _insert(conn: sqlite3.Connection, sql: str, rows: list[Row]) -> None:
    """As executemany, which lets go of the interpreter for each row and then waits for it, while the event loop waits
    to have it back: here for each AT_ONCE rows."""
    marks = f"({', '.join('?' * len(rows[0]))})"
    many = sql.replace(marks, ", ".join([marks] * AT_ONCE))
    whole = len(rows) - len(rows) % AT_ONCE
    for begin in range(0, whole, AT_ONCE):
        conn.execute(many, [value for row in rows[begin : begin + AT_ONCE] for value in row])
    conn.executemany(sql, rows[whole:])


def _fitting(value: object) -> object:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case int():
            return value if -(2**63) <= value < 2**63 else None
        case float() | bytes() | None:
            return value
    return None
