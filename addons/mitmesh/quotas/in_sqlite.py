"""The ledger of one machine: a SQLite file that its workers share. One write transaction a decision, in one thread."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mitmesh.quotas.ledger import ALL, DEFERRED, REFUSED, Count, Grant, Key, LedgerAway, Standing, Want, refused
from mitmesh.quotas.thread import Worker
from mitmesh.store.database import connect, migrate, transaction
from mitmesh.store.keys import locked, make_folder
from mitmesh.store.migrations import quota

FILE = "quota.db"
BUSY_MS = 2_000
"""How long a decision waits for other workers' before it is refused."""
FORGET = 86_400
"""Seconds after which a call whose lease ended is forgotten; until then it can still be settled."""
_REAP = "SELECT id FROM calls WHERE lapsed = 0 AND lease < ? LIMIT 100"
_STANDING = """SELECT COALESCE(SUM(used), 0), COALESCE(SUM(reserved), 0),
    (SELECT COALESCE(SUM(amount), 0) FROM grants
        WHERE limit_id = ? AND subject IN (?, ?) AND unit IN (?, '') AND expires > ?)
    FROM counts WHERE key = ? AND slot BETWEEN ? AND ?"""
_SLOTS = """SELECT slot, used + reserved FROM counts
    WHERE key = ? AND slot BETWEEN ? AND ? AND used + reserved > 0 ORDER BY slot"""
_COUNT = """INSERT INTO counts (key, slot, used, reserved, expires) VALUES (?, ?, 0, ?, ?)
    ON CONFLICT (key, slot) DO UPDATE SET reserved = reserved + excluded.reserved"""
_HOLD = """INSERT INTO holds (call, key, slot, sunk, rest, charged) VALUES (?, ?, ?, ?, ?, 0)
    ON CONFLICT (call, key) DO UPDATE SET sunk = sunk + excluded.sunk, rest = rest + excluded.rest"""
_CALL = "INSERT INTO calls (id, lease, lapsed) VALUES (?, ?, 0) ON CONFLICT (id) DO UPDATE SET lease = ?, lapsed = 0"
_BOOK = "UPDATE counts SET used = used + ?, reserved = reserved - ? WHERE key = ? AND slot = ?"


