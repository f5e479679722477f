"""The one thread that writes the audit's files, and the queue's other end for the event loop.

The event loop only appends to the queue. The thread writes what gathers within a tenth of a second in one transaction;
where calls wait for their row (strict), it begins at once, and those that arrive meanwhile share the next commit.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from threading import Event, Thread

from mitmesh.rules import Audit
from mitmesh.store import ndjson
from mitmesh.store.errors import AuditUnavailable
from mitmesh.store.files import Files
from mitmesh.store.keys import Hasher
from mitmesh.store.pending import Entry, Pending

BATCH_SECONDS = 0.1
RETENTION_SECONDS = 60.0
BACKOFF_SECONDS = (0.1, 2.0)
COMPLAIN_SECONDS = 60.0
STOP_SECONDS = 10.0

log = logging.getLogger(__name__)


class _Fate(Enum):
    """What became of an attempt to write."""

    WRITTEN = auto()
    RETRY = auto()
    LOST = auto()


@dataclass(slots=True)
class Counters:
    """What the writer did since its start; written by its thread alone."""

    written: int = 0
    batches: int = 0
    commit_seconds: float = 0.0
    failures: int = 0
    lost: int = 0
    """Rows, texts and lines given up: they could not be written at all, or not before the end."""
    interrupted: int = 0
    """Exchanges that a process before this one had left open."""


class Writer:
    """The audit's files in one data folder. `start` before anything else; `pending` takes rows from then on."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.rules = Audit()
        self.pending = Pending()
        self.counters = Counters()
        self.failure: str | None = None
        """Why nothing can be written at the moment, or None."""
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="mitmesh-audit", daemon=True)
        self._retention_due = 0.0
        self._complained = -COMPLAIN_SECONDS
        self._files: Files

    @property
    def hasher(self) -> Hasher:
        """Makes the keyed hashes; after `start`."""
        return self._files.hasher

    @property
    def strict(self) -> bool:
        """Must a call's row be on disk before the call leaves?"""
        return self.rules.durability == "strict"

    @property
    def dead(self) -> bool:
        """Has the thread ended that should be writing?"""
        return self._thread.ident is not None and not self._thread.is_alive()

    def configure(self, rules: Audit) -> None:
        """Take new rules; they hold from the next batch on."""
        self.rules = rules
        self.pending.limit = rules.queue_rows

    async def start(self) -> None:
        """Open the files and begin. Raises AuditError."""
        self._files = await asyncio.to_thread(Files, self.data)
        self.counters.interrupted = self._files.interrupted
        self._thread.start()

    async def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Write what waits and let go of the files; after `seconds` give up, count and say what is lost."""
        if not self._thread.is_alive():
            return
        self._stopping.set()
        self.pending.wake(urgent=True)
        await asyncio.to_thread(self._thread.join, seconds)
        if left := len(self.pending):
            self.counters.lost += left
            log.error("audit: %d rows could not be written before the end: %s", left, self.failure)

    async def commit(self, entry: Entry) -> None:
        """Put an exchange's row and wait until it is on disk. Raises AuditUnavailable when it is not."""
        if self.failure is not None or self.dead:
            raise AuditUnavailable(self.failure or "its writer has ended")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry.waiters.append(done)
        if not self.pending.put(entry):
            raise AuditUnavailable("the queue is full")
        await done

    def _run(self) -> None:
        backoff, longest = BACKOFF_SECONDS
        while not self._stopping.is_set() or self.pending.waiting:
            self.pending.wait(max(0.0, self._retention_due - time.monotonic()), BATCH_SECONDS)
            if self._turn():
                backoff = BACKOFF_SECONDS[0]
                continue
            self._complain()
            # While stopping, the wait returns at once: sleep, as the disk may have room again before the deadline.
            if self._stopping.wait(backoff):
                time.sleep(BACKOFF_SECONDS[0])
            backoff = min(backoff * 2, longest)
        self._files.close()

    def _turn(self) -> bool:
        """Write what waits; False when the disk did not take it and it has to be tried again."""
        written = self._write_rows() and self._write_texts()
        self._write_lines()
        if written:
            self.failure = None
            if time.monotonic() >= self._retention_due and not self._stopping.is_set():
                self._retain()
        return written

    def _write_rows(self) -> bool:
        batch = self.pending.take()
        if not len(batch):
            return True
        waiters = [waiter for entry in batch.exchanges.values() for waiter in entry.waiters]
        begun = time.perf_counter()
        fate = self._attempt(lambda: self._files.write_rows(batch, durable=self.strict), len(batch))
        if fate is _Fate.RETRY:
            self.pending.give_back(batch)
        else:
            self.pending.done()
        if fate is _Fate.WRITTEN:
            self.counters.written += len(batch)
            self.counters.batches += 1
            self.counters.commit_seconds += time.perf_counter() - begun
        _tell(waiters, None if fate is _Fate.WRITTEN else AuditUnavailable(self.failure))
        return fate is not _Fate.RETRY

    def _write_texts(self) -> bool:
        texts = self.pending.take_texts()
        if not texts:
            return True
        fate = self._attempt(lambda: self._files.write_texts(texts), len(texts))
        if fate is _Fate.RETRY:
            self.pending.give_back_texts(texts)
        return fate is not _Fate.RETRY

    def _write_lines(self) -> None:
        """Lines are a copy for others: what the disk does not take is counted and not tried again."""
        lines, name = self.pending.take_lines(), self.rules.ndjson
        if lines and name:
            self._attempt(lambda: ndjson.append(self.data / name, lines), len(lines))

    def _retain(self) -> None:
        """One step of retention; at once again while there is more to delete, else in a minute."""
        more = False

        def step() -> None:
            nonlocal more
            more = self._files.retain(self.rules)

        self._attempt(step, 0)
        self.failure = None  # rows are written all the same
        if not more:
            self._retention_due = time.monotonic() + RETENTION_SECONDS

    def _attempt(self, write: Callable[[], object], count: int) -> _Fate:
        """The thread's one guard. SQLite says OperationalError for what may pass: a full, locked or failing disk."""
        try:
            write()
        except sqlite3.OperationalError as error:
            # SQLite's own words ("database or disk is full") name no value.
            self._failed(str(error))
            return _Fate.RETRY
        except Exception as error:  # noqa: BLE001 the thread must live: what can never be written is counted and let go
            self._failed(type(error).__name__)
            self.counters.lost += count
            self._complain()
            return _Fate.LOST
        return _Fate.WRITTEN

    def _failed(self, why: str) -> None:
        self.failure = why
        self.counters.failures += 1

    def _complain(self) -> None:
        """Say, once a minute at most, that something cannot be written."""
        now = time.monotonic()
        if now - self._complained >= COMPLAIN_SECONDS:
            self._complained = now
            log.error(
                "audit: cannot be written (%s): %d rows wait; dropped since the start: %d rows, %d texts; given up: %d",
                self.failure, len(self.pending), self.pending.dropped, self.pending.dropped_texts, self.counters.lost,
            )  # fmt: skip


def _tell(waiters: list[asyncio.Future[None]], error: AuditUnavailable | None) -> None:
    """Tell the calls that wait, all in one go on their loop."""

    def tell() -> None:
        for waiter in waiters:
            if waiter.done():  # its call was cancelled
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    if waiters:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            waiters[0].get_loop().call_soon_threadsafe(tell)
