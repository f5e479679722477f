"""Calls that are the same at the same time: one asks, the others wait for its answer, for a while."""

from __future__ import annotations

import asyncio

from mitmesh.caching.entry import Entry


class Flight:
    """A call under way that others may wait for; it lands once, with an answer or with none."""

    __slots__ = ("_landed", "waiting")

    def __init__(self) -> None:
        self._landed: asyncio.Future[Entry | None] = asyncio.get_running_loop().create_future()
        self.waiting = 0

    def land(self, entry: Entry | None) -> None:
        """Tell those who wait: here is the answer, or there is none to share. Only the first time counts."""
        if not self._landed.done():
            self._landed.set_result(entry)

    async def answer(self, seconds: float, most: int) -> Entry | None:
        """Wait for it; None where it brought none, did not come in time, or too many wait already."""
        if self.waiting >= most:
            return None
        self.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._landed)
        except TimeoutError:
            return None
        finally:
            self.waiting -= 1


class Flights:
    """The flights under way, by key: never more than there are open calls."""

    def __init__(self) -> None:
        self._open: dict[bytes, Flight] = {}

    def __len__(self) -> int:
        return len(self._open)

    def find(self, key: bytes) -> Flight | None:
        """The one under way for this key."""
        return self._open.get(key)

    def lead(self, key: bytes) -> Flight:
        """Begin one."""
        flight = self._open[key] = Flight()
        return flight

    def end(self, key: bytes, flight: Flight) -> None:
        """It is over: whoever still waits goes on alone."""
        flight.land(None)
        if self._open.get(key) is flight:
            del self._open[key]
