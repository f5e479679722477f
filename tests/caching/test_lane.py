"""One thread, so many jobs at most."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mitmesh.caching.lane import Busy, Lane


async def test_jobs_are_done_in_their_order_by_one_thread() -> None:
    """What a job returns or raises is its caller's."""
    lane, seen = Lane("lane", 10), list[tuple[int, str]]()

    def job(n: int) -> int:
        seen.append((n, threading.current_thread().name))
        return 10 // n

    jobs = [lane.run(lambda n=n: job(n)) for n in (1, 2, 0, 5)]  # type: ignore[misc]
    one, two, none, five = await asyncio.gather(*jobs, return_exceptions=True)
    assert (one, two, five) == (10, 5, 2) and isinstance(none, ZeroDivisionError)
    assert seen == [(n, "lane") for n in (1, 2, 0, 5)] and len(lane) == 0
    await lane.close()


async def test_it_is_bounded_whoever_gives_up() -> None:
    """A job counts until the thread comes to it; one that nobody waits for is not done."""
    lane, go_on, done = Lane("lane", 2), threading.Event(), list[str]()
    first = asyncio.ensure_future(lane.run(lambda: go_on.wait(30)))
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lane.run(lambda: done.append("given up")), 0.01)
    with pytest.raises(Busy):
        await lane.run(lambda: None)
    go_on.set()
    assert await first and await lane.run(lambda: "room") == "room"
    assert done == []
    await lane.close()
    with pytest.raises(Busy):
        await lane.run(lambda: None)


async def test_one_that_hangs_keeps_nobody_from_ending() -> None:
    """Closing waits for it a while."""
    lane, go_on = Lane("lane", 2), threading.Event()
    waits = asyncio.ensure_future(lane.run(lambda: go_on.wait(30)))
    await asyncio.sleep(0)
    await lane.close(0.05)
    assert not waits.done()
    go_on.set()
    await waits
