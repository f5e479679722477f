"""The nearest vectors of a partition.

A small partition is a matrix and searched whole. A large one is a usearch index, searched whole up to EXACT vectors and
by its graph beyond, where a near vector may rarely be overlooked: a miss, never a wrong answer."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

import numpy as np
import onnxruntime  # noqa: F401  imported after usearch it ends the process (SIGSEGV; 1.32 and 2.26)
from usearch.index import Index as Graph

SMALL = 2_000
"""Vectors; from here on a usearch index (17 MB when empty, so not for each tenant's few)."""
EXACT = 20_000
"""Vectors; 3.5 ms for 100,000 is too slow, 0.7 ms is not."""
DIMENSIONS = 384


class _Part(Protocol):
    def __len__(self) -> int: ...
    def add(self, id: int, vector: np.ndarray) -> None: ...
    def remove(self, id: int) -> None: ...
    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]: ...


class _Matrix:
    """Rows of signed bytes in an array that doubles."""

    def __init__(self, dimensions: int) -> None:
        self._rows = np.zeros((1, dimensions), dtype=np.int8)  # most conversations have one
        self._ids: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, id: int, vector: np.ndarray) -> None:
        if len(self) == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[len(self)] = vector
        self._places[id] = len(self)
        self._ids.append(id)

    def remove(self, id: int) -> None:
        """The last row takes the place."""
        place, last = self._places.pop(id), self._ids.pop()
        if last != id:
            self._rows[place] = self._rows[len(self._ids)]
            self._ids[place], self._places[last] = last, place

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        rows = self._rows[: len(self)].astype(np.float32)
        wanted = vector.astype(np.float32)
        found = (rows @ wanted) / (np.sqrt(np.einsum("ij,ij->i", rows, rows)) * np.linalg.norm(wanted))
        best = np.argsort(-found, kind="stable")[:k]
        return [(self._ids[each], float(found[each])) for each in best]

    def items(self) -> list[tuple[int, np.ndarray]]:
        return [(id, self._rows[place]) for place, id in enumerate(self._ids)]


class _Large:
    """A usearch index."""

    def __init__(self, dimensions: int) -> None:
        self._graph = Graph(ndim=dimensions, metric="cos", dtype="i8")

    def __len__(self) -> int:
        return len(self._graph)

    def add(self, id: int, vector: np.ndarray) -> None:
        self._graph.add(id, vector, threads=1)

    def remove(self, id: int) -> None:
        self._graph.remove(id, threads=1)

    def search(self, vector: np.ndarray, k: int) -> list[tuple[int, float]]:
        found = self._graph.search(vector, k, exact=len(self) <= EXACT, threads=1)
        return [(int(key), 1 - float(far)) for key, far in zip(found.keys, found.distances, strict=True)]


class Index:
    """Vectors by id, in partitions that never see each other. Bounded: beyond `most` the one added first goes.
    Ids are 0 to 2**63 - 1. For one thread."""

    def __init__(self, most: int = 100_000, dimensions: int = DIMENSIONS) -> None:
        self._most, self._dimensions = most, dimensions
        self._parts: dict[str, _Part] = {}
        self._among: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._among)

    def add(self, id: int, vector: bytes, among: str) -> None:
        """Put a vector (Embedding.vector) into the partition `among`; an id known already is replaced. ValueError for
        one of another length or without direction."""
        row = self._row(vector)
        if not row.any():
            raise ValueError("a vector of zeros has no direction")
        self.remove(id)
        if len(self._among) >= self._most:
            self.remove(next(iter(self._among)))
        part = self._parts.setdefault(among, _Matrix(self._dimensions))
        if isinstance(part, _Matrix) and len(part) >= SMALL:
            part = self._parts[among] = self._grown(part)
        part.add(id, row)
        self._among[id] = among

    def _grown(self, small: _Matrix) -> _Large:
        large = _Large(self._dimensions)
        for id, row in small.items():
            large.add(id, row)
        return large

    def _row(self, vector: bytes) -> np.ndarray:
        if len(vector) != self._dimensions:
            raise ValueError(f"a vector has {self._dimensions} bytes, not {len(vector)}: is it another model's?")
        return np.frombuffer(vector, dtype=np.int8)

    def remove(self, id: int) -> None:
        """Forget it; an unknown id is no error."""
        among = self._among.pop(id, None)
        if among is not None:
            part = self._parts[among]
            part.remove(id)
            if not len(part):
                del self._parts[among]

    def keep(self, ids: Container[int]) -> None:
        """Forget all others."""
        for id in [id for id in self._among if id not in ids]:
            self.remove(id)

    def search(self, vector: bytes, k: int, among: str) -> list[tuple[int, float]]:
        """At most `k` ids of the partition with their cosine, nearest first; none to a vector of zeros."""
        part, row = self._parts.get(among), self._row(vector)
        return part.search(row, k) if part is not None and row.any() else []
