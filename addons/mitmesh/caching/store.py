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
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from mitmesh.caching.database import FILE, KEY_FILE, File, inode_of, now_on, set_aside
from mitmesh.caching.entry import Entry, Seal, weigh
from mitmesh.rules.cache import Cache
from mitmesh.store.database import DAMAGED
from mitmesh.store.errors import AuditError
from mitmesh.store.keys import load_key, make_folder

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.1
POLL_SECONDS = 0.25
"""How soon a worker knows of what others added or cleared."""
PRUNE_SECONDS = 5.0
AGAIN_SECONDS = 5.0
"""How soon a file that could not be opened is tried again."""
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

    def put(self, entry: Entry) -> bool:
        """Hold an entry, in place of one of the same key; not, and false, where that answers a later call."""
        held = self._entries.get(entry.key)
        if held is not None and held.exchange > entry.exchange:  # ids of exchanges are sorted by time
            return False
        self.drop(entry.key)
        entry.size = weigh(entry)
        if entry.size > self.limit:  # it would push out all others, and itself
            return True
        self._entries[entry.key] = entry
        self.size += entry.size
        self._shrink()
        return True

    def outdate(self, key: bytes, exchange: str) -> None:
        """Let go of an entry that answers an earlier call than this exchange."""
        held = self._entries.get(key)
        if held is not None and held.exchange < exchange:
            self.drop(key)

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

    def keep(self, wanted: Callable[[Entry], bool]) -> None:
        """Let go of all but those wanted."""
        for entry in [entry for entry in self._entries.values() if not wanted(entry)]:
            self.drop(entry.key)


