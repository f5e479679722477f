"""What is measured, in which order: in rounds, the systems in turn, for a noisy machine must be noisy for each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median

from bench.load import Load, Request, request
from bench.systems import Process, Systems

SIZES = {"200 B": 200, "70 KB": 70_000}
CONNECTIONS = (1, 16, 64)
EVENTS = 500
PAUSE = 1000
"""Microseconds between two events: so each comes to the proxy by itself."""
SETTLE = 0.3
"""Seconds after a load in which the suite's writer catches up: its CPU time belongs to that load."""


@dataclass(frozen=True)
class Plan:
    """How much is done: rounds, seconds of a load, calls of the memory test, and calls before it."""

    rounds: int = 5
    seconds: float = 1.5
    memory_calls: int = 20_000
    memory_warmup: int = 6_000


QUICK = Plan(rounds=1, seconds=0.3, memory_calls=500, memory_warmup=100)


@dataclass(frozen=True)
class Sample:
    """One load on one system; times in milliseconds, CPU time of the proxy in microseconds for each call."""

    rps: float
    p50: float
    p99: float
    first: float
    cpu: float
    calls: int


@dataclass
class Cell:
    """One kind of load: the samples of each system, in the order of the rounds."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)

    def figure(self, system: str, name: str) -> float:
        """The median of a figure over the rounds."""
        figures: list[float] = [getattr(sample, name) for sample in self.samples[system]]
        return median(figures)

    def cpu(self, system: str) -> float:
        """Microseconds of CPU time for each call, over all rounds, for it is counted in steps of 10 ms."""
        samples = self.samples[system]
        return sum(sample.cpu * sample.calls for sample in samples) / sum(sample.calls for sample in samples)

    def ratio(self, name: str, over: str = "bare") -> float:
        """The suite's figure by another system's: the median of the rounds' own ratios."""
        return median(self._pairs(name, over, lambda suite, other: suite / other))

    def added(self, name: str, over: str = "bare") -> float:
        """What the suite adds to another system's figure: the median of the rounds' own differences."""
        return median(self._pairs(name, over, lambda suite, other: suite - other))

    def _pairs(self, name: str, over: str, by: Callable[[float, float], float]) -> Iterable[float]:
        pairs = zip(self.samples["suite"], self.samples[over], strict=True)
        return [by(getattr(suite, name), getattr(other, name)) for suite, other in pairs]


@dataclass
class Results:
    """All that was measured. Memory is what each system held (bytes) before, during and after the calls."""

    calls: dict[tuple[str, int], Cell]
    first_token: Cell
    events: Cell
    events_edited: Cell
    memory: dict[str, list[int]]
    redaction: dict[str, float] = field(default_factory=dict)
    """Figures of bench.redaction, by name."""
    quota: dict[str, float] = field(default_factory=dict)
    """Figures of bench.quota, by name."""
    cache: dict[str, float] = field(default_factory=dict)
    """Figures of bench.hits, by name."""
    semantic: dict[str, float] = field(default_factory=dict)
    """Figures of bench.semantic, by name."""


async def measure(systems: Systems, plan: Plan, say: Callable[[str], None]) -> Results:
    """Run the whole plan; `say` is told what comes next. Raises CallFailed."""
    pair, streaming = (systems.bare, systems.suite), (systems.streaming, systems.suite)
    say("memory")
    memory = {process.name: await _memory(process, plan) for process in pair}
    cells = {}
    for name, size in SIZES.items():
        for connections in CONNECTIONS:
            say(f"{name}, {connections} connections")
            cells[name, connections] = await _rounds(pair, request(size), connections, plan)
    say("streams")
    short = request(200, events=20, pause=PAUSE)
    long, edited = (request(200, events=EVENTS, pause=PAUSE, usage=usage) for usage in (True, False))
    return Results(
        calls=cells,
        first_token=await _rounds(streaming, short, 1, plan),
        events=await _rounds(streaming, long, 2, plan),
        events_edited=await _rounds(streaming, edited, 2, plan),
        memory=memory,
    )


async def _rounds(pair: Iterable[Process], wanted: Request, connections: int, plan: Plan) -> Cell:
    cell, order = Cell(), list(pair)
    for process in order:
        await _sample(process, wanted, connections, plan.seconds / 4)
    for _ in range(plan.rounds):
        for process in order:
            sample = await _sample(process, wanted, connections, plan.seconds)
            cell.samples.setdefault(process.name, []).append(sample)
        order.reverse()
    return cell


async def _sample(process: Process, wanted: Request, connections: int, seconds: float) -> Sample:
    load, before = Load(wanted, seconds=seconds), process.cpu()
    await load.run(process.port, connections)
    await asyncio.sleep(SETTLE)
    calls = len(load.latencies)
    latencies, firsts = sorted(load.latencies), sorted(load.firsts)
    return Sample(
        rps=calls / (load.ended - load.began),
        p50=latencies[calls // 2] * 1e3,
        p99=latencies[calls * 99 // 100] * 1e3,
        first=firsts[len(firsts) // 2] * 1e3,
        cpu=(process.cpu() - before) / calls * 1e6,
        calls=calls,
    )


async def _memory(process: Process, plan: Plan) -> list[int]:
    """Bytes held after the warm-up, and after each tenth of the calls."""
    small, held = request(200), []
    await Load(small, calls=plan.memory_warmup).run(process.port, 16)
    for _ in range(10):
        held.append(process.memory())
        await Load(small, calls=plan.memory_calls // 10).run(process.port, 16)
    await asyncio.sleep(SETTLE)
    return [*held, process.memory()]
