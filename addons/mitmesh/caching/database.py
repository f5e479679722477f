"""cache.db: the file of kept answers, beside the audit's. One object is used by one thread."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from sqlite_utils import Database, Migrations

from mitmesh.caching.entry import Entry, Seal
from mitmesh.exchange import id_at
from mitmesh.store import database
from mitmesh.store.database import Row, connect, insert, migrate, transaction
from mitmesh.store.keys import locked

FILE, KEY_FILE = "cache.db", "cache.key"

migrations = Migrations("mitmesh.cache")

_ADD = (
    "insert into entries (key, rest, tenant, provider, model, user, exchange, created, used, cost, size, vector,"
    " sealed) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_READ = "select key, sealed, exchange, created, tenant, provider, model, cost, rest, vector, user, size from entries"
_USED = "update entries set used = max(used, ?), hits = hits + ?, saved_microusd = saved_microusd + ? where key = ?"


@migrations(name="001_entries")
def _entries(db: Database) -> None:
    """One row per answer. `sealed` is encrypted; the other columns name who, what and when."""
    db.execute(
        "create table entries (id integer primary key autoincrement, key blob not null unique, rest blob,"
        " tenant text not null, provider text, model text, user text, exchange text, created integer not null,"
        " used integer not null, hits integer not null default 0, saved_microusd integer not null default 0,"
        " cost integer, size integer not null, vector blob, sealed blob not null)"
    )
    db.execute("create index idx_entries_used on entries (used)")
    db.execute("create index idx_entries_created on entries (created)")
    db.execute("create table entry_values (entry integer not null, value text not null)")
    db.execute("create index idx_entry_values_value on entry_values (value)")
    db.execute("create index idx_entry_values_entry on entry_values (entry)")
    db.execute("create table epoch (number integer not null)")
    db.execute("insert into epoch values (0)")


@migrations(name="002_cleared")
def _cleared(db: Database) -> None:
    """When somebody last had entries forgotten, as the id of an exchange: no answer to an earlier call is kept."""
    db.execute("alter table epoch add column cleared text not null default ''")


@dataclass(slots=True, frozen=True)
class News:
    """What others did. `gone`: entries went; `rows`: keys of those that came, all that are left where some went, and
    the exchange that each is from; `cleared`: the id of the first exchange after entries were last cleared."""

    gone: bool
    rows: list[tuple[bytes, str]]
    cleared: str


class File:
    """An open cache.db. Raises sqlite3.Error from every method."""

    def __init__(self, data: Path, seal: Seal) -> None:
        self._seal = seal
        self.path = data / FILE
        with self._locked():
            self._conn = connect(self.path)
            try:
                migrate(self._conn, migrations)
                self.inode = self.path.stat().st_ino
            except BaseException:
                self._conn.close()
                raise
        self._conn.execute("PRAGMA cache_size=-4096")
        self._version = self._epoch = -1
        self._last, self._cleared = 0, ""
        self._closed = False

    def close(self) -> None:
        """Let go of it; once more does nothing."""
        if self._closed:
            return
        self._closed = True
        with self._locked():
            if self.moved:  # the last to close a file removes its -wal by name: by now that is the new file's
                self._conn.setconfig(sqlite3.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, True)
            self._conn.close()

    def _locked(self) -> AbstractContextManager[None]:
        """While no worker sets a file aside or opens one."""
        return locked(self.path.with_name(f".{FILE}.lock"))

    @property
    def moved(self) -> bool:
        """Is another file in its place by now (another worker set this one aside)?"""
        return inode_of(self.path.parent) != self.inode

    # --- lookup ---

    def get(self, key: bytes) -> Entry | None:
        """The entry of this key."""
        row = self._conn.execute(f"{_READ} where key = ?", (key,)).fetchone()
        return self._entry(row) if row else None

    def by_id(self, number: int) -> Entry | None:
        """The entry of this number."""
        row = self._conn.execute(f"{_READ} where id = ?", (number,)).fetchone()
        return self._entry(row) if row else None

    def _entry(self, row: Row) -> Entry | None:
        """The row opened; None where it was sealed with another key."""
        key, sealed, exchange, created, tenant, provider, model, cost, rest, vector, user, size = row
        try:
            answer, body, turn = self._seal.open(key, sealed)
            vector = self._seal.unwrap(key, vector)
        except InvalidTag:
            return None
        return Entry(
            key, answer, exchange, created, tenant, provider, model, body, cost, rest, turn, vector, user, (), size
        )

    # --- what other workers did ---

    def news(self) -> News:
        """What was done since the last call."""
        version = self._conn.execute("PRAGMA data_version").fetchone()[0]  # changes with others' writes alone
        if version == self._version:
            return News(False, [], self._cleared)
        epoch, self._cleared = self._conn.execute("select number, cleared from epoch").fetchone()
        gone = epoch != self._epoch
        self._version, self._epoch, self._last = version, epoch, 0 if gone else self._last
        sql = "select id, key, exchange from entries where id > ? order by id"
        rows = self._conn.execute(sql, (self._last,)).fetchall()
        if rows:
            self._last = rows[-1][0]
        return News(gone, [(key, exchange) for _, key, exchange in rows], self._cleared)

    # --- what is found by meaning ---

    def epoch(self) -> int:
        """A number that is another one when entries went."""
        return int(self._conn.execute("select number from epoch").fetchone()[0])

    def vectors(self, above: int, most: int) -> list[tuple[int, bytes, bytes]]:
        """Number, rest and vector of the next entries above this number that can be found by meaning; an empty vector
        where it was sealed with another key."""
        sql = "select id, key, rest, vector from entries where id > ? and vector is not null and rest is not null"
        found = self._conn.execute(f"{sql} order by id limit ?", (above, most)).fetchall()
        return [(number, rest, self._vector(key, vector)) for number, key, rest, vector in found]

    def _vector(self, key: bytes, vector: bytes) -> bytes:
        try:
            return self._seal.unwrap(key, vector) or b""
        except InvalidTag:
            return b""

    def numbers(self) -> set[int]:
        """The numbers of all that can be found so."""
        return {row[0] for row in self._conn.execute("select id from entries where vector is not null")}

    # --- writing ---

    def write(
        self, added: Iterable[Entry], used: Iterable[tuple[int, int, int, bytes]], since: str = ""
    ) -> list[Entry]:
        """Add entries and note uses `(when, hits, micro-dollars, key)`; one transaction. An entry takes the place of
        one of the same key. Returns those that were not taken: entries were cleared since their calls came (or these
        came before the exchange `since`), or what is there answers a later call."""
        rows = {entry.key: (entry, self._row(entry)) for entry in added}
        late = []
        with transaction(self._conn):
            cleared = max(since, self._conn.execute("select cleared from epoch").fetchone()[0])
            there = self._there(list(rows))
            for key, (entry, _) in list(rows.items()):
                if entry.exchange < cleared or (there.get(key) or "") > entry.exchange:  # ids are sorted by time
                    late.append(entry)
                    del rows[key]
            for key in rows.keys() & there.keys():
                self._delete("key = ?", (key,))
            insert(self._conn, _ADD, [row for _, row in rows.values()])
            values = [(value, key) for key, (entry, _) in rows.items() for value in entry.values]
            self._conn.executemany("insert into entry_values select id, ? from entries where key = ?", values)
            self._conn.executemany(_USED, used)
        return late

    def _row(self, entry: Entry) -> Row:
        """What _ADD takes; sealed, so not while the write lock is held."""
        sealed, vector = self._seal.close(entry), self._seal.wrap(entry.key, entry.vector)
        size = len(sealed) + len(entry.vector or b"") + 256
        return (
            entry.key, entry.rest, entry.tenant, entry.provider, entry.model, entry.user, entry.exchange, entry.created,
            entry.created, entry.cost, size, vector, sealed,
        )  # fmt: skip

    def _there(self, keys: Sequence[bytes]) -> dict[bytes, str | None]:
        """Of these keys those that have an entry, and the exchange that each is from."""
        sql = f"select key, exchange from entries where key in ({', '.join('?' * len(keys))})"
        return dict(self._conn.execute(sql, keys).fetchall())

    def prune(self, now: int, ttl: int, most_bytes: int, most_entries: int) -> int:
        """Delete what is too old, then the least recently used beyond the limits; how many went."""
        size, count, oldest = self._conn.execute(
            "select coalesce(sum(size), 0), count(*), coalesce(min(created), 0) from entries"
        ).fetchone()
        gone = 0
        with transaction(self._conn):
            if count and oldest <= now - ttl:
                gone += self._delete("created <= ?", (now - ttl,))
                size, count = self._conn.execute("select coalesce(sum(size), 0), count(*) from entries").fetchone()
            if size > most_bytes or count > most_entries:
                gone += self._evict(size - most_bytes * 9 // 10, count - most_entries * 9 // 10)
            if gone:
                self._conn.execute("update epoch set number = number + 1")
        if gone:
            self._version = -1
        if self._conn.execute("PRAGMA freelist_count").fetchone()[0]:  # a step each time: all at once takes long
            self._conn.execute("PRAGMA incremental_vacuum(2000)").fetchall()
            self._conn.execute("PRAGMA wal_checkpoint(PASSIVE)")
        return gone

    def _evict(self, bytes_over: int, entries_over: int) -> int:
        """Delete the least recently used, until both are gone."""
        chosen = []
        for number, size in self._conn.execute("select id, size from entries order by used, id"):
            if bytes_over <= 0 and entries_over <= 0:
                break
            chosen.append((number,))
            bytes_over, entries_over = bytes_over - size, entries_over - 1
        self._conn.executemany("delete from entry_values where entry = ?", chosen)
        self._conn.executemany("delete from entries where id = ?", chosen)
        return len(chosen)

    def clear(self, where: str, parameters: tuple[object, ...]) -> int:
        """Delete the entries for which the SQL condition holds; how many went. Every worker forgets them too."""
        with transaction(self._conn):
            gone = self._delete(where, parameters)
            self._conn.execute("update epoch set number = number + 1, cleared = ?", (now_on(),))
        self._conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # what was deleted is not to stay in the -wal file
        return gone

    def _delete(self, where: str, parameters: tuple[object, ...]) -> int:
        self._conn.execute(
            f"delete from entry_values where entry in (select id from entries where {where})", parameters
        )
        return self._conn.execute(f"delete from entries where {where}", parameters).rowcount

    # --- questions ---

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        """What a question answers."""
        return self._conn.execute(sql, parameters).fetchall()

    def texts(self) -> Iterable[tuple[int, Entry]]:
        """Every entry with its number, opened; those that cannot be are left out."""
        numbers = [row[0] for row in self._conn.execute("select id from entries order by id")]
        for number in numbers:
            if entry := self.by_id(number):
                yield number, entry


def now_on() -> str:
    """The id of the first exchange that begins after now (they are sorted by time)."""
    return id_at(time.time_ns() // 1_000_000 + 1)


def inode_of(data: Path, name: str = FILE) -> int | None:
    """What tells the file that is there from another in its place; None where there is none."""
    try:
        return (data / name).stat().st_ino
    except OSError:
        return None


def remove(data: Path) -> None:
    """Delete the file, which needs no room on the disk; whoever has it open begins a new one."""
    with locked(data / f".{FILE}.lock"):
        for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
            (data / name).unlink(missing_ok=True)


def set_aside(data: Path, inode: int | None = None) -> bool:
    """Rename a damaged file out of the way.
    With `inode`: only while it is still that file, for another worker may have been first. Was it?"""
    with locked(data / f".{FILE}.lock"):
        if inode is not None and inode_of(data) != inode:
            return False
        database.set_aside(data / FILE)
    return True
