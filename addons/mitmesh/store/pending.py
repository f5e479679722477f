"""What waits for the writer's thread: a bounded queue in which the rows of one exchange are coalesced.

An exchange that is opened and finished within one batch is written once.
"""

from __future__ import annotations

from asyncio import Future
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Event, Lock

from mitmesh.exchange import Connection, ConnectionKind
from mitmesh.store.content import Texts
from mitmesh.store.database import Row
from mitmesh.store.ndjson import Line
from mitmesh.store.rows import connection_row, short, stamp

TEXT_BYTES = 64 * 2**20
"""Texts that may wait, in bytes; beyond it rows are kept and texts are dropped."""

URGENT_ROWS = 500
"""So many rows are written at once, without waiting for the batch's time to be over."""

CONTENT_BATCH = 2 * 2**20
"""Texts of one transaction, in bytes: indexing takes about 20 ms a megabyte, and rows wait behind it."""


@dataclass(slots=True)
class Entry:
    """One exchange's row. `new` until its first row was handed over; `waiters` are calls that must not leave before
    this row is on disk."""

    row: Row
    verdicts: list[Row]
    new: bool = True
    waiters: list[Future[None]] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """Rows of one transaction of audit.db."""

    exchanges: dict[str, Entry] = field(default_factory=dict)
    connections: list[Row] = field(default_factory=list)
    tunnels: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Connections by day and host."""

    def __len__(self) -> int:
        return len(self.exchanges) + len(self.connections) + len(self.tunnels)

    def put(self, entry: Entry) -> None:
        """Add an exchange's row, or complete the one that waits."""
        waiting = self.exchanges.get(entry.row[0])
        if waiting is not None:
            entry.new |= waiting.new
            entry.waiters = waiting.waiters + entry.waiters
        self.exchanges[entry.row[0]] = entry

    def add(self, later: Batch) -> None:
        """Append what came later."""
        for entry in later.exchanges.values():
            self.put(entry)
        self.connections += later.connections
        self.tunnels.update(later.tunnels)


class Pending:
    """The queue between event loop and writer. Every method is safe in any thread and takes microseconds."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._wake = Event()
        self._urgent = Event()
        self._rows = Batch()
        self._writing = 0
        self._texts: list[Texts] = []
        self._text_bytes = 0
        self._lines: list[Line] = []
        self.limit = 10_000
        self.dropped = 0
        self.dropped_texts = 0

    def __len__(self) -> int:
        """Rows that are not on disk, those being written included."""
        return len(self._rows) + self._writing

    @property
    def waiting(self) -> bool:
        """Is anything not written yet?"""
        return bool(len(self) or self._texts or self._lines)

    def put(self, entry: Entry) -> bool:
        """Take an exchange's row; False (and counted) when the queue is full. One that waits can be completed."""
        with self._lock:
            if len(self) >= self.limit and entry.row[0] not in self._rows.exchanges:
                self.dropped += 1
                return False
            self._rows.put(entry)
            urgent = bool(entry.waiters) or len(self._rows) >= URGENT_ROWS
        self.wake(urgent=urgent)
        return True

    def put_connection(self, row: Connection) -> bool:
        """Take a connection; tunnelled ones are only counted."""
        with self._lock:
            if len(self) >= self.limit:
                self.dropped += 1
                return False
            if row.kind is ConnectionKind.TUNNELLED:
                self._rows.tunnels[stamp(row.when)[:10], short(row.host) or ""] += 1
            else:
                self._rows.connections.append(connection_row(row))
        self.wake()
        return True

    def put_texts(self, texts: Texts) -> bool:
        """Take texts; False (and counted) when too many bytes wait."""
        with self._lock:
            if self._text_bytes + texts.size > TEXT_BYTES or len(self._texts) >= self.limit:
                self.dropped_texts += 1
                return False
            self._texts.append(texts)
            self._text_bytes += texts.size
        self.wake()
        return True

    def put_line(self, line: Line) -> bool:
        """Take a line of NDJSON, bounded as texts are."""
        with self._lock:
            if self._text_bytes + line.size > TEXT_BYTES or len(self._lines) >= self.limit:
                self.dropped_texts += 1
                return False
            self._lines.append(line)
            self._text_bytes += line.size
        self.wake()
        return True

    def wake(self, *, urgent: bool = False) -> None:
        """Let the writer begin: after the batch's time, or at once."""
        if not self._wake.is_set():  # setting an event that is set costs as much as all the rest here
            self._wake.set()
        if urgent and not self._urgent.is_set():
            self._urgent.set()

    def wait(self, idle: float, batch: float) -> None:
        """Wait up to `idle` seconds for something to do, then up to `batch` seconds for more of it."""
        if self._wake.wait(idle):
            self._urgent.wait(batch)

    def take(self) -> Batch:
        """All rows, for one transaction; `done` or `give_back` must follow."""
        with self._lock:
            self._wake.clear()
            self._urgent.clear()
            batch, self._rows = self._rows, Batch()
            self._writing = len(batch)
            return batch

    def done(self) -> None:
        """The rows taken are on disk, or given up."""
        with self._lock:
            self._writing = 0

    def give_back(self, batch: Batch) -> None:
        """The rows taken could not be written: they are first again, and nobody waits for them any more."""
        for entry in batch.exchanges.values():
            entry.waiters = []
        with self._lock:
            batch.add(self._rows)
            self._rows = batch
            self._writing = 0
        self.wake()

    def take_texts(self) -> list[Texts]:
        """The oldest texts, at most CONTENT_BATCH bytes of them but at least one; more to come wakes the writer."""
        with self._lock:
            size = n = 0
            for texts in self._texts:
                if n and size + texts.size > CONTENT_BATCH:
                    break
                size, n = size + texts.size, n + 1
            taken, self._texts = self._texts[:n], self._texts[n:]
            self._text_bytes -= size
            more = bool(self._texts)
        if more:
            self.wake(urgent=True)
        return taken

    def give_back_texts(self, texts: list[Texts]) -> None:
        """Texts that could not be written are first again."""
        with self._lock:
            self._texts = texts + self._texts
            self._text_bytes += _size(texts)
        self.wake()

    def take_lines(self) -> list[Line]:
        """All lines of NDJSON."""
        with self._lock:
            lines, self._lines = self._lines, []
            self._text_bytes -= _size(lines)
            return lines


def _size(items: Iterable[Texts | Line]) -> int:
    return sum(item.size for item in items)
