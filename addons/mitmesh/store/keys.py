"""The data folder, its key, and the keyed hashes made with it.

A plain hash of a credential or a short message can be found by trying; a keyed one only by who holds the key file.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from mitmesh.store.errors import AuditError

KEY_FILE = "hash.key"
KEY_BYTES = 32


def make_folder(data: Path) -> None:
    """Make the data folder, readable by its owner alone. One that exists keeps the access its operator gave it."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)


def create_private(path: Path) -> None:
    """Make an empty file of mode 0600 unless it exists: SQLite gives its own files the mode of the database."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file while the block runs: one process at a time sets the folder up."""
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def load_key(data: Path, name: str = KEY_FILE) -> bytes:
    """The folder's key of that name, made at first use. Whoever comes second uses the first one's: it appears whole or
    not at all.

    Raises AuditError where the file is not a key: with a new one, hashes would no longer match the old."""
    path = data / name
    if not path.exists():
        draft = data / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
        fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, path)
            except FileExistsError:
                pass
        finally:
            draft.unlink()
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise AuditError(f"{name} in the data folder is not a key of {KEY_BYTES} bytes; restore it from a backup")
    return key


class Hasher:
    """Keyed hashes, 32 hex digits, a domain of their own for each purpose: a credential never equals a message.

    They are made anew each time. Remembering them by text costs as much as hashing (Python must hash a freshly
    parsed string to look it up), and would keep the texts in memory."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._begun: dict[bytes, blake2b] = {}

    def hash(self, purpose: bytes, text: str) -> str:
        """The hash of one text; `purpose` is at most 16 bytes, one of a few fixed words."""
        hashed = self._begin(purpose)
        hashed.update(text.encode("utf-8", "surrogatepass"))
        return hashed.hexdigest()

    def _begin(self, purpose: bytes) -> blake2b:
        """A hash that has taken the key: a copy of one takes a third less time than to begin anew."""
        begun = self._begun.get(purpose)
        if begun is None:
            begun = self._begun[purpose] = blake2b(digest_size=16, key=self._key, person=purpose)
        return begun.copy()

    def beginnings(self, words: Iterable[str], least: int) -> dict[int, str]:
        """The hashes of a list and of its beginnings of at least so many words, by their length. Holds a word at a
        time, for they may be large."""
        hashed = self._begin(b"beginning")
        hashes = {}
        for length, word in enumerate(words, 1):
            hashed.update(f"{len(word)} {word}".encode("utf-8", "surrogatepass"))
            if length >= least:
                hashes[length] = hashed.hexdigest()
        return hashes

    def message(self, role: str, text: str) -> str:
        """The hash of a message: the same words in another role are another message."""
        return self.hash(b"message", f"{role}\0{text}")
