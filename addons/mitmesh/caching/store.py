"""Kept answers: in memory in front, in cache.db behind, shared by all workers. No lookup waits for a write."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from mitmesh.caching.database import FILE, KEY_FILE, File, set_aside
from mitmesh.caching.entry import Entry, Seal, weigh
from mitmesh.rules.cache import Cache
from mitmesh.store.errors import AuditError
from mitmesh.store.keys import load_key, make_folder

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.1
POLL_SECONDS = 0.25
"""How soon a worker knows of what others added or cleared."""
PRUNE_SECONDS = 5.0
MOST_WAITING = 2_000
"""Additions that may wait for the disk; further ones are dropped and counted."""
COMPLAIN_SECONDS = 60.0
STOP_SECONDS = 5.0

type Used = tuple[int, int, int, bytes]
"""When (seconds since 1970), hits, micro-dollars saved, and the entry's key."""


@dataclass(slots=True)
class Counters:
    """What the store did since its start."""

    written: int = 0
    dropped: int = 0
    """Answers not kept on disk: too many at once, or the disk did not take them."""
    failures: int = 0
    evicted: int = 0
    set_aside: int = 0


class Front:
    """Entries held in memory, the least recently used out; on the event loop alone."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.limit = 0
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> Entry | None:
        """The entry, which counts as used."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, entry: Entry) -> None:
        """Hold an entry, in place of one of the same key."""
        self.drop(entry.key)
        entry.size = weigh(entry)
        self._entries[entry.key] = entry
        self.size += entry.size
        self._shrink()

    def resize(self, limit: int) -> None:
        """Hold so many bytes at most."""
        self.limit = limit
        self._shrink()

    def _shrink(self) -> None:
        while self.size > self.limit and self._entries:
            _, old = self._entries.popitem(last=False)
            self.size -= old.size

    def drop(self, key: bytes) -> None:
        """Let go of one."""
        if old := self._entries.pop(key, None):
            self.size -= old.size

    def grew(self, entry: Entry, more: int) -> None:
        """An entry that is held takes more bytes now."""
        if self._entries.get(entry.key) is entry:
            entry.size += more
            self.size += more
            self._shrink()

    def keep(self, wanted: Callable[[bytes], bool]) -> None:
        """Let go of all but those wanted."""
        for key in [key for key in self._entries if not wanted(key)]:
            self.drop(key)


