"""A worker process of the concurrency tests: reserves as often as told, prints what it was granted, and waits."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from mitmesh.quotas.in_redis import RedisLedger
from mitmesh.quotas.in_sqlite import SqliteLedger
from mitmesh.quotas.ledger import Key, Want, refused

KEY = Key("burst", "tokens/total", "")


async def main(where: str, name: str, calls: int, most: int, lease: int) -> None:
    """Reserve 4 + 6 tokens `calls` times at once; keep what was granted until the input ends, then settle with 5."""
    ledger = RedisLedger(where, prefix="{burst}:") if where.startswith("unix:") else SqliteLedger(Path(where))
    want = [Want(KEY, 0, 0, 0, 2**53, most, 4, 6)]
    names = [f"{name}-{number}" for number in range(calls)]
    seen = await asyncio.gather(*(ledger.reserve(each, want, lease) for each in names))
    mine = [each for each, standings in zip(names, seen, strict=True) if not refused(want, standings)]
    print(len(mine), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for each in mine:
        await ledger.settle(each, {KEY.text: 5})
    await ledger.close()


asyncio.run(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])))
