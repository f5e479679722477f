"""Who writes, and who is dead."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection

import pytest

from mitmesh.store import migrations
from mitmesh.store.database import connect, migrate
from mitmesh.store.workers import Worker, close_orphans

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[Connection]:
    with closing(connect(tmp_path / "audit.db")) as conn:
        migrate(conn, migrations.audit)
        yield conn


def open_exchange(conn: Connection, id: str, worker: int | None, outcome: str | None = None) -> None:
    conn.execute("insert into exchanges (id, worker, outcome) values (?, ?, ?)", (id, worker, outcome))


def outcomes(conn: Connection) -> dict[str, str | None]:
    return dict(conn.execute("select id, outcome from exchanges"))


def test_only_what_the_dead_left_open_is_closed(conn: Connection, tmp_path: Path) -> None:
    """An open exchange of a dead worker is interrupted; a living worker's and a finished one are left alone."""
    living, dead = Worker(conn, tmp_path, NOW), Worker(conn, tmp_path, NOW)
    open_exchange(conn, "of the living", living.id)
    open_exchange(conn, "of the dead", dead.id)
    open_exchange(conn, "finished", dead.id, "answered")
    assert close_orphans(conn, tmp_path, NOW) == 0
    os.close(dead._fd)  # what the kernel does when a process ends
    assert close_orphans(conn, tmp_path, NOW) == 1
    assert outcomes(conn) == {"of the living": None, "of the dead": "interrupted", "finished": "answered"}
    assert [path.name for path in (tmp_path / "workers").iterdir()] == [f"{living.id}.lock"]
    assert close_orphans(conn, tmp_path, NOW) == 0
    living.end(conn, NOW)


def test_a_lost_lock_file_is_a_dead_worker(conn: Connection, tmp_path: Path) -> None:
    """After a restore from a backup, without lock files, nothing stays open for ever."""
    worker = Worker(conn, tmp_path, NOW)
    open_exchange(conn, "a", worker.id)
    (tmp_path / "workers" / f"{worker.id}.lock").unlink()
    assert close_orphans(conn, tmp_path, NOW) == 1
