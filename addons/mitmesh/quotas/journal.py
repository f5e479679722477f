"""What was spent of each share while Redis was away, in `quota.db` of the data folder: it outlives the process.

A share's lease charges all of it, for nobody can say what became of it. A worker that is ended by force leaves here how
much it was, and any other worker of the folder tells Redis, once the lease is over.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mitmesh.quotas.in_sqlite import SqliteLedger

_KEEP = """INSERT INTO shares (name, key, spent, kept) VALUES (?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET spent = excluded.spent, kept = excluded.kept"""
_LEFT = "SELECT name, key, spent FROM shares WHERE kept < ? LIMIT 1000"


@dataclass(slots=True, frozen=True)
class Spent:
    """Of the share `name` of the count `key` so much was spent, in the count's smallest unit."""

    name: str
    key: str
    amount: int


class Journal:
    """The table. `clock` gives seconds since 1970. Every method raises LedgerAway where the file cannot be used."""

    def __init__(self, data: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = SqliteLedger(data, clock)

    async def keep(self, spent: Sequence[Spent]) -> None:
        """Put down how these shares stand now."""
        if spent:

            def put(conn: sqlite3.Connection, now: int) -> None:
                conn.executemany(_KEEP, [(each.name, each.key, each.amount, now) for each in spent])

            await self._file.run(put)

    async def left(self, seconds: float) -> list[Spent]:
        """Shares that nobody has kept for so long: their workers are no more."""
        return await self._file.run(lambda conn, now: [Spent(*row) for row in conn.execute(_LEFT, (now - seconds,))])

    async def forget(self, names: Iterable[str]) -> None:
        """These are settled."""
        rows = [(name,) for name in names]
        if rows:

            def drop(conn: sqlite3.Connection, _now: int) -> None:
                conn.executemany("DELETE FROM shares WHERE name = ?", rows)

            await self._file.run(drop)

    async def close(self) -> None:
        """Let go of the file."""
        await self._file.close()
