"""Hands events to those who watch. Nobody who watches slowly holds up a call, or the memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from mitmesh.live.events import Event

WAITING = 256
"""Events that wait for one viewer; when there are more, the oldest are dropped, and counted."""
VIEWERS = 16
REMEMBERED = 50
"""Events that one who comes is shown of what was before."""


class Full(Exception):
    """There are as many viewers as there may be."""


class Viewer:
    """One who watches."""

    def __init__(self, before: deque[Event]) -> None:
        self._waiting: deque[Event] = deque(before, WAITING)
        self._told = asyncio.Event()
        self.dropped = 0

    def put(self, event: Event | None) -> None:
        """Take an event; None only wakes."""
        if event is not None:
            self.dropped += len(self._waiting) == WAITING
            self._waiting.append(event)
        self._told.set()

    async def take(self, seconds: float) -> tuple[list[Event], int]:
        """What came, after at most so many seconds, and how many were dropped since the last time."""
        if not self._waiting:
            self._told.clear()
            try:
                await asyncio.wait_for(self._told.wait(), seconds)
            except TimeoutError:
                return [], 0
        came, dropped = list(self._waiting), self.dropped
        self._waiting.clear()
        self.dropped = 0
        return came, dropped


class Hub:
    """Who watches, and what was last."""

    def __init__(self) -> None:
        self._viewers: set[Viewer] = set()
        self._last: deque[Event] = deque(maxlen=REMEMBERED)
        self.closed = False

    def publish(self, event: Event) -> None:
        """Tell all who watch. Takes about a microsecond, whoever they are."""
        self._last.append(event)
        for viewer in self._viewers:
            viewer.put(event)

    @contextmanager
    def watching(self) -> Iterator[Viewer]:
        """One more viewer, while the block runs. Raises Full."""
        if len(self._viewers) >= VIEWERS:
            raise Full
        viewer = Viewer(self._last)
        self._viewers.add(viewer)
        try:
            yield viewer
        finally:
            self._viewers.discard(viewer)

    def close(self) -> None:
        """No more: let all go."""
        self.closed = True
        for viewer in self._viewers:
            viewer.put(None)
