"""Virtual keys: what a team is given in place of a provider's key. Only a keyed hash of each is kept."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import re
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitmesh.attest import Rejected
from mitmesh.store import migrations
from mitmesh.store.database import connect, migrate, read_only, transaction
from mitmesh.store.keys import Hasher, load_key, locked, make_folder

FILE = "keys.db"
PREFIX = "mk-"
SHAPE = re.compile(r"mk-[A-Za-z0-9_-]{43}")
POLL = 0.5
"""Seconds between two looks at the file: so long a revoked key may still be taken."""
MOST = 100_000
"""Keys that one file may hold."""

log = logging.getLogger(__name__)


class TooManyKeys(Exception):
    """The file holds as many keys as may be held in memory."""


@dataclass(slots=True, frozen=True)
class Key:
    """What is known of a key. `scopes` are operations, `models` globs; empty means any. Times are seconds since
    1970."""

    id: str
    team: str | None
    user: str | None
    tier: str | None
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    created: int
    expires: int | None
    revoked: int | None
    note: str


class KeyFile:
    """The file, for who makes keys and takes them back."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def create(self, **what: Any) -> tuple[Key, str]:
        """A new key (fields of Key) and its text, which nobody can tell again. Raises sqlite3.Error, AuditError,
        TooManyKeys."""
        text = PREFIX + secrets.token_urlsafe(32)
        key = Key(id=f"k{secrets.token_hex(5)}", created=int(time.time()), revoked=None, **what)
        row = (key.id, self._hash(text), key.team, key.user, key.tier, json.dumps(key.scopes), json.dumps(key.models),
               key.created, key.expires, key.note)  # fmt: skip
        with self._open() as conn, transaction(conn):
            if conn.execute("select count(*) from keys").fetchone()[0] >= MOST:
                raise TooManyKeys
            names = "id, hash, team, user, tier, scopes, models, created, expires, note"
            conn.execute(f"insert into keys ({names}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return key, text

    def revoke(self, key_id: str) -> bool:
        """Take a key back; false where there is none of that id that holds."""
        with self._open() as conn:
            sql = "update keys set revoked = ? where id = ? and revoked is null"
            return conn.execute(sql, (int(time.time()), key_id)).rowcount > 0

    def all(self) -> list[Key]:
        """Every key, the oldest first; none where there is no file yet."""
        return [key for _, key in _rows(self._data)] if (self._data / FILE).exists() else []

    def _hash(self, text: str) -> str:
        make_folder(self._data)
        return hash_of(Hasher(load_key(self._data)), text)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        make_folder(self._data)
        with locked(self._data / f".{FILE}.lock"), closing(connect(self._data / FILE)) as conn:
            migrate(conn, migrations.keys)
            yield conn


class KeyRing:
    """All keys in memory, as the file has them now. `start` before use."""

    def __init__(self, data: Path, clock: Callable[[], float] = time.time) -> None:
        self._data, self._clock = data, clock
        self._keys: dict[str, Key] = {}
        self._seen: object = None
        self._task: asyncio.Task[None] | None = None
        self.problem = ""

    async def start(self) -> None:
        """Read the file, and follow it. Raises AuditError where the folder's key is damaged."""
        await asyncio.to_thread(make_folder, self._data)
        self._hasher = Hasher(await asyncio.to_thread(load_key, self._data))
        await self._look()
        self._task = asyncio.create_task(self._follow(), name="virtual keys")

    async def stop(self) -> None:
        """Follow it no more."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def find(self, text: str) -> Key:
        """The key that this is. Raises Rejected where it is none that holds."""
        if self.problem:
            raise Rejected("the file of keys cannot be read; the operator finds why in /health")
        if not SHAPE.fullmatch(text):
            raise Rejected("it has not the form of a virtual key")
        wanted = hash_of(self._hasher, text)
        key = self._keys.get(wanted)
        if key is None or not hmac.compare_digest(wanted, hash_of(self._hasher, text)):
            raise Rejected("there is no such virtual key")
        if key.revoked is not None:
            raise Rejected("the virtual key was revoked")
        if key.expires is not None and key.expires <= self._clock():
            raise Rejected("the virtual key has expired")
        return key

    def has(self, text: str) -> bool:
        """Is it a key of the file, whether it holds or not?"""
        return bool(self._keys) and hash_of(self._hasher, text) in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(POLL)
            await self._look()

    async def _look(self) -> None:
        try:
            seen = await asyncio.to_thread(_state, self._data)
            if seen != self._seen or self.problem:
                self._keys = dict(await asyncio.to_thread(_rows, self._data)) if seen else {}
                self._seen, self.problem = seen, ""
        except (OSError, sqlite3.Error, ValueError) as error:
            before, self.problem = self.problem, f"{FILE} cannot be read: {type(error).__name__}"
            self._keys = {}
            if self.problem != before:  # it is looked at twice a second
                # No error: while it starts, mitmproxy would end the process for one, and with it everybody's calls.
                log.warning("identity: %s; no virtual key is taken", self.problem)


def hash_of(hasher: Hasher, text: str) -> str:
    """The keyed hash under which a key is kept."""
    return hasher.hash(b"virtual key", text)


def _state(data: Path) -> object:
    """What changes when the file is written; None where there is none."""
    found = []
    for name in (FILE, f"{FILE}-wal"):
        try:
            stat = (data / name).stat()
            found.append((name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        except FileNotFoundError:
            continue
    return tuple(found) or None


def _rows(data: Path) -> list[tuple[str, Key]]:
    with closing(read_only(data / FILE).conn) as conn:
        query = (
            "select hash, id, team, user, tier, scopes, models, created, expires, revoked, note from keys "
            "order by created, id limit ?"
        )
        rows = conn.execute(query, (MOST,)).fetchall()
    return [
        (row[0], Key(row[1], row[2], row[3], row[4], tuple(json.loads(row[5])), tuple(json.loads(row[6])), *row[7:]))
        for row in rows
    ]
