"""The nearest vectors of a partition."""

from __future__ import annotations


class Index:
    """Vectors by id, in partitions that never see each other. Bounded: beyond `most` the oldest of all goes."""

    def __init__(self, most: int = 100_000) -> None:
        self._most = most

    def add(self, id: int, vector: bytes, among: str) -> None:
        """Put a vector (Embedding.vector) into the partition `among`; an id known already is replaced."""

    def remove(self, id: int) -> None:
        """Forget it; an unknown id is no error."""

    def search(self, vector: bytes, k: int, among: str) -> list[tuple[int, float]]:
        """At most `k` ids of the partition with their cosine, nearest first."""
        return []
