"""Worker processes that search: spawned with next to no environment, killed when they hang, replaced when they die."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mitmesh.redaction import frames
from mitmesh.redaction.findings import FinderFailed

log = logging.getLogger(__name__)

START_SECONDS = 120
"""A worker that is not ready by then (a large model loads for a minute) is given up."""
QUEUED_CHARACTERS = 64 * 2**20
"""More than this waiting means that the pool cannot follow; further calls are refused."""
_ADDONS = Path(__file__).parents[2]
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "HF_HOME", "SYSTEMROOT")
_COMMAND = ("-P", "-m", "mitmesh.redaction.worker")


@dataclass(order=True)
class _Job:
    """Texts to search together. Ordered by their place in their call, so that a large call's later parts wait for a
    small call's first."""

    turn: int
    number: int
    texts: Sequence[str] = field(compare=False)
    result: asyncio.Future[list[Any]] = field(compare=False)

    @property
    def size(self) -> int:
        return sum(map(len, self.texts))


class _Process:
    """One running worker."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def spawn(cls, command: Sequence[str], hello: dict[str, Any]) -> _Process:
        """Start one and wait until it is ready; FinderFailed where it is not."""
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        # No key of ours is any business of theirs, and nothing is fetched.
        environment |= {"PYTHONPATH": str(_ADDONS), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        environment |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, env=environment, limit=2**20,
        )  # fmt: skip
        worker = cls(process)
        try:
            async with asyncio.timeout(START_SECONDS):
                answer = await worker.ask(hello)
        except BaseException as error:
            await worker.kill()
            if isinstance(error, (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError)):
                raise FinderFailed("a worker did not start") from None
            raise
        if "ready" not in answer:
            await worker.kill()
            raise FinderFailed(f"a worker did not start: {answer.get('failed', 'no reason given')}")
        return worker

    @property
    def alive(self) -> bool:
        """Does it still run, as far as the event loop has heard?"""
        return self._process.returncode is None

    async def ask(self, message: Any) -> Any:
        """Send a message and wait for the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(frames.encode(message))
        await self._process.stdin.drain()
        return await frames.receive(self._process.stdout)

    async def kill(self) -> None:
        """End it at once, whatever it does, and wait until it is gone."""
        if self.alive:
            try:
                self._process.kill()
            except ProcessLookupError:
                pass
        await self._process.wait()


class Pool:
    """`pii` are the rules as JSON; `seconds` is the longest one job may take; `command` is what a worker runs, after
    the interpreter."""

    def __init__(self, pii: str, workers: int, seconds: float, command: Sequence[str] = _COMMAND) -> None:
        self._command = command
        self._hello = {"pii": pii, "seconds": seconds}
        self._seconds = seconds
        self._size = workers
        self._queue: asyncio.PriorityQueue[_Job] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._queued = 0
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._running: dict[int, _Process] = {}
        self._down: dict[int, str] = {}
        self.restarts = 0

    async def start(self) -> None:
        """Start the first worker and wait for it; the others follow, so that they do not keep it from being ready.
        Raises FinderFailed where it cannot be started."""
        self._running[0] = await _Process.spawn(self._command, self._hello)
        for slot in range(self._size):
            self._tasks.append(asyncio.create_task(self._serve(slot), name=f"redaction worker {slot}"))

    async def stop(self) -> None:
        """End all workers; what waits fails."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await asyncio.gather(*(process.kill() for process in self._running.values()))
        self._running.clear()
        self._fail_queued("the pool was stopped")

    async def drain(self) -> None:
        """Stop when nothing is left to do; no new jobs may come."""
        await self._idle.wait()
        await self.stop()

    async def run(self, jobs: Sequence[Sequence[str]]) -> list[list[Any]]:
        """Search the texts of each job. Raises FinderFailed where one of them fails; the others are dropped then."""
        if not self._tasks:
            raise FinderFailed("the pool is not running")
        if len(self._down) == self._size:
            raise FinderFailed(f"no worker can be started: {next(iter(self._down.values()))}")
        if self._queued > QUEUED_CHARACTERS:
            raise FinderFailed("too much is waiting to be searched")
        loop = asyncio.get_running_loop()
        made = [_Job(turn, next(self._numbers), texts, loop.create_future()) for turn, texts in enumerate(jobs)]
        for job in made:
            self._queued += job.size
            self._queue.put_nowait(job)
        self._open += 1
        self._idle.clear()
        try:
            return await asyncio.gather(*(job.result for job in made))
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()
            for job in made:
                job.result.cancel()

    @property
    def down(self) -> str | None:
        """Why no worker runs, or None."""
        return next(iter(self._down.values())) if self._tasks and len(self._down) == self._size else None

    async def _serve(self, slot: int) -> None:
        """One worker's life: job after job; a new process where the last one failed."""
        while True:
            if slot not in self._running:
                await self._restart(slot)
            job = await self._queue.get()
            self._queued -= job.size
            if job.result.done():
                continue
            if not self._running[slot].alive:  # killed from outside; no fault of this job's
                await self._running.pop(slot).kill()
                self._queued += job.size
                self._queue.put_nowait(job)
                continue
            try:
                failure = await self._work(self._running[slot], job)
            except asyncio.CancelledError:
                _fail(job, "the pool was stopped")
                raise
            if failure is not None:
                log.warning("redaction: %s; the worker is replaced", failure)
                await self._running.pop(slot).kill()
                self.restarts += 1
                _fail(job, failure)

    async def _work(self, process: _Process, job: _Job) -> str | None:
        """Have one job done; returns why the process is of no use any more, or None."""
        try:
            async with asyncio.timeout(self._seconds):
                answer = await process.ask({"texts": list(job.texts)})
        except TimeoutError:
            return f"a search took longer than {self._seconds} s"
        except (OSError, ValueError, asyncio.IncompleteReadError):
            return "a worker died"
        if not isinstance(answer, dict) or not isinstance(answer.get("found"), list):
            _fail(job, f"a search failed: {answer.get('failed') if isinstance(answer, dict) else 'no answer'}")
            return None
        if not job.result.done():
            job.result.set_result(answer["found"])
        return None

    async def _restart(self, slot: int) -> None:
        """Start a process for this slot, trying until one runs. While none does in any slot, calls fail at once."""
        for wait in itertools.chain((0.5, 1, 2, 5, 10), itertools.repeat(30)):
            try:
                self._running[slot] = await _Process.spawn(self._command, self._hello)
            except (FinderFailed, OSError) as error:
                self._down[slot] = str(error)
                log.warning("redaction: %s; trying again in %s s", error, wait)
                if len(self._down) == self._size:
                    self._fail_queued(str(error))
                await asyncio.sleep(wait)
            else:
                self._down.pop(slot, None)
                return

    def _fail_queued(self, why: str) -> None:
        while not self._queue.empty():
            job = self._queue.get_nowait()
            self._queued -= job.size
            _fail(job, why)


def _fail(job: _Job, why: str) -> None:
    if not job.result.done():
        job.result.set_exception(FinderFailed(why))
