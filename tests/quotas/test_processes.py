"""Several worker processes, and one that is killed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mitmesh.quotas.in_redis import RedisLedger
from mitmesh.quotas.in_sqlite import SqliteLedger
from mitmesh.quotas.ledger import Ledger
from quotas.conftest import start_redis

WORKER = Path(__file__).with_name("worker.py")
ADDONS = Path(__file__).parents[2] / "addons"
LEASE = 6
"""Seconds; workers that start later than that after the first would find its reservations expired."""


def start(where: str, name: str, calls: int, most: int) -> subprocess.Popen[str]:
    """A worker that asks for `calls` calls of ten tokens each."""
    words = [sys.executable, str(WORKER), where, name, str(calls), str(most), str(LEASE)]
    environ = {**os.environ, "PYTHONPATH": str(ADDONS)}
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)


def granted(worker: subprocess.Popen[str]) -> int:
    assert worker.stdout
    return int(worker.stdout.readline())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_200_calls_of_four_processes_against_a_limit_for_50(kind: str, tmp_path: Path) -> None:
    """Exactly what fits; after kill -9 of one its prompts are spent, its outputs free, and exactly that fits again."""
    server, where = start_redis(tmp_path) if kind == "redis" else (None, str(tmp_path))
    ledger: Ledger = RedisLedger(where, prefix="{burst}:") if server else SqliteLedger(tmp_path)
    workers = [start(where, f"w{number}", 50, 500) for number in range(4)]
    try:
        shares = [await asyncio.to_thread(granted, worker) for worker in workers]
        assert sum(shares) == 50
        victim = max(range(4), key=shares.__getitem__)
        workers[victim].kill()
        for number, worker in enumerate(workers):
            if number != victim:
                await asyncio.to_thread(worker.communicate, "")
        dead = shares[victim]
        assert [(c.used, c.reserved) for c in await ledger.counts()] in (
            [((50 - dead) * 5, dead * 10)],
            [((50 - dead) * 5 + dead * 4, 0)],
        )
        await asyncio.sleep(LEASE + 1.1)  # leases are by the machine's own clock
        spent = (50 - dead) * 5 + dead * 4
        assert [(c.used, c.reserved) for c in await ledger.counts()] == [(spent, 0)]
        late = start(where, "late", 200, 500)
        workers.append(late)
        assert await asyncio.to_thread(granted, late) == (500 - spent) // 10
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
        await ledger.close()
        if server:
            server.kill()
            server.wait()
