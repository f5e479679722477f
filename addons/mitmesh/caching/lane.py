"""One thread for work that must not run on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any


class Busy(Exception):
    """So many jobs wait that one more would wait too long, or the lane is closed."""


class Lane:
    """Does jobs one after the other. At most `most` are in it: one whose caller gave up waiting (a timeout) is in it
    until the thread comes to it, so that a thread that hangs gathers no more. Used from one event loop."""

    def __init__(self, name: str, most: int) -> None:
        self._most, self._inside, self._closed = most, 0, False
        self._jobs: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)  # one that hangs keeps no process from ending
        self._thread.start()

    def __len__(self) -> int:
        return self._inside

    async def run[T](self, job: Callable[[], T]) -> T:
        """What the job returns or raises. Raises Busy."""
        if self._closed or self._inside >= self._most:
            raise Busy
        self._inside += 1
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((job, future))
        return await future

    async def close(self, seconds: float = 2.0) -> None:
        """Do what is in it, and end the thread; wait for that so long at most."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, seconds)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            result, failed = None, None
            try:
                result = None if future.cancelled() else job()
            except Exception as error:  # noqa: BLE001  it is the caller's
                failed = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                future.get_loop().call_soon_threadsafe(self._done, future, result, failed)
            del item, job, future, result, failed  # nothing of a call is kept until the next one

    def _done(self, future: asyncio.Future[Any], result: Any, failed: Exception | None) -> None:
        self._inside -= 1
        if future.done():
            return
        if failed is None:
            future.set_result(result)
        else:
            future.set_exception(failed)
