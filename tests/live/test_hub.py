"""Those who watch get what happens, in order, and cannot hold anything up."""

from __future__ import annotations

import pytest

from mitmesh.live.hub import REMEMBERED, VIEWERS, WAITING, Full, Hub


async def test_in_order_and_from_before() -> None:
    """A viewer gets the last events of before it came, then each new one, once."""
    hub = Hub()
    for n in range(REMEMBERED + 10):
        hub.publish({"n": n})
    with hub.watching() as viewer:
        hub.publish({"n": "new"})
        came, dropped = await viewer.take(0.01)
        assert [event["n"] for event in came] == [*range(10, REMEMBERED + 10), "new"]
        assert came[-1] == {"n": "new"}
        assert dropped == 0
        assert await viewer.take(0.01) == ([], 0)


async def test_a_slow_viewer_loses_the_oldest_and_is_told() -> None:
    """What waits is bounded; how many were dropped is said."""
    hub = Hub()
    with hub.watching() as viewer:
        for n in range(WAITING + 7):
            hub.publish({"n": n})
        came, dropped = await viewer.take(0.01)
        assert (len(came), dropped, came[0]["n"]) == (WAITING, 7, 7)
        assert await viewer.take(0.01) == ([], 0)


async def test_viewers_are_bounded_and_leave() -> None:
    """One too many is refused; who leaves makes room, and is told nothing more."""
    hub = Hub()
    held = [hub.watching() for _ in range(VIEWERS)]
    viewers = [each.__enter__() for each in held]
    with pytest.raises(Full), hub.watching():
        pass
    held[0].__exit__(None, None, None)
    hub.publish({"n": 1})
    assert await viewers[0].take(0.01) == ([], 0)
    with hub.watching():
        pass


async def test_close_wakes_all() -> None:
    """At the end nobody waits for the next event."""
    hub = Hub()
    with hub.watching() as viewer:
        hub.close()
        assert await viewer.take(60) == ([], 0)
        assert hub.closed
