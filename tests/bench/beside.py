"""What large new texts cost the other calls of the same proxy: small calls of one connection, large ones of another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from bench.load import Load, head, request
from bench.redaction import conversation
from bench.systems import Process

PAUSE, LARGE_PAUSE = 0.002, 0.05
"""Seconds between two small calls, and between two large ones."""


@dataclass
class Large:
    """Large calls, made beforehand: making them up takes this process's time."""

    made: Iterator[bytes]

    def render(self, _: int) -> bytes:
        """The next one."""
        return next(self.made)


async def measure(suite: Process, rounds: int, seconds: float, say: Callable[[str], None]) -> dict[str, float]:
    """The p99 of small calls (ms) alone, beside large calls whose texts are known, and beside new ones; and the last by
    the second, the median of the rounds: only the analysis differs."""
    say("small calls beside large ones")
    found: dict[str, list[float]] = {"alone": [], "known": [], "new": []}
    await Load(_large(1, known=True), calls=1).run(suite.port, 1)
    for turn in range(rounds):
        calls = int(seconds / LARGE_PAUSE)
        for name in ("known", "new", "alone")[:: 1 if turn % 2 else -1]:
            beside = None if name == "alone" else _large(calls, known=name == "known", seed=turn * calls)
            found[name].append(await _p99(suite.port, seconds, beside))
    ratio = median(new / known for new, known in zip(found["new"], found["known"], strict=True))
    return {**{f"others_p99_{name}_ms": median(each) * 1e3 for name, each in found.items()}, "others_p99_ratio": ratio}


def _large(calls: int, *, known: bool, seed: int = 0) -> Large:
    return Large(iter([_call(10_000 if known else 20_000 + seed + n) for n in range(calls)]))


def _call(seed: int) -> bytes:
    messages = [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(conversation(seed))]
    body = json.dumps({"model": "gpt-4o-mini", "messages": messages}).encode()
    return head(len(body)) + body


async def _p99(port: int, seconds: float, beside: Large | None) -> float:
    """Of small calls during so many seconds."""
    small = Load(request(200), seconds=seconds, pause=PAUSE)
    loads = [small.run(port, 1)]
    if beside:
        large = Load(beside, calls=seconds / LARGE_PAUSE // 2, seconds=seconds, pause=LARGE_PAUSE)
        loads.append(large.run(port, 1))
    await asyncio.gather(*loads)
    return sorted(small.latencies)[len(small.latencies) * 99 // 100]
