"""Figures out of what was measured: as JSON, and as a table with each target beside its figure."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from bench.runner import EVENTS, Cell, Plan, Results

TARGETS = (
    ("requests/s by bare mitmdump's, 200 B, 16 connections", "rps_200B_16", "≥", 0.85, ""),
    ("requests/s by bare mitmdump's, 70 KB, 16 connections", "rps_70KB_16", "≥", 0.6, ""),
    ("added to p50, 200 B, 1 connection", "added_p50_ms", "≤", 0.5, "ms"),
    ("added to the first token", "added_first_token_ms", "≤", 2.0, "ms"),
    ("memory growth over the calls", "memory_growth_mb", "≤", 10.0, "MB"),
    ("redaction of a repeated 70 KB request", "repeated_70KB_ms", "≤", 1.5, "ms"),
    ("redaction of it with a new message of 1 kB", "new_1KB_ms", "≤", 8.0, "ms"),
    ("redaction of a first 70 KB request", "first_70KB_ms", "≤", 400.0, "ms"),
    ("p99 of other calls beside such ones, by it beside known", "others_p99_ratio", "≤", 1.5, ""),
    ("restoring, an event", "restored_event_us", "≤", 30.0, "us"),
    ("a decision of the quota ledger in SQLite", "quota_decision_ms", "≤", 1.0, "ms"),
    ("identity and quota with two limits, at 1 connection", "quota_added_ms", "≤", 0.3, "ms"),
    ("hits by bare mitmdump's requests/s, 200 B, 16 connections", "hit_rps_200B", "≥", 1.1, ""),
    ("a miss, before the request leaves, 200 B", "miss_200B_ms", "≤", 0.3, "ms"),
    ("a miss, before the request leaves, 70 KB", "miss_70KB_ms", "≤", 0.3, "ms"),
    ("look-up by meaning among 1,000, p50", "semantic_1k_p50_ms", "≤", 5.0, "ms"),
    ("look-up by meaning among 1,000, p99", "semantic_1k_p99_ms", "≤", 20.0, "ms"),
    ("look-up by meaning among 100,000, p50", "semantic_100k_p50_ms", "≤", 5.0, "ms"),
    ("look-up by meaning among 100,000, p99", "semantic_100k_p99_ms", "≤", 20.0, "ms"),
)
"""What the figure is, its name, and its limit."""


def document(results: Results, plan: Plan) -> dict[str, Any]:
    """All figures, for --json: times in milliseconds, CPU time in microseconds, memory in megabytes (10^6 bytes)."""
    memory = {name: [round(held / 1e6, 2) for held in steps] for name, steps in results.memory.items()}
    growth = {name: round(steps[-1] - steps[0], 2) for name, steps in memory.items()}
    first = results.first_token
    figures = {
        "rps_200B_16": results.calls["200 B", 16].ratio("rps"),
        "rps_70KB_16": results.calls["70 KB", 16].ratio("rps"),
        "added_p50_ms": results.calls["200 B", 1].added("p50"),
        "added_first_token_ms": first.added("first", "streaming"),
        "memory_growth_mb": growth["suite"],
        **results.redaction,
        **results.quota,
        **results.cache,
        **results.semantic,
    }
    return {
        "machine": {
            "python": platform.python_version(),
            "mitmproxy": version("mitmproxy"),
            "cpus": os.cpu_count(),
            "load": round(os.getloadavg()[0], 2),
        },
        "plan": asdict(plan),
        "calls": [_calls(size, connections, cell) for (size, connections), cell in results.calls.items()],
        "first_token": {
            "bare_ms": _round(first.figure("streaming", "first")),
            "suite_ms": _round(first.figure("suite", "first")),
        },
        "event_cpu_us": {
            "bare": _round(results.events.cpu("streaming") / EVENTS),
            "suite": _round(results.events.cpu("suite") / EVENTS),
            "suite_editing": _round(results.events_edited.cpu("suite") / EVENTS),
        },
        "memory_mb": {name: {"growth": growth[name], "steps": steps} for name, steps in memory.items()},
        "redaction": {name: _round(value) for name, value in results.redaction.items()},
        "quota": {name: _round(value) for name, value in results.quota.items()},
        "cache": {name: _round(value) for name, value in results.cache.items()},
        "semantic": {name: _round(value) for name, value in results.semantic.items()},
        "targets": [_target(name, figures[name], sign, limit) for _, name, sign, limit, _ in TARGETS],
    }


def _calls(size: str, connections: int, cell: Cell) -> dict[str, Any]:
    return {
        "size": size,
        "connections": connections,
        **{system: _system(cell, system) for system in ("bare", "suite")},
        "rps_ratio": _round(cell.ratio("rps")),
        "cpu_ratio": _round(cell.cpu("bare") / cell.cpu("suite")),
        "added_p50_ms": _round(cell.added("p50")),
    }


def _system(cell: Cell, system: str) -> dict[str, float]:
    p50, p99 = cell.figure(system, "p50"), cell.figure(system, "p99")
    rps, cpu = cell.figure(system, "rps"), cell.cpu(system)
    return {"rps": _round(rps), "p50_ms": _round(p50), "p99_ms": _round(p99), "cpu_us": _round(cpu)}


def _target(name: str, value: float, sign: str, limit: float) -> dict[str, Any]:
    reached = value >= limit if sign == "≥" else value <= limit
    return {"name": name, "value": _round(value), "limit": limit, "reached": reached}


def _round(value: float) -> float:
    return round(value, 3)


def table(doc: dict[str, Any]) -> str:
    """The same for people."""
    parts = (_head(doc), _rows(doc["calls"]), [*_streams(doc), *_hits(doc["cache"])], _targets(doc["targets"]))
    return "\n\n".join("\n".join(part) for part in parts)


def _head(doc: dict[str, Any]) -> Iterator[str]:
    machine, plan = doc["machine"], doc["plan"]
    yield (
        f"bare mitmdump {machine['mitmproxy']} and the suite before the same upstream: Python {machine['python']}, "
        f"{machine['cpus']} CPUs (load {machine['load']}), {plan['rounds']} rounds of {plan['seconds']} s"
    )


def _rows(calls: list[dict[str, Any]]) -> Iterator[str]:
    yield (
        "               requests/s            p50 ms              p99 ms            CPU us/call\n"
        "               bare suite ratio     bare  suite  added   bare  suite       bare suite ratio"
    )
    for row in calls:
        bare, suite = row["bare"], row["suite"]
        yield (
            f"{row['size']} x {row['connections']:<5}"
            f"{bare['rps']:7.0f} {suite['rps']:5.0f} {row['rps_ratio']:5.2f}"
            f"  {bare['p50_ms']:7.2f} {suite['p50_ms']:6.2f} {row['added_p50_ms']:+6.2f}"
            f"  {bare['p99_ms']:6.1f} {suite['p99_ms']:6.1f}"
            f"     {bare['cpu_us']:6.0f} {suite['cpu_us']:5.0f} {row['cpu_ratio']:5.2f}"
        )


def _streams(doc: dict[str, Any]) -> Iterator[str]:
    first, cpu = doc["first_token"], doc["event_cpu_us"]
    yield f"first token        bare {first['bare_ms']:.2f} ms, suite {first['suite_ms']:.2f} ms"
    yield (
        f"CPU of an event    bare {cpu['bare']:.0f} us, suite {cpu['suite']:.0f} us, "
        f"suite where it asks for usage itself {cpu['suite_editing']:.0f} us"
    )
    grown = ", ".join(f"{name} {memory['growth']:+.1f} MB" for name, memory in doc["memory_mb"].items())
    yield f"memory growth      {grown} over {doc['plan']['memory_calls']} calls"


def _hits(cache: dict[str, float]) -> Iterator[str]:
    for size in ("200B", "70KB"):
        ours, addon = cache[f"hit_rps_{size}"], cache[f"answering_rps_{size}"]
        yield f"hits, {size:<13}{ours:.2f} times bare mitmdump's requests/s; an addon that only answers {addon:.2f}"


def _targets(targets: list[dict[str, Any]]) -> Iterator[str]:
    for (text, _, sign, _, unit), target in zip(TARGETS, targets, strict=True):
        reached = "reached" if target["reached"] else "NOT reached"
        yield f"{text:54} {target['value']:6.2f} {unit:3} {sign} {target['limit']:<5} {reached}"
