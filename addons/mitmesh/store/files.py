"""The audit's two files, opened by this process for writing."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from mitmesh.rules import Audit
from mitmesh.store import audit, content, migrations
from mitmesh.store.database import AUDIT, CONTENT, connect, migrate
from mitmesh.store.errors import AuditError
from mitmesh.store.keys import Hasher, load_key, locked, make_folder
from mitmesh.store.pending import Batch
from mitmesh.store.retention import Retention
from mitmesh.store.workers import Worker, close_orphans


class Files:
    """Opens what is in the data folder and makes what is not: brings both files up to date and closes what dead
    processes left open. Raises AuditError. Used by one thread at a time."""

    def __init__(self, data: Path) -> None:
        try:
            make_folder(data)
            with locked(data / ".lock"):
                self.hasher = Hasher(load_key(data))
                self._audit = connect(data / AUDIT)
                self._content = connect(data / CONTENT)
                migrate(self._audit, migrations.audit)
                migrate(self._content, migrations.content)
                now = datetime.now(UTC)
                self.interrupted = close_orphans(self._audit, data, now)
                self._worker = Worker(self._audit, data, now)
                self._retention = Retention(self._audit, self._content)
        except (OSError, sqlite3.Error) as error:
            raise AuditError(
                f"the audit in {data} cannot be opened: {error}; check the disk and who owns it"
            ) from error

    def write_rows(self, batch: Batch, *, durable: bool) -> None:
        """One transaction of audit.db; `durable` waits for the disk itself. Raises sqlite3.Error."""
        self._audit.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        audit.write(self._audit, batch, self._worker.id)

    def write_texts(self, texts: list[content.Texts]) -> None:
        """One transaction of content.db. Raises sqlite3.Error."""
        content.write(self._content, texts, self.hasher)

    def retain(self, rules: Audit) -> bool:
        """Delete one chunk of what is too old or too much; True if there may be more. Raises sqlite3.Error."""
        return self._retention.step(rules, datetime.now(UTC))

    def close(self) -> None:
        """Let go of them. What cannot be written any more is left to the next start."""
        with suppress(sqlite3.Error, OSError):
            self._worker.end(self._audit, datetime.now(UTC))
        for database in (self._audit, self._content):
            with suppress(sqlite3.Error):  # a reader may hold it: then it stays in the -wal file, which is as good
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            database.close()
