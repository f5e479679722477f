"""A process that writes exchanges until it is ended, for the tests of durability and of several workers.

Arguments: folder, durability, number of exchanges (0: without end). Prints each id once its call may leave.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from audits import answered, exchange, rules
from mitmesh.stages.commit import Commit


async def call(commit: Commit, n: int) -> None:
    """One exchange; each third stays open for good."""
    x = exchange(("user", f"question {n}"), session="shared")
    await commit.request(x)
    assert x.refusal is None, x.refusal
    print(x.id, flush=True)
    await asyncio.sleep(0)
    if n % 3:
        commit.finish(answered(x))


async def main(folder: str, durability: str, count: int) -> None:
    """Eight calls at a time."""
    commit = Commit(Path(folder), redacting=False)
    commit.configure(rules(durability=durability))
    await commit.start()
    n = 0
    while not count or n < count:
        await asyncio.gather(*(call(commit, n + i) for i in range(8)))
        n += 8
        if durability == "async":
            await asyncio.sleep(0.002)
    await commit.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