class Store:
    """The front, and one thread each to read and to write the file. `start` before use."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.front, self.counters = Front(), Counters()
        self.rules = Cache()
        self.warning: str | None = None
        self._known: set[int] = set()
        """The beginnings of all keys in the file: what is not here need not be looked for."""
        self._queue: SimpleQueue[Entry | Used | None] = SimpleQueue()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="cache-reader")
        self._writer = Thread(target=self._run, name="mitmesh-cache", daemon=True)
        self._files: dict[str, File] = {}
        self._complained = -COMPLAIN_SECONDS
        self.came: Callable[[], None] = lambda: None
        """Called in the writer's thread when entries came into the file, or went."""

    def configure(self, rules: Cache) -> None:
        """Take new limits."""
        self.rules = rules
        self.front.resize(rules.memory_bytes)

    async def start(self) -> None:
        """Open the file; one that is damaged is set aside. Where none can be opened, answers are kept in memory."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open)
        self._writer.start()

    async def stop(self) -> None:
        """Write what waits, and let go of the file."""
        if self._writer.is_alive():
            self._queue.put(None)
            await asyncio.to_thread(self._writer.join, STOP_SECONDS)
        await asyncio.to_thread(self._reader.shutdown)
        with suppress(OSError, sqlite3.Error):
            self._let_go()

    def _let_go(self) -> None:
        files, self._files = self._files, {}
        for file in files.values():
            file.close()

    def __len__(self) -> int:
        return len(self._known)

    # --- on the event loop ---

    def here(self, key: bytes) -> Entry | None:
        """The entry, if it is in memory."""
        return self.front.get(key)

    def perhaps(self, key: bytes) -> bool:
        """May the file have an entry of this key?"""
        return _short(key) in self._known

    async def fetch(self, key: bytes) -> Entry | None:
        """The entry out of the file."""
        entry = await self._loop.run_in_executor(self._reader, self._read, key)
        if entry is not None:
            self.front.put(entry)
        return entry

    def held(self, entry: Entry) -> Entry:
        """The entry as it is held in memory, where it is, with the forms it was given in; from now on it is."""
        if (known := self.front.get(entry.key)) is not None and known.exchange == entry.exchange:
            return known
        self.front.put(entry)
        return entry

    def add(self, entry: Entry) -> None:
        """Keep an answer: here at once, in the file soon."""
        self.front.put(entry)
        if self._queue.qsize() >= MOST_WAITING:
            self.counters.dropped += 1
            return
        self._known.add(_short(entry.key))
        self._queue.put(entry)

    def used(self, key: bytes, saved: int | None) -> None:
        """An entry was given, which saved so many micro-dollars."""
        if self._queue.qsize() < MOST_WAITING:
            self._queue.put((int(time.time()), 1, saved or 0, key))

    # --- in threads ---

    def _open(self) -> None:
        try:
            make_folder(self.data)
            self.seal = Seal(self._load_key())
            for attempt in (1, 2):
                try:
                    self._files = {name: File(self.data, self.seal) for name in ("read", "write")}
                    self._news(self._files["write"])
                    return
                except sqlite3.OperationalError:
                    raise
                except sqlite3.DatabaseError:
                    if attempt == 2:
                        raise
                    self._let_go()
                    self._set_aside(None)
        except (OSError, sqlite3.Error) as error:
            self.seal = getattr(self, "seal", None) or Seal(b"\0" * 32)
            self._failed(f"{FILE} cannot be opened ({type(error).__name__}): answers are kept in memory only")

    def _load_key(self) -> bytes:
        try:
            return load_key(self.data, KEY_FILE)
        except AuditError:  # what was sealed with it cannot be opened any more
            (self.data / KEY_FILE).unlink()
            self._set_aside(None)
            return load_key(self.data, KEY_FILE)

    def _read(self, key: bytes) -> Entry | None:
        file = self._files.get("read")
        if file is None:
            return None
        try:
            if file.moved:
                file.close()
                file = self._files["read"] = File(self.data, self.seal)
            return file.get(key)
        except (OSError, sqlite3.Error) as error:
            self._trouble(error, file)
            return None

    def _run(self) -> None:
        due = time.monotonic() + PRUNE_SECONDS
        stopping = False
        while not stopping:
            added, used, stopping = self._gather()
            file = self._files.get("write")
            if file is None:
                self.counters.dropped += len(added)
                continue
            try:
                if file.moved:
                    file.close()
                    file = self._files["write"] = File(self.data, self.seal)
                if added or used:
                    file.write(added.values(), used)
                    self.counters.written += len(added)
                if time.monotonic() >= due:
                    due = time.monotonic() + PRUNE_SECONDS
                    limits = self.rules.ttl_seconds, self.rules.most_bytes, self.rules.most_entries
                    self.counters.evicted += file.prune(int(time.time()), *limits)
                self._news(file, wrote=bool(added))
                self.warning = None
            except (OSError, sqlite3.Error) as error:
                self.counters.dropped += len(added)
                self._trouble(error, file)

    def _gather(self) -> tuple[dict[bytes, Entry], list[Used], bool]:
        """What is to be written: waits for the first of it, then a little for more. True at the end."""
        added: dict[bytes, Entry] = {}
        used: list[Used] = []
        with suppress(Empty):
            item = self._queue.get(timeout=POLL_SECONDS)
            time.sleep(BATCH_SECONDS)  # a thread that woke for each would take the interpreter from the event loop
            while item is not None:
                if isinstance(item, Entry):
                    added[item.key] = item
                else:
                    used.append(item)
                item = self._queue.get_nowait()
            return added, used, True
        return added, used, False

    def _news(self, file: File, *, wrote: bool = False) -> None:
        """Learn of the file's keys; where some went, forget what went with them."""
        gone, rows = file.news()
        if gone:
            self._known = known = {_short(key) for _, key in rows}
            self._loop.call_soon_threadsafe(self.front.keep, lambda key: _short(key) in known)
        else:
            self._known.update(_short(key) for _, key in rows)
        if gone or rows or wrote:
            self.came()

    def _trouble(self, error: Exception, file: File) -> None:
        """Something does not work. A damaged file is set aside; all else may pass (a full or locked disk)."""
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            self._set_aside(file)
            return
        self._failed(f"{FILE} cannot be used ({error if isinstance(error, sqlite3.Error) else type(error).__name__})")

    def _set_aside(self, file: File | None) -> None:
        set_aside(self.data, file.inode if file else None)
        self.counters.set_aside += 1
        log.warning("mitmesh: %s was damaged and is set aside as %s.damaged; the cache begins anew", FILE, FILE)

    def _failed(self, why: str) -> None:
        self.warning = why
        self.counters.failures += 1
        now = time.monotonic()
        if now - self._complained >= COMPLAIN_SECONDS:
            self._complained = now
            log.warning("mitmesh: %s; calls go on", why)


def _short(key: bytes) -> int:
    return int.from_bytes(key[:8])
