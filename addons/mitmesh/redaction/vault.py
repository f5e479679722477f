"""Which name stands for which value in conversations that the provider keeps.

A call that refers to an earlier answer (`previous_response_id`, a conversation) does not carry the texts that its names
come from. So the names of each call that may be continued are kept: encrypted (AES-256-GCM), under a keyed hash of the
caller and the answer's id, and no longer than the rules say. The key lies in a file of its own in the data folder.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlite_utils import Database, Migrations

from mitmesh.store.database import DAMAGED, connect, migrate, set_aside, transaction
from mitmesh.store.keys import Hasher, load_key, locked, make_folder

log = logging.getLogger(__name__)

FILE, KEY_FILE = "vault.db", "vault.key"
LARGEST = 2**20
"""Bytes of one call's names; a call with more is not kept, and what refers to it is numbered afresh."""
_NONCE = 12
_MOST_UNWRITTEN = 10_000
_PRUNE_EVERY = 500
_DAY = 86_400

migrations = Migrations("mitmesh.vault")


@migrations(name="001_names")
def _names(db: Database) -> None:
    db.create_table("names", {"key": str, "sealed": bytes, "expires": int}, pk="key").create_index(["expires"])


@migrations(name="002_made_with")
def _made_with(db: Database) -> None:
    db.create_table("made_with", {"key": str}, pk="key")


class OtherKey(sqlite3.DatabaseError):
    """The file was made with another key."""


def _is_damaged(error: sqlite3.DatabaseError) -> bool:
    """Is the file itself at fault, and not a lock, a full disk or its rights?"""
    return type(error) in (sqlite3.DatabaseError, OtherKey)


class Vault:
    """The file and its one thread. `start` before use. `warning` says what became of a file that could not be used."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vault")
        self._given = self._done = 0  # the first counts here, the second in the thread
        self._writes = 0
        self.days, self.rows = 30, 100_000
        self.failures = 0
        self.warning = ""

    async def start(self) -> None:
        """Open the file; one that is damaged, or was made with another key, is set aside. Raises AuditError where the
        key is damaged, sqlite3.Error where no file can be used."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._open)

    async def stop(self) -> None:
        """Write what waits, and close."""
        await asyncio.to_thread(self._thread.shutdown)
        if hasattr(self, "_conn"):
            self._conn.close()

    @property
    def unwritten(self) -> int:
        """Entries that wait to be written."""
        return self._given - self._done

    async def load(self, caller: str, conversation: str) -> dict[str, str | None] | None:
        """Name to value of that answer or conversation of that caller; None where nothing is known of it. A name
        without a value was given twice: by calls that went on at the same time. (The one thread reads what was saved
        before.)"""
        key = self._key(caller, conversation)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, key)

    def save(self, caller: str, conversations: Iterable[str], names: dict[str, str]) -> None:
        """Keep the names; `load` knows them at once, the file soon."""
        for conversation in conversations:
            key = self._key(caller, conversation)
            if self.unwritten >= _MOST_UNWRITTEN:  # the disk does not keep up: memory must not grow for it
                self.failures += 1
                return
            self._given += 1
            self._thread.submit(self._write, key, names)

    def fresh(self, about: str) -> int:
        """The first number for names of a call of whose past nothing is known, or that may stand beside any other's:
        so high that none of the others is taken for one of them. The same for the same words."""
        return 10_000 + int(self._hasher.hash(b"fresh", about)[:8], 16) % 90_000 * 100

    def _key(self, caller: str, conversation: str) -> str:
        return self._hasher.hash(b"vault", f"{caller}\0{conversation}")

    def _open(self) -> None:
        make_folder(self._data)
        key = load_key(self._data, KEY_FILE)
        self._hasher, self._cipher = Hasher(key), AESGCM(key)
        with locked(self._data / f".{FILE}.lock"):
            try:
                self._use()
            except sqlite3.DatabaseError as error:
                if not _is_damaged(error):
                    raise
                self._set_aside(str(error))
                self._use()
        self._prune()

    def _use(self) -> None:
        """Open the file. Raises sqlite3.DatabaseError, and closes it again, where it is none of this key's."""
        self._conn = connect(self._data / FILE)
        try:
            migrate(self._conn, migrations)
            mark = self._hasher.hash(b"vault", "made with this key")
            made_with = self._conn.execute("select key from made_with").fetchone()
            if made_with is None:
                self._conn.execute("insert into made_with (key) values (?)", (mark,))
            elif made_with[0] != mark:
                raise OtherKey(f"it was not made with this {KEY_FILE}")
        except sqlite3.Error:
            self._conn.close()
            raise

    def _set_aside(self, why: str) -> None:
        """Rename the file, and say so."""
        set_aside(self._data / FILE)
        self.warning = (
            f"{FILE} could not be used ({why}) and is now {FILE}{DAMAGED}: what conversations that providers keep said "
            f"before is not restored. Put back {FILE} and {KEY_FILE} of one backup to have it again"
        )
        log.warning("redaction: %s", self.warning)  # an error would end the start

    def _read(self, key: str) -> dict[str, str | None] | None:
        query = "select sealed from names where key = ? and expires > ?"
        row = self._conn.execute(query, (key, int(time.time()))).fetchone()
        if row is None:
            return None
        try:
            names: dict[str, str | None] = json.loads(
                self._cipher.decrypt(row[0][:_NONCE], row[0][_NONCE:], key.encode())
            )
        except InvalidTag:
            raise sqlite3.DatabaseError("an entry of the vault was not made with its key") from None
        return names

    def _write(self, key: str, names: dict[str, str]) -> None:
        try:
            with transaction(self._conn):
                known: Mapping[str, str | None] = self._read(key) or {}
                twice = {name: None for name, value in known.items() if names.get(name, value) != value}
                text = json.dumps({**known, **names, **twice}).encode()
                if len(text) > LARGEST:  # better nothing than what is no longer all
                    self._conn.execute("delete from names where key = ?", (key,))
                else:
                    nonce = os.urandom(_NONCE)
                    sealed = nonce + self._cipher.encrypt(nonce, text, key.encode())
                    row = (key, sealed, int(time.time()) + self.days * _DAY)
                    self._conn.execute("insert or replace into names (key, sealed, expires) values (?, ?, ?)", row)
            self._writes += 1
            if self._writes % _PRUNE_EVERY == 0:
                self._prune()
        except sqlite3.Error as error:
            self.failures += 1
            log.error("the vault could not be written: %s", type(error).__name__)
        finally:
            self._done += 1

    def _prune(self) -> None:
        """Delete what has expired, and the oldest beyond the limit."""
        self._conn.execute("delete from names where expires <= ?", (int(time.time()),))
        oldest = "select key from names order by expires desc limit -1 offset ?"
        self._conn.execute(f"delete from names where key in ({oldest})", (self.rows,))