class Store:
    """The front, and one thread each to read and to write the file. `start` before use."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.front, self.counters = Front(), Counters()
        self.rules = Cache()
        self.seal = Seal(b"\0" * 32)
        """What entries are sealed with; this one until the folder's key is known, when nothing is written."""
        self.cleared = ""
        """The id of the first exchange after entries were last cleared, as far as is known here: no answer to an
        earlier one is kept, for nobody looked at its text."""
        self.changes = 0
        """How often others' entries came or went: what was read before the last time may be gone."""
        self._known: set[int] = set()
        """The beginnings of all keys in the file: what is not here need not be looked for."""
        self._queue: SimpleQueue[Entry | Used | None] = SimpleQueue()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="cache-reader")
        self._writer = Thread(target=self._run, name="mitmesh-cache", daemon=True)
        self._files: dict[str, File] = {}
        self._troubles: dict[str, str] = {}
        """What does not work, by what was tried, until that works."""
        self._complained = -COMPLAIN_SECONDS
        self._keyed = False
        self.came: Callable[[], None] = lambda: None
        """Called in the writer's thread when entries came into the file, or went."""

    def configure(self, rules: Cache) -> None:
        """Take new limits."""
        self.rules = rules
        self.front.resize(rules.memory_bytes)

    async def start(self) -> None:
        """Open the file; one that is damaged is set aside. Where none can be opened, answers are kept in memory, and
        it is tried again now and then."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open)
        self._writer.start()

    async def stop(self) -> None:
        """Write what waits, and let go of the file."""
        if self._writer.is_alive():
            self._queue.put(None)
            await asyncio.to_thread(self._writer.join, STOP_SECONDS)
        await asyncio.to_thread(self._reader.shutdown)
        files, self._files = self._files, {}
        with suppress(OSError, sqlite3.Error):
            for file in files.values():
                file.close()

    def __len__(self) -> int:
        return len(self._known)

    @property
    def usable(self) -> bool:
        """Is there a file?"""
        return "write" in self._files

    @property
    def warning(self) -> str | None:
        """What does not work; None where all is well."""
        return "; ".join(dict.fromkeys(self._troubles.copy().values())) or None

    # --- on the event loop ---

    def here(self, key: bytes) -> Entry | None:
        """The entry, if it is in memory."""
        return self.front.get(key)

    def perhaps(self, key: bytes) -> bool:
        """May the file have an entry of this key?"""
        return _short(key) in self._known

    async def fetch(self, key: bytes) -> Entry | None:
        """The entry out of the file."""
        before = self.changes
        entry = await self._loop.run_in_executor(self._reader, self._read, key)
        if entry is not None and before == self.changes:
            self.front.put(entry)
        return entry

    def held(self, entry: Entry, changes: int) -> Entry:
        """The entry as it is held in memory, where it is, with the forms it was given in; from now on it is, unless
        there were further `changes` since it was looked for."""
        if (known := self.front.get(entry.key)) is not None and known.exchange == entry.exchange:
            return known
        if changes == self.changes:
            self.front.put(entry)
        return entry

    def add(self, entry: Entry) -> None:
        """Keep an answer: here at once, in the file soon. Not where entries were cleared since its call came, or a
        later call was answered before."""
        if entry.exchange < self.cleared or not self.front.put(entry):
            return
        if self._queue.qsize() >= MOST_WAITING:
            self.counters.dropped += 1
            return
        self._known.add(_short(entry.key))
        self._queue.put(entry)

    def used(self, key: bytes, saved: int | None) -> None:
        """An entry was given, which saved so many micro-dollars."""
        if self._queue.qsize() < MOST_WAITING:
            self._queue.put((int(time.time()), 1, saved or 0, key))

    def _learn(self, gone: bool, rows: dict[bytes, str]) -> None:
        """What the file has: all of it where some are gone, else what came. No older answer is held than that, and
        none that went. (What is not written yet may be let go of too: it will be in the file.)"""
        self.changes += 1
        if gone:
            self.front.keep(lambda entry: rows.get(entry.key) == entry.exchange)
            return
        for key, exchange in rows.items():
            self.front.outdate(key, exchange)

    def _forget(self, late: list[Entry]) -> None:
        """These were not taken into the file."""
        self.changes += 1
        for entry in late:
            if self.front.get(entry.key) is entry:
                self.front.drop(entry.key)

    # --- in threads ---

    def _open(self) -> None:
        """Begin; where that fails, it can be tried again."""
        try:
            if not self._keyed:
                make_folder(self.data)
                self.seal = Seal(self._load_key())
                self._keyed = True
            self._news(self._file("write"))
            self._file("read")
            self._troubles.clear()
        except (OSError, sqlite3.Error) as error:
            why = f"{FILE} cannot be opened ({type(error).__name__}): answers are kept in memory only"
            self._failed("open", why)

    def _load_key(self) -> bytes:
        try:
            return load_key(self.data, KEY_FILE)
        except AuditError:  # what was sealed with it cannot be opened without it
            key = self.data / KEY_FILE
            key.replace(key.with_name(f"{KEY_FILE}{DAMAGED}"))
            self._set_aside(None, KEY_FILE)
            return load_key(self.data, KEY_FILE)

    def _file(self, name: str) -> File:
        """The file that is there now; `name` tells who uses it. One that is damaged is set aside, and another begun.
        Raises OSError and sqlite3.Error."""
        if (file := self._files.get(name)) is not None:
            if not file.moved:
                return file
            del self._files[name]
            file.close()
            if inode_of(self.data, f"{FILE}{DAMAGED}") != file.inode:  # somebody removed it, to have all forgotten
                self.cleared = max(self.cleared, now_on())
        inode = inode_of(self.data)
        try:
            file = File(self.data, self.seal)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error) or inode is None:
                raise
            self._set_aside(inode)
            file = File(self.data, self.seal)
        self._files[name] = file
        return file

    def _read(self, key: bytes) -> Entry | None:
        if not self.usable:
            return None
        found: list[Entry | None] = []
        self._try("read", lambda file: found.append(file.get(key)))
        return found[0] if found else None

    def _run(self) -> None:
        due = again = time.monotonic() + PRUNE_SECONDS
        stopping = False
        while not stopping:
            added, used, stopping = self._gather()
            if not self.usable and time.monotonic() >= again:
                self._open()
                again = time.monotonic() + AGAIN_SECONDS
            if not self.usable:
                self.counters.dropped += len(added)
                continue
            if added and not self._try("add", partial(self._write, added, used)):
                self.counters.dropped += len(added)
            elif used and not added:
                self._try("use", partial(self._write, added, used))
            if time.monotonic() >= due:
                due = time.monotonic() + PRUNE_SECONDS
                self._try("prune", self._prune)
            self._try("news", partial(self._news, wrote=bool(added)))

    def _gather(self) -> tuple[dict[bytes, Entry], list[Used], bool]:
        """What is to be written: waits for the first of it, then a little for more. True at the end."""
        added: dict[bytes, Entry] = {}
        uses: dict[bytes, Used] = {}
        with suppress(Empty):
            item = self._queue.get(timeout=POLL_SECONDS)
            time.sleep(BATCH_SECONDS)  # a thread that woke for each would take the interpreter from the event loop
            while item is not None:
                if isinstance(item, Entry):
                    added[item.key] = item
                else:
                    uses[item[3]] = _together(uses.get(item[3]), item)
                item = self._queue.get_nowait()
            return added, list(uses.values()), True
        return added, list(uses.values()), False

    def _write(self, added: dict[bytes, Entry], used: list[Used], file: File) -> None:
        late = file.write(added.values(), used, self.cleared)
        self.counters.written += len(added) - len(late)
        self._known.update(map(_short, added))  # it may have been made anew since they were added
        if late:
            self._loop.call_soon_threadsafe(self._forget, late)

    def _prune(self, file: File) -> None:
        limits = self.rules.ttl_seconds, self.rules.most_bytes, self.rules.most_entries
        self.counters.evicted += file.prune(int(time.time()), *limits)

    def _news(self, file: File, *, wrote: bool = False) -> None:
        """Learn what others did with the file."""
        news = file.news()
        self.cleared = max(self.cleared, news.cleared)
        if news.gone:
            self._known = {_short(key) for key, _ in news.rows}
        else:
            self._known.update(_short(key) for key, _ in news.rows)
        if news.gone or news.rows:
            self._loop.call_soon_threadsafe(self._learn, news.gone, dict(news.rows))
        if news.gone or news.rows or wrote:
            self.came()

    def _try(self, what: str, job: Callable[[File], None]) -> bool:
        """Do something with the file; true where it went well. A damaged file is set aside; all else may pass (a full
        or locked disk), and is told of until it does."""
        name = "read" if what == "read" else "write"
        try:
            job(self._file(name))
        except (OSError, sqlite3.Error) as error:
            file = self._files.get(name)
            if file is not None and _is_damage(error):
                self._set_aside(file.inode)
            else:
                said = error if isinstance(error, sqlite3.Error) else type(error).__name__
                self._failed(what, f"{FILE} cannot be used ({said})")
            return False
        self._troubles.pop(what, None)
        return True

    def _set_aside(self, inode: int | None, damaged: str = FILE) -> None:
        if set_aside(self.data, inode):
            self.counters.set_aside += 1
            also = "" if damaged == FILE else f", with {FILE}"
            log.warning(
                "mitmesh: %s was damaged and is set aside as %s.damaged%s; the cache begins anew",
                damaged,
                damaged,
                also,
            )

    def _failed(self, what: str, why: str) -> None:
        self._troubles[what] = why
        self.counters.failures += 1
        now = time.monotonic()
        if now - self._complained >= COMPLAIN_SECONDS:
            self._complained = now
            log.warning("mitmesh: %s; calls go on", why)


def _together(before: Used | None, use: Used) -> Used:
    """Two uses of one entry as one."""
    return use if before is None else (max(before[0], use[0]), before[1] + use[1], before[2] + use[2], use[3])


def _is_damage(error: Exception) -> bool:
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)


def _short(key: bytes) -> int:
    return int.from_bytes(key[:8])
