"""Kept answers found by meaning: an index over cache.db's vectors, and what decides between the nearest.

The index only proposes. What it proposes is read from the file again: what is not there any more, is another call's, or
is not alike by its own vector and text, is not given, whatever the index says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mitmesh.caching.database import File
from mitmesh.caching.entry import Seal
from mitmesh.caching.gate import judge, least
from mitmesh.caching.index import Index
from mitmesh.caching.meaning import Asked, Recalled

NEAREST = 8
"""Entries that are judged, the nearest first."""
CHUNK = 32
"""Entries that are learned at once; searches go in between."""


class Recall:
    """The index of one process; for one thread. `most`: entries in it, the oldest go first; `dimensions`: of the
    model's vectors, others are left out. Raises OSError and sqlite3.Error."""

    def __init__(self, data: Path, seal: Seal, most: int, dimensions: int) -> None:
        self._data, self._seal, self._most, self._dimensions = data, seal, most, dimensions
        self._open()

    def _open(self) -> None:
        self._file = File(self._data, self._seal)
        self._index = Index(self._most, self._dimensions)
        self._last = 0
        self._epoch = self._file.epoch()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._index)

    def refresh(self) -> bool:
        """Learn a part of what came into the file, forget what went from it; is there more?"""
        if self._file.moved:  # set aside: another has taken its place, and its numbers
            self._file.close()
            self._open()
        epoch = self._file.epoch()
        if epoch != self._epoch:
            self._index.keep(self._file.numbers())
            self._epoch = epoch
        rows = self._file.vectors(self._last, CHUNK)
        for number, rest, vector in rows:
            if len(vector) == self._dimensions and any(vector):
                self._index.add(number, vector, rest.hex())
            self._last = number
        return len(rows) == CHUNK

    def find(self, asked: Asked) -> Recalled:
        """The nearest entry that the gate lets answer."""
        if len(asked.vector) != self._dimensions:
            return Recalled()
        first: Recalled | None = None
        for number, about in self._index.search(asked.vector, NEAREST, asked.rest.hex()):
            if about < max(asked.similarity, least()) - 0.02:  # an estimate in a large index
                break
            found = self._judged(asked, number)
            if found and found.entry:
                return found
            first = first or found
        return first or Recalled()

    def _judged(self, asked: Asked, number: int) -> Recalled | None:
        entry = self._file.by_id(number)
        if entry is None:  # replaced, or cleared a moment ago
            self._index.remove(number)
            return None
        if entry.rest != asked.rest or entry.created < asked.oldest or not (entry.turn and entry.vector):
            return None
        similarity = cosine(asked.vector, entry.vector)
        if similarity < asked.similarity:
            return None
        verdict = judge(asked.turn, entry.turn, similarity)
        return Recalled(entry if verdict.hit else None, similarity, None if verdict.hit else verdict.reason)


def cosine(one: bytes, other: bytes) -> float:
    """Of two vectors (Embedding.vector); -1 where they are not of one kind, or no direction."""
    if len(one) != len(other):
        return -1.0
    a, b = (np.frombuffer(each, dtype=np.int8).astype(np.float32) for each in (one, other))
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length else -1.0
