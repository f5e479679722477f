"""One kept answer, and how it is written down: sealed, for it is text."""

from __future__ import annotations

import hmac
import json
import os
import zlib
from dataclasses import dataclass, field, fields
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mitmesh.dialects.base import Answer, Kind, Part, Usage
from mitmesh.store.keys import Hasher

_NONCE = 12
_SMALL = 512
"""Bytes of an entry's texts that are not worth compressing."""


@dataclass(slots=True)
class Entry:
    """An answer that may be given again. `answer` is redacted; `body` is its JSON where an Answer cannot say it
    (embeddings). `cost` is what it cost, in micro-dollars (None: unknown); `created` in seconds since 1970.

    `rest`, `turn` and `vector` are for finding it by meaning; `values` are keyed hashes of the caller's values behind
    its placeholders. Those and the names beside them are for the operator's questions."""

    key: bytes
    answer: Answer
    exchange: str
    created: int
    tenant: str
    provider: str
    model: str
    body: bytes | None = None
    cost: int | None = None
    rest: bytes | None = None
    turn: str | None = None
    vector: bytes | None = None
    user: str | None = None
    values: tuple[str, ...] = ()
    size: int = 0
    shown: dict[Any, bytes] = field(default_factory=dict)
    """Its bytes in the forms that were asked for, while it is held in memory."""


class Seal:
    """Seals entries with keys that come of the folder's one key, and gives the secret of the lookup keys; `hash` is
    keyed with that secret too."""

    def __init__(self, key: bytes) -> None:
        self.secret = hmac.digest(key, b"cache lookup", "sha256")
        self.hash = Hasher(self.secret).hash
        self._cipher = AESGCM(hmac.digest(key, b"cache sealing", "sha256"))

    def close(self, entry: Entry) -> bytes:
        """The entry's texts as they are written to the file."""
        body = entry.body.decode() if entry.body is not None else None
        said = {"turn": entry.turn, "answer": _plain(entry.answer), "body": body}
        packed = json.dumps(said, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if len(packed) > _SMALL:
            packed = zlib.compress(packed, 1)
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, packed, entry.key)

    def open(self, key: bytes, sealed: bytes) -> tuple[Answer, bytes | None, str | None]:
        """Answer, body and turn. Raises InvalidTag where it was not sealed with this key."""
        packed = self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], key)
        plain = packed if packed.startswith(b"{") else zlib.decompress(packed)  # which begins otherwise
        said = json.loads(plain.decode("utf-8", "surrogatepass"))
        body = said["body"]
        return _answer(said["answer"]), body.encode() if body is not None else None, said["turn"]

    def wrap(self, key: bytes, vector: bytes | None) -> bytes | None:
        """The vector of the entry of this key as it is written: much of a short text can be guessed from its vector."""
        if vector is None:
            return None
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, vector, b"vector" + key)

    def unwrap(self, key: bytes, wrapped: bytes | None) -> bytes | None:
        """The vector. Raises InvalidTag, as `open` does."""
        if wrapped is None:
            return None
        return self._cipher.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], b"vector" + key)


_BESIDE = 1_600
"""Bytes that an entry takes in memory besides its texts, measured with tracemalloc."""


def weigh(entry: Entry) -> int:
    """About how many bytes an entry takes, in memory or on disk."""
    texts = sum(len(part.text) for part in entry.answer.parts) + len(entry.turn or "")
    return _BESIDE + texts + len(entry.body or b"") + len(entry.vector or b"")


def _plain(answer: Answer) -> dict[str, Any]:
    """As JSON can say it. What dataclasses.asdict makes, which copies each value and takes ten times as long."""
    said = {name: getattr(answer, name) for name in _ANSWER}
    said["parts"] = [{name: getattr(part, name) for name in _PART} for part in answer.parts]
    said["usage"] = {name: getattr(answer.usage, name) for name in _USAGE} if answer.usage else None
    return said


_ANSWER, _PART, _USAGE = (tuple(each.name for each in fields(kind) if each.compare) for kind in (Answer, Part, Usage))


def _answer(said: dict[str, Any]) -> Answer:
    parts = [Part(Kind(part["kind"]), part["text"], part["name"], part["call_id"]) for part in said.pop("parts")]
    usage = said.pop("usage")
    return Answer(**said, parts=parts, usage=Usage(**usage) if usage else None)
