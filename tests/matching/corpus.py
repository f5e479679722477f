"""Texts with their vectors, and the search for what is nearest; what the measurements and the training share."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mitmesh.caching.embedder import Embedder

NEAREST = 8
"""Candidates the gate is asked about, nearest first."""
CACHED, ASKED = 3000, 1000
"""Questions of banking77 in a draw."""
HERE = Path(__file__).parent
PAIRS = HERE.parent / "caching" / "data" / "pairs.jsonl"


@dataclass(slots=True)
class Corpus:
    """Vectors of texts, computed once; a text without one is never matched by meaning."""

    vectors: dict[str, np.ndarray]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Corpus:
        return cls(asyncio.run(_embed(sorted(set(texts)))))

    def cosine(self, a: str, b: str) -> float | None:
        """None where one of them cannot be matched by meaning."""
        if a not in self.vectors or b not in self.vectors:
            return None
        return float(self.vectors[a] @ self.vectors[b])

    def nearest(self, asked: Sequence[str], cached: Sequence[str]) -> Iterable[list[tuple[int, float]]]:
        """For each asked the places of the nearest cached ones with their cosine."""
        zero = np.zeros(384, dtype=np.float32)
        rows = np.stack([self.vectors.get(each, zero) for each in cached])
        for text in asked:
            found = rows @ self.vectors.get(text, zero)
            yield [(int(n), float(found[n])) for n in np.argsort(-found, kind="stable")[:NEAREST] if found[n] > 0]


async def _embed(texts: Sequence[str]) -> dict[str, np.ndarray]:
    embedder, found = Embedder(), {}
    await embedder.start()
    try:
        for text in texts:
            if embedding := await embedder.embed(text):
                row = np.frombuffer(embedding.vector, dtype=np.int8).astype(np.float32)
                found[text] = row / np.linalg.norm(row)
    finally:
        await embedder.stop()
    return found


def banking(data: Path) -> list[tuple[str, str]]:
    """(text, intent); the first of texts that occur twice."""
    rows: dict[str, str] = {}
    with (data / "banking77" / "train.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["text"], row["category"])
    return list(rows.items())


def pairs(file: Path = PAIRS) -> list[dict[str, object]]:
    """Objects with `a`, `b`, `hit`, perhaps `kind`. ValueError names the line that is none."""
    found = []
    for n, line in enumerate(file.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            pair = json.loads(line)
            found.append(pair | {"a": str(pair["a"]), "b": str(pair["b"]), "hit": bool(pair["hit"])})
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file}:{n}: a line is an object with a, b and hit") from error
    return found


def mock(data: Path) -> list[tuple[str, str]]:
    """gptcache-mock's (origin, similar)."""
    rows = json.loads((data / "gptcache-mock" / "mock_data.json").read_text())
    return [(row["origin"], row["similar"]) for row in rows]
