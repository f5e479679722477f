"""The record of who read content: a file of its own, to which rows can only be added."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

from mitmesh.store.database import connect, migrate, transaction
from mitmesh.store.keys import locked
from mitmesh.store.migrations import access

ACCESS = "access.db"
WIDTH = 2_000
"""Characters kept of what was asked for."""


class Reads:
    """Writes the record. Each row is on disk before the page it is about is answered."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ACCESS
        self._lock = threading.Lock()
        with locked(folder / "access.lock"):
            self._conn = connect(self.path)
            self._conn.execute("PRAGMA synchronous=FULL")
            migrate(self._conn, access)

    def add(self, name: str, role: str, kind: str, path: str) -> None:
        """Someone asks for content under this path (with its query). Raises sqlite3.Error: then it is not to be shown.

        Thread-safe."""
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        asked = path[:WIDTH].encode("utf-8", "replace").decode()
        with self._lock, transaction(self._conn):
            self._conn.execute(
                "insert into reads (at, name, role, shown_by, asked) values (?, ?, ?, ?, ?)",
                (when, name, role, kind, asked),
            )

    def close(self) -> None:
        """Let go of the file."""
        self._conn.close()
