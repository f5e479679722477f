"""Which processes write here, and what dead ones left open.

A worker lives as long as it holds the lock on its file: the kernel lets go of it however the process ends, and unlike
a process id it means the same in every container that shares the folder.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from datetime import datetime
from pathlib import Path

from mitmesh.exchange import Outcome
from mitmesh.store.database import transaction
from mitmesh.store.rows import stamp


class Worker:
    """This process among the writers. Make and end it while holding the folder's lock (`keys.locked`)."""

    def __init__(self, conn: sqlite3.Connection, data: Path, now: datetime) -> None:
        folder = data / "workers"
        folder.mkdir(mode=0o700, exist_ok=True)
        with transaction(conn):
            sql = "insert into workers (pid, started) values (?, ?)"
            self.id = conn.execute(sql, (os.getpid(), stamp(now))).lastrowid
            self._path = _lock_file(folder, self.id)
            self._fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)

    def end(self, conn: sqlite3.Connection, now: datetime) -> None:
        """Leave in good order."""
        conn.execute("update workers set ended = ? where id = ?", (stamp(now), self.id))
        self._path.unlink(missing_ok=True)
        os.close(self._fd)


def close_orphans(conn: sqlite3.Connection, data: Path, now: datetime) -> int:
    """Exchanges that a dead worker left without outcome become `interrupted`; returns how many."""
    closed = 0
    for (worker,) in conn.execute("select id from workers where ended is null").fetchall():
        path = _lock_file(data / "workers", worker)
        if _alive(path):
            continue
        with transaction(conn):
            sql = "update exchanges set outcome = ? where worker = ? and outcome is null"
            closed += conn.execute(sql, (Outcome.INTERRUPTED.value, worker)).rowcount
            conn.execute("update workers set ended = ? where id = ?", (stamp(now), worker))
        path.unlink(missing_ok=True)
    return closed


def _lock_file(folder: Path, worker: int | None) -> Path:
    return folder / f"{worker}.lock"


def _alive(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
