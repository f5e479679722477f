"""One thread that does one thing after the other. An executor would do, and takes twice as long for each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

type _Job = tuple[asyncio.Future[Any], Callable[[], Any]]


class Worker:
    """Runs functions in a thread of its own, in the order they came; the thread begins with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def run[T](self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Have `work` done; it is begun whether or not anybody waits for it."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        self._queue.put((done, work))
        return done

    def end(self) -> None:
        """Let the thread end when all before it is done."""
        self._queue.put(None)
        self._thread = None

    def _serve(self) -> None:
        while job := self._queue.get():
            done, work = job
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 # it is whoever waits who judges it
                error = raised
            try:
                done.get_loop().call_soon_threadsafe(_tell, done, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                pass


def _tell(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.cancelled():
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