class SqliteLedger:
    """The ledger in `quota.db` of the data folder. `clock` gives seconds since 1970."""

    meanwhile = REFUSED

    def __init__(self, data: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = data / FILE, clock
        self._conn: sqlite3.Connection | None = None
        self._inode: int | None = None
        self._reaped = -1
        """The second in which it was last looked for leases that have ended."""
        self._worker = Worker("mesh-quota")

    def reserve(self, call: str, wants: Sequence[Want], lease: int) -> asyncio.Future[list[Standing]]:
        """See Ledger. Begun when it returns, and done whoever waits: a task around it would cost as much again."""
        return self.run(lambda conn, now: self._reserve(conn, now, call, wants, lease))

    async def settle(self, call: str, spent: Mapping[str, int]) -> None:
        """See Ledger."""
        await self.run(lambda conn, now: _settle(conn, call, spent))

    async def beat(self, calls: Sequence[str], lease: int) -> list[str]:
        """See Ledger."""
        return await self.run(lambda conn, now: _beat(conn, now, calls, lease))

    def holds(self, call: str) -> bool:
        """No."""
        return False

    async def counts(self) -> list[Count]:
        """See Ledger."""
        return await self.run(lambda conn, now: _counts(conn, now))

    async def grants(self) -> list[Grant]:
        """See Ledger."""
        sql = (
            "SELECT id, limit_id, subject, amount, expires, reason, by, unit FROM grants WHERE expires > ? ORDER BY id"
        )
        return await self.run(lambda conn, now: [Grant(*row) for row in conn.execute(sql, (now,))])

    async def grant(self, grant: Grant) -> None:
        """See Ledger."""
        row = (grant.id, grant.limit, grant.subject, grant.amount, grant.expires, grant.reason, grant.by, grant.unit)
        await self.run(lambda conn, now: conn.execute("INSERT INTO grants VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row))

    async def revoke(self, grant: str) -> bool:
        """See Ledger."""
        sql = "DELETE FROM grants WHERE id = ?"
        return await self.run(lambda conn, now: conn.execute(sql, (grant,)).rowcount > 0)

    async def defer(self, answer: str, told: str) -> None:
        """See Ledger."""
        sql = "INSERT OR REPLACE INTO deferred (answer, told, expires) VALUES (?, ?, ?)"
        await self.run(lambda conn, now: conn.execute(sql, (answer, told, now + DEFERRED)))

    async def due(self, answer: str) -> str | None:
        """See Ledger."""
        sql = "DELETE FROM deferred WHERE answer = ? RETURNING told"
        row = await self.run(lambda conn, now: conn.execute(sql, (answer,)).fetchone())
        return row[0] if row else None

    async def close(self) -> None:
        """Let go of file and thread, when what was asked before is done."""
        await self._worker.run(self._let_go)
        self._worker.end()

    def _reserve(
        self, conn: sqlite3.Connection, now: int, call: str, wants: Sequence[Want], lease: int
    ) -> list[Standing]:
        if now != self._reaped:  # leases are in whole seconds: none ends within one
            _reap(conn, now)
        standings = _reserve(conn, now, call, wants, lease)
        self._reaped = now  # not before all is done, for what fails is undone
        return standings

    def run[T](self, work: Callable[[sqlite3.Connection, int], T]) -> asyncio.Future[T]:
        """Have something done with the file and the time, in a transaction. The future raises LedgerAway."""
        return self._worker.run(lambda: self._transact(work))

    def _transact[T](self, work: Callable[[sqlite3.Connection, int], T]) -> T:
        """In the thread: one transaction. After a failure the file is opened anew, for it may have been mended."""
        try:
            self._still_there()
            conn = self._conn = self._conn or self._open()
            with transaction(conn):
                return work(conn, int(self._clock()))
        except (sqlite3.Error, OSError) as error:
            self._let_go()
            raise LedgerAway(f"{FILE}: {error}") from None

    def _still_there(self) -> None:
        """Raise OSError where the file was removed or replaced: what is counted in the old one nobody else sees."""
        if self._conn is None:
            return
        try:
            now = self._path.stat().st_ino
        except FileNotFoundError:
            now = None
        if now != self._inode:
            raise OSError("was removed or replaced while it was open; it is opened anew")

    def _open(self) -> sqlite3.Connection:
        make_folder(self._path.parent)
        with locked(self._path.with_suffix(".lock")):
            conn = connect(self._path)
            conn.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            migrate(conn, quota)
            self._inode = self._path.stat().st_ino
        return conn

    def _let_go(self) -> None:
        conn, self._conn = self._conn, None
        if conn:
            try:
                conn.close()
            except sqlite3.Error:
                pass


def _reserve(conn: sqlite3.Connection, now: int, call: str, wants: Sequence[Want], lease: int) -> list[Standing]:
    standings = [_standing(conn, now, want) for want in wants]
    if not refused(wants, standings):
        conn.execute(_CALL, (call, now + lease, now + lease))
        keyed = [(want.key.text, want) for want in wants]
        conn.executemany(_COUNT, [(key, want.slot, want.sunk + want.rest, want.expires) for key, want in keyed])
        conn.executemany(_HOLD, [(call, key, want.slot, want.sunk, want.rest) for key, want in keyed])
    return standings


def _standing(conn: sqlite3.Connection, now: int, want: Want) -> Standing:
    key = want.key
    asked = (key.limit, key.subject, ALL, key.unit, now, key.text, want.first, want.last)
    used, reserved, granted = conn.execute(_STANDING, asked).fetchone()
    beyond = used + reserved + want.sunk + want.rest - want.most - granted
    over = beyond > 0 and want.sunk + want.rest > 0
    leaves = _leaves(conn, want, beyond) if over and want.first < want.last else None
    return Standing(used, reserved, granted, over, leaves)


def _leaves(conn: sqlite3.Connection, want: Want, beyond: int) -> int | None:
    """Which slot has to leave the window until so much has."""
    last = None
    for slot, amount in conn.execute(_SLOTS, (want.key.text, want.first, want.last)):
        last, beyond = slot, beyond - amount
        if beyond <= 0:
            break
    return last


def _settle(conn: sqlite3.Connection, call: str, spent: Mapping[str, int]) -> None:
    for key, slot, held, charged in conn.execute(
        "SELECT key, slot, sunk + rest, charged FROM holds WHERE call = ?", (call,)
    ).fetchall():
        conn.execute(_BOOK, (spent.get(key, 0) - charged, held, key, slot))
    conn.execute("DELETE FROM holds WHERE call = ?", (call,))
    conn.execute("DELETE FROM calls WHERE id = ?", (call,))


def _reap(conn: sqlite3.Connection, now: int) -> None:
    """Of calls whose lease has ended, the prompt is spent and the output free."""
    for (call,) in conn.execute(_REAP, (now,)).fetchall():
        for key, slot, sunk, rest in conn.execute(
            "SELECT key, slot, sunk, rest FROM holds WHERE call = ?", (call,)
        ).fetchall():
            conn.execute(_BOOK, (sunk, sunk + rest, key, slot))
        conn.execute("UPDATE holds SET charged = charged + sunk, sunk = 0, rest = 0 WHERE call = ?", (call,))
        conn.execute("UPDATE calls SET lapsed = 1 WHERE id = ?", (call,))


def _beat(conn: sqlite3.Connection, now: int, calls: Sequence[str], lease: int) -> list[str]:
    sql = "UPDATE calls SET lease = ? WHERE id = ? AND lapsed = 0"
    lapsed = [call for call in calls if conn.execute(sql, (now + lease, call)).rowcount == 0]
    _reap(conn, now)
    conn.execute("DELETE FROM counts WHERE expires < ?", (now,))
    conn.execute("DELETE FROM grants WHERE expires < ?", (now - FORGET,))
    conn.execute("DELETE FROM deferred WHERE expires < ?", (now,))
    forgotten = "SELECT id FROM calls WHERE lapsed = 1 AND lease < ?"
    conn.execute(f"DELETE FROM holds WHERE call IN ({forgotten})", (now - FORGET,))
    conn.execute("DELETE FROM calls WHERE lapsed = 1 AND lease < ?", (now - FORGET,))
    return lapsed


def _counts(conn: sqlite3.Connection, now: int) -> list[Count]:
    _reap(conn, now)
    rows = conn.execute("SELECT key, slot, used, reserved FROM counts ORDER BY key, slot LIMIT 10000")
    return [Count(Key.of(key), slot, used, reserved) for key, slot, used, reserved in rows]
