"""What sessions repeat, as the workers of a data folder tell each other: in `quota.db`, as hashes that are keyed with
the folder's key, no text. Only steps are told that a worker has seen at least twice."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

from mitmesh.quotas.in_sqlite import SqliteLedger
from mitmesh.quotas.ledger import LedgerAway
from mitmesh.quotas.loops import SKETCH, Sketch, same, triples
from mitmesh.rules.quotas import Loops
from mitmesh.store.errors import AuditError
from mitmesh.store.keys import load_key

ROWS = 1_000
"""Steps of one session that are read at most, of all other workers."""
_TELL = """INSERT INTO steps (session, worker, step, sketch, times, expires) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (session, worker, step) DO UPDATE
    SET sketch = excluded.sketch, times = excluded.times, expires = excluded.expires"""
_OTHERS = "SELECT sketch, times FROM steps WHERE session = ? AND worker <> ? LIMIT ?"


@dataclass(slots=True)
class Took:
    """A session took a step: `step` is this process's name for it and all that are the same to it, `text` what it says
    this time. `ages`: how long ago it was each time, in seconds."""

    session: str
    step: str
    text: str
    ages: Sequence[float]


class Repeats:
    """What this worker tells, and hears. `clock` gives seconds since 1970."""

    def __init__(self, data: Path, clock: Callable[[], float] = time.time) -> None:
        self._data, self._ledger = data, SqliteLedger(data, clock)
        self._worker = f"{os.getpid()}:{secrets.token_hex(4)}"

    async def elsewhere(self, took: Took, rules: Loops) -> int:
        """Tell the other workers; how often they saw the session take that step within the rules' minutes. 0 where the
        file cannot be asked: each then counts by itself."""
        try:
            session, sketch = await asyncio.to_thread(self._hashed, took)
            return await self._ledger.run(lambda conn, now: self._tell(conn, now, session, sketch, took, rules))
        except (LedgerAway, AuditError, OSError):
            return 0

    async def close(self) -> None:
        """Let go of the file."""
        await self._ledger.close()

    def _tell(self, conn: sqlite3.Connection, now: int, session: str, sketch: Sketch, took: Took, rules: Loops) -> int:
        seconds = rules.minutes * 60
        times = json.dumps([int(now - age) for age in took.ages])
        conn.execute("DELETE FROM steps WHERE expires < ?", (now,))
        conn.execute(_TELL, (session, self._worker, took.step, _text(sketch), times, now + seconds))
        others = conn.execute(_OTHERS, (session, self._worker, ROWS)).fetchall()
        alike = (json.loads(times) for known, times in others if same(_sketch(known), sketch, rules))
        return sum(at > now - seconds for times in alike for at in times)

    @cached_property
    def _key(self) -> bytes:
        return load_key(self._data)

    def _hashed(self, took: Took) -> tuple[str, Sketch]:
        words = {int.from_bytes(self._hash(" ".join(each))) for each in triples(took.text)}
        return self._hash(took.session).hex(), frozenset(sorted(words)[:SKETCH])

    def _hash(self, text: str) -> bytes:
        data = text.encode("utf-8", "surrogatepass")
        return blake2b(data, digest_size=8, key=self._key, person=b"loops").digest()


def _text(sketch: Sketch) -> str:
    return " ".join(f"{each:x}" for each in sorted(sketch))


def _sketch(text: str) -> Sketch:
    return frozenset(int(each, 16) for each in text.split())
