"""Who may browse: names with a role, each with a password or a token that we made.

All secrets are random (160 bits), so a plain SHA-256 of one cannot be reversed by trying, and no slow hash is needed.
The file is the boundary: whoever can read `browse.json` can sign a session.
"""

from __future__ import annotations

import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

from mitmesh.store.keys import locked

FILE = "browse.json"
FIRST = "auditor"
PREFIX = "mesh_"
"""Tokens begin with it, so that secret scanners and people know one when they see it."""


class Role(StrEnum):
    """An auditor may read content; a viewer sees metadata only."""

    AUDITOR = "auditor"
    VIEWER = "viewer"


class Kind(StrEnum):
    """How someone shows who they are."""

    PASSWORD = "password"
    TOKEN = "token"


@dataclass(slots=True, frozen=True)
class Key:
    """One password or token. `hash` is its SHA-256."""

    name: str
    role: Role
    kind: Kind
    hash: str


class Users:
    """The keys in `folder`; read anew whenever the file changes, so that a removed one stops working at once."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._seen: tuple[int, int] | None = None
        self._secret, self._keys = "", list[Key]()

    @property
    def secret(self) -> str:
        """What sessions are signed with. Raises OSError where there is no file."""
        self._read()
        return self._secret

    def begin(self) -> str | None:
        """Make the file with its first auditor, and return the password; None where the file is there already."""
        if self._path.exists():
            return None
        return self.add(FIRST, Role.AUDITOR, Kind.PASSWORD)

    def add(self, name: str, role: Role, kind: Kind) -> str:
        """Give `name` a new password or token (the old one of this kind ends), and return it: it is kept nowhere."""
        made = (PREFIX if kind is Kind.TOKEN else "") + secrets.token_hex(20)
        with self._changing() as keys:
            keys[:] = [key for key in keys if (key.name, key.kind) != (name, kind)]
            keys.append(Key(name, role, kind, _hash(made)))
        return made

    def remove(self, name: str) -> bool:
        """End all of a name's keys, and its sessions with them; False where it had none."""
        with self._changing() as keys:
            kept = [key for key in keys if key.name != name]
            found, keys[:] = len(kept) < len(keys), kept
        return found

    def all(self) -> list[Key]:
        """Every key."""
        self._read()
        return list(self._keys)

    def holder(self, secret: str, kind: Kind, name: str | None = None) -> Key | None:
        """Whose password or token this is (of `name`, where given)."""
        wanted = _hash(secret)
        found = [key for key in self.all() if key.kind is kind and hmac.compare_digest(key.hash, wanted)]
        return next((key for key in found if name in (None, key.name)), None)

    def by_hash(self, start: str) -> Key | None:
        """The key whose hash begins so: a session names its key by that."""
        return next((key for key in self.all() if start and key.hash.startswith(start)), None)

    def _read(self) -> None:
        status = self._path.stat()
        seen = (status.st_mtime_ns, status.st_ino)
        if seen != self._seen:
            doc: dict[str, Any] = json.loads(self._path.read_text())
            self._secret = doc["secret"]
            self._keys = [Key(k["name"], Role(k["role"]), Kind(k["kind"]), k["hash"]) for k in doc["keys"]]
            self._seen = seen

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        with locked(self._path.with_suffix(".lock")):
            if self._path.exists():
                self._read()
            keys = list(self._keys)
            yield keys
            doc = {"secret": self._secret or secrets.token_hex(32), "keys": [asdict(key) for key in keys]}
            draft = self._path.with_suffix(".new")
            draft.unlink(missing_ok=True)
            fd = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "w") as file:
                json.dump(doc, file, indent=1)
            draft.replace(self._path)


def _hash(secret: str) -> str:
    return sha256(secret.strip().encode("utf-8", "replace")).hexdigest()
