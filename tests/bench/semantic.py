"""What a look-up by meaning takes: vector, search and gate, for prompts under 30 tokens."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import numpy as np

from mitmesh.caching.embedder import Embedder
from mitmesh.caching.gate import judge
from mitmesh.caching.index import Index

SIZES = {"1k": 1_000, "100k": 100_000}
CANDIDATES = 8
_SUBJECTS = ["invoice", "order", "password", "account", "server", "report", "contract", "card", "parcel", "ticket"]
_DEEDS = ["cancel", "print", "reset", "rename", "export", "delete", "share", "check", "move", "approve"]
_CASES = ["in the app", "on my phone", "for a colleague", "before Friday", "without a login", "from the web page"]


async def measure(rounds: int, say: Callable[[str], None], sizes: dict[str, int] = SIZES) -> dict[str, float]:
    """Milliseconds of the whole look-up by number of entries (p50 and p99), and of the index alone (p50)."""
    embedder, found = Embedder(), dict[str, float]()
    await embedder.start()
    try:
        texts = _prompts()
        known = [np.frombuffer(each.vector, np.int8) for each in [await embedder.embed(text) for text in texts] if each]
        for name, count in sizes.items():
            say(f"look-up by meaning, {count} entries")
            index = _filled(known, count)
            taken = sorted([await _look_up(embedder, index, texts, n) for n in range(max(200, rounds * 100))])
            found |= {
                f"semantic_{name}_p50_ms": taken[len(taken) // 2][0] * 1e3,
                f"semantic_{name}_p99_ms": taken[len(taken) * 99 // 100][0] * 1e3,
                f"semantic_{name}_index_ms": sorted(search for _, search in taken)[len(taken) // 2] * 1e3,
            }
    finally:
        await embedder.stop()
    return found


def _prompts() -> list[str]:
    return [f"How do I {deed} the {each} {case}?" for deed in _DEEDS for each in _SUBJECTS for case in _CASES]


def _filled(known: list[np.ndarray], count: int) -> Index:
    """Vectors around those of real prompts, in one partition: all of it is searched."""
    chance, index = np.random.default_rng(1), Index(most=count)
    for id in range(count):
        near = known[id % len(known)] + chance.normal(0, 12, len(known[0]))
        index.add(id, np.clip(np.round(near), -127, 127).astype(np.int8).tobytes(), "all")
    return index


async def _look_up(embedder: Embedder, index: Index, texts: list[str], n: int) -> tuple[float, float]:
    """Seconds of a whole look-up, and of its search: nothing answers, so that all candidates are judged."""
    text, chosen = f"Number {n}: {texts[n * 7 % len(texts)]}", random.Random(n)
    began = time.perf_counter()
    embedding = await embedder.embed(text)
    assert embedding is not None
    searched = time.perf_counter()
    near = index.search(embedding.vector, CANDIDATES, "all")
    search = time.perf_counter() - searched
    assert near
    for _, cosine in near:
        judge(text, chosen.choice(texts), cosine)
    return time.perf_counter() - began, search
