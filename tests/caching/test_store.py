"""cache.db: limits, restarts, several workers, damage, a full disk, and no text in clear."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cached import entry
from mitmesh.caching import store as module
from mitmesh.caching.database import FILE, KEY_FILE, File, now_on, remove
from mitmesh.caching.entry import Entry, Seal, weigh
from mitmesh.caching.store import Front, Store
from mitmesh.dialects.base import Answer, Kind, Part, Usage
from mitmesh.exchange import new_id
from mitmesh.rules.cache import Cache
from mitmesh.store.keys import load_key

MANY = {"ttl": 10**9, "most_bytes": 10**12, "most_entries": 10**9}


@pytest.fixture
def file(tmp_path: Path) -> Any:
    with closing(File(tmp_path, Seal(load_key(tmp_path, KEY_FILE)))) as file:
        yield file


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look for news more often than in earnest."""
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(module, "BATCH_SECONDS", 0.005)


@asynccontextmanager
async def opened(data: Path, **rules: Any) -> AsyncIterator[Store]:
    """A started store."""
    store = Store(data)
    store.configure(Cache(**rules))
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


async def until(what: Callable[[], Any], told: str = "condition") -> Any:
    """Wait until it is so."""
    for _ in range(3000):
        if value := what():
            return value
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within 15 s: {told}")


def ages(file: File) -> list[int]:
    """When the entries that are left were made."""
    return [int(str(row[0])) for row in file.rows("select created from entries order by created")]


# --- the file ---


def test_all_of_an_entry_comes_back(file: File) -> None:
    """Parts, usage, surrogates, embeddings' bytes."""
    parts = [Part(Kind.TEXT, "a\ud800ü"), Part(Kind.TOOL_CALL, '{"x": 1}', "f", "c1"), Part(Kind.REASONING, "hm")]
    answer = Answer("id", "m", parts, "stop", Usage(1, 2, cache_read=1, reasoning=1), complete=True)
    one = replace(entry("1", rest=b"r", vector=b"v", user="ann", body=b'{"data": []}'), answer=answer)
    file.write([one], [])
    back = file.get(one.key)
    assert back is not None and back.size > 0
    assert replace(back, size=0) == one
    assert file.get(b"other") is None


def test_same_key_again(file: File) -> None:
    """The newer answer takes the older's place, with the hashes of its values."""
    file.write([entry("1", "old", values=("h1",)), entry("2", values=("h1",))], [])
    file.write([entry("1", "new", values=("h2",))], [])
    back = file.get(entry("1").key)
    assert back is not None and back.answer.text == "new"
    assert sorted(row[0] for row in file.rows("select value from entry_values")) == ["h1", "h2"]


def test_too_old(file: File) -> None:
    """An entry of that age goes, a younger one stays."""
    file.write([entry(str(n), created=n, values=("v",)) for n in (1, 2, 3)], [])
    assert file.prune(12, **{**MANY, "ttl": 10}) == 2
    assert ages(file) == [3]
    assert file.rows("select count(*) from entry_values") == [(1,)]
    assert file.prune(12, **{**MANY, "ttl": 10}) == 0


def test_too_many(file: File) -> None:
    """The least recently used go: those asked for since are spared, whatever their age."""
    file.write([entry(str(n), created=n) for n in range(1, 21)], [])
    file.write([], [(100, 1, 5, entry("1").key)])
    assert file.prune(100, **{**MANY, "most_entries": 19}) == 3
    assert ages(file) == [1, *range(5, 21)]
    assert file.rows("select hits, saved_microusd, used from entries where created = 1") == [(1, 5, 100)]


def test_too_large(file: File) -> None:
    """Bytes count as they are on disk."""
    file.write([entry(str(n), created=n, vector=b"v" * 10_000) for n in range(1, 11)], [])
    assert file.prune(100, **{**MANY, "most_bytes": 55_000}) >= 5
    ((size,),) = file.rows("select sum(size) from entries")
    assert 30_000 < int(str(size)) <= 55_000
    assert ages(file)[-1] == 10


def test_what_was_evicted_takes_no_room(file: File, tmp_path: Path) -> None:
    """The file shrinks with what is in it, prune by prune."""
    path = file.path
    file.write([entry(str(n), created=n, vector=b"v" * 100_000) for n in range(1, 41)], [])
    before = path.stat().st_size + path.with_name(f"{path.name}-wal").stat().st_size
    for _ in range(3):
        file.prune(100, **{**MANY, "most_entries": 4})
    assert before > 4_000_000 > 4 * path.stat().st_size


def test_no_text_in_clear(tmp_path: Path) -> None:
    """Neither question, answer nor value is readable in any file beside the key; nor with another key."""
    marked = entry("1", "ANSWER-canary", turn="QUESTION-canary", body=b'"BODY-canary"')
    with closing(File(tmp_path, Seal(load_key(tmp_path, KEY_FILE)))) as file:
        file.write([marked], [])
        written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"canary" not in written and b"team:red" in written
    with closing(File(tmp_path, Seal(b"x" * 32))) as other:
        assert other.get(marked.key) is None
        assert list(other.texts()) == []
    assert (tmp_path / FILE).stat().st_mode & 0o77 == 0


def test_sealed_to_its_key(file: File) -> None:
    """An entry moved to another's key by hand is not opened: an answer stays with its question."""
    file.write([entry("1"), entry("2", "other")], [])
    with closing(sqlite3.connect(file.path)) as hand:
        hand.execute("update entries set sealed = (select sealed from entries where id = 2) where id = 1")
        hand.commit()
    assert file.get(entry("1").key) is None


@pytest.mark.parametrize(("first", "second", "left"), [("01A", "01B", "01B"), ("01B", "01A", "01B")])
def test_the_later_call_is_answered_last(file: File, first: str, second: str, left: str) -> None:
    """An answer that was long under way does not take the place of one that was asked for after it."""
    late = [file.write([entry("1", exchange=each)], []) for each in (first, second)]
    back = file.get(entry("1").key)
    assert back is not None and back.exchange == left
    assert [len(each) for each in late] == [0, int(left == first)]


def test_cleared_since_its_call_came(file: File) -> None:
    """What was asked before somebody had entries forgotten is not kept; pruning is no such thing."""
    file.write([entry("1", created=1)], [])
    assert file.prune(100, **{**MANY, "ttl": 10}) == 1
    before = new_id()
    assert file.write([entry("2", exchange=before)], []) == []
    file.clear("true", ())
    late = file.write([entry("3", exchange=before), entry("4", exchange=now_on())], [])
    assert [each.key for each in late] == [entry("3").key]
    assert [each.key for _, each in file.texts()] == [entry("4").key]


# --- memory ---


def test_front() -> None:
    """Bounded in bytes, also by what entries grow; the least recently used go."""
    front, entries = Front(), [entry(str(n)) for n in range(4)]
    front.limit = 3 * weigh(entries[0])
    for each in entries[:3]:
        front.put(each)
    front.get(entries[0].key)
    front.put(entries[3])
    assert front.get(entries[1].key) is None and front.get(entries[0].key) is entries[0]
    front.put(replace(entries[0]))
    assert (len(front), front.size) == (3, front.limit)
    held = front.get(entries[3].key)
    assert held is not None
    front.grew(held, 50)
    front.put(entry("5"))
    assert front.size <= front.limit
    front.keep(lambda _: False)
    assert (len(front), front.size) == (0, 0)


def test_front_is_bounded_as_entries_grow() -> None:
    """Forms made for hits count at once: a cache that only hits adds no entry."""
    front, entries = Front(), [entry(str(n)) for n in range(3)]
    front.limit = 4 * weigh(entries[0])
    for each in entries:
        front.put(each)
    front.grew(entries[2], 2 * weigh(entries[0]))
    assert front.size <= front.limit
    assert front.get(entries[0].key) is None and front.get(entries[2].key) is entries[2]
    front.resize(1)
    assert len(front) == 0


def test_front_and_what_is_too_large_for_it() -> None:
    """It is not held, and pushes nothing out; the older answer in its place is gone."""
    front, large = Front(), entry("1", "x" * 100_000)
    front.limit = weigh(large) - 1
    front.put(entry("1"))
    front.put(entry("2"))
    assert front.put(large)
    assert front.get(large.key) is None and front.get(entry("2").key) is not None


def test_front_of_no_size() -> None:
    """memory_bytes: 0 holds nothing."""
    front = Front()
    front.put(entry("1"))
    assert (len(front), front.size) == (0, 0)


# --- the store ---


async def test_restart(tmp_path: Path) -> None:
    """What was kept is there for the next process."""
    async with opened(tmp_path) as store:
        store.add(entry("1", created=int(time.time())))
        store.used(entry("1").key, 7)
    async with opened(tmp_path) as store:
        assert store.here(entry("1").key) is None and store.perhaps(entry("1").key)
        back = await store.fetch(entry("1").key)
        assert back is not None and back.answer.text == "Paris."
        assert store.here(entry("1").key) is back
        assert not store.perhaps(b"another key")


async def test_uses_of_a_batch_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry that is given many times within a moment is written once, and each time counts."""
    written: list[tuple[int, int, int, bytes]] = []
    write = File.write

    def watch(self: File, added: Any, used: Any, since: str = "") -> Any:
        written.extend(used)
        return write(self, added, used, since)

    monkeypatch.setattr(File, "write", watch)
    async with opened(tmp_path) as store:
        for number in (1, 2):
            store.add(entry(str(number)))
        for _ in range(50):
            store.used(entry("1").key, 3)
            store.used(entry("2").key, None)
    with closing(File(tmp_path, store.seal)) as file:
        assert file.rows("select hits, saved_microusd from entries order by id") == [(50, 150), (50, 0)]
    assert len(written) <= 4  # the first may be taken before the others are there


async def test_two_workers(tmp_path: Path) -> None:
    """One has what the other keeps, and forgets what the other, or the operator, clears: memory too."""
    key = entry("1").key
    async with opened(tmp_path) as one, opened(tmp_path) as two:
        one.add(entry("1"))
        await until(lambda: two.perhaps(key), "the other knows of it")
        assert await two.fetch(key)
        with closing(File(tmp_path, one.seal)) as file:
            assert file.clear("model = ?", ("gpt-4o",)) == 1
        await until(lambda: not one.perhaps(key) and not two.perhaps(key), "both forget it")
        await until(lambda: one.here(key) is None and two.here(key) is None, "memory forgets it")
        assert await two.fetch(key) is None


async def test_a_new_answer_reaches_the_other_worker(tmp_path: Path) -> None:
    """One has it made anew (`no-cache`): the other, which holds the old one in memory, gives it no more."""
    key = entry("1").key
    async with opened(tmp_path) as one, opened(tmp_path) as two:
        one.add(entry("1", "OLD", exchange="01A"))
        await until(lambda: two.perhaps(key))
        assert (old := await two.fetch(key)) and two.here(key) is old
        one.add(entry("1", "NEW", exchange="01B"))
        await until(lambda: two.here(key) is None, "the other lets go of the old one")
        new = await two.fetch(key)
        assert new and new.answer.text == "NEW"
        one.add(entry("1", "LATE", exchange="01A"))
        assert one.here(key) and one.front.get(key).answer.text == "NEW"  # type: ignore[union-attr]


async def test_cleared_and_answered_anew_at_once(tmp_path: Path) -> None:
    """Before the other worker looks, the key is there again, with another answer: the cleared one is forgotten."""
    key = entry("1").key
    async with opened(tmp_path) as one:
        one.add(entry("1", "BAD", exchange="01A"))
        await until(lambda: one.counters.written)
        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
            other.execute("begin immediate")  # it is one change to whoever looks
            other.execute("update epoch set number = number + 1")
            other.execute(
                "update entries set id = 7, exchange = ?, sealed = ?", ("01B", one.seal.close(entry("1", "GOOD")))
            )
            other.execute("commit")
        await until(lambda: one.here(key) is None, "it is forgotten")
        back = await one.fetch(key)
        assert back and back.answer.text == "GOOD"


async def test_cleared_while_it_is_under_way(tmp_path: Path) -> None:
    """An answer that waits for the disk, or is yet to come, when entries are cleared is not kept: nobody looked at its
    text. What is asked afterwards is."""
    key = entry("1").key
    async with opened(tmp_path) as one:
        before = new_id()
        with closing(File(tmp_path, one.seal)) as file:
            file.clear("true", ())
            after = now_on()
            one.add(entry("1", exchange=before))  # nobody told this worker yet
            await until(lambda: one.cleared and one.here(key) is None, "it is not taken")
            one.add(entry("1", exchange=before))
            assert one.here(key) is None
            one.add(entry("1", exchange=after))
            await until(lambda: file.get(key))


async def test_read_while_it_goes(tmp_path: Path) -> None:
    """What was read before others' changes are known is given, but not held."""
    key = entry("1").key
    async with opened(tmp_path) as one:
        with closing(File(tmp_path, one.seal)) as file:
            file.write([entry("1")], [])
            await until(lambda: one.perhaps(key))
            reading = asyncio.ensure_future(one.fetch(key))
            await asyncio.sleep(0)
            one._learn(True, {})
            assert await reading and one.here(key) is None
            assert one.held(entry("1"), one.changes - 1) and one.here(key) is None
            assert one.held(entry("1"), one.changes) is one.here(key)


async def test_garbage_moved_into_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A restored backup that is none: it is set aside once, with a warning, and a new file begins."""
    async with opened(tmp_path) as one, opened(tmp_path) as two:
        one.add(entry("1"))
        await until(lambda: two.perhaps(entry("1").key))
        for name in ("-wal", "-shm"):
            (tmp_path / f"{FILE}{name}").unlink(missing_ok=True)
        garbage = tmp_path / "garbage"
        garbage.write_bytes(b"no database" * 1000)
        garbage.replace(tmp_path / FILE)
        await until(lambda: (tmp_path / f"{FILE}.damaged").exists(), "it is set aside")
        await until(lambda: one.cleared and two.cleared, "both saw another file")
        one.add(entry("2", exchange=now_on()))
        await until(lambda: two.perhaps(entry("2").key), "they share again")
        assert one.counters.set_aside + two.counters.set_aside == 1
        assert one.warning is None and two.warning is None
    assert caplog.text.count("is set aside") == 1


async def test_removed_while_it_is_used(tmp_path: Path) -> None:
    """All is forgotten, in memory too, and what was asked before is not kept."""
    async with opened(tmp_path) as one:
        before = new_id()
        one.add(entry("1"))
        await until(lambda: one.counters.written)
        remove(tmp_path)
        await until(lambda: one.here(entry("1").key) is None and not one.perhaps(entry("1").key))
        one.add(entry("1", exchange=before))
        assert one.here(entry("1").key) is None
        one.add(entry("2", exchange=now_on()))
        await until(lambda: one.counters.written == 2)
        assert one.warning is None and (tmp_path / FILE).exists()


async def test_unusable_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be opened at the start is tried again."""
    monkeypatch.setattr(module, "PRUNE_SECONDS", 0.01)
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    (tmp_path / FILE).mkdir()
    async with opened(tmp_path) as store:
        assert store.warning and "memory only" in store.warning
        (tmp_path / FILE).rmdir()
        await until(lambda: store.warning is None, "it is opened")
        store.add(entry("1"))
        await until(lambda: store.counters.written)


def _fill(data: Path, first: int) -> None:
    """A process that writes fifty entries."""

    async def run() -> None:
        async with opened(data) as store:
            for n in range(first, first + 50):
                store.add(entry(f"{n:03}"))
                await asyncio.sleep(0)

    asyncio.run(run())


@pytest.mark.slow
def test_two_processes_begin_at_once(tmp_path: Path) -> None:
    """They make one file and one key between them, and lose nothing."""
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_fill, args=(tmp_path, first)) for first in (0, 50)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    with closing(File(tmp_path, Seal(load_key(tmp_path, KEY_FILE)))) as file:
        assert len(list(file.texts())) == 100


async def test_damaged_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is set aside with a warning, and a new one begins."""
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with caplog.at_level(logging.WARNING):
        async with opened(tmp_path) as store:
            assert store.counters.set_aside == 1 and store.warning is None
            store.add(entry("1"))
            await until(lambda: store.counters.written)
    assert "set aside" in caplog.text
    assert (tmp_path / f"{FILE}.damaged").read_bytes().startswith(b"no database")


async def test_damaged_while_it_runs(tmp_path: Path) -> None:
    """Both workers go on with one new file, and the one who comes second does not set aside the first one's."""
    async with opened(tmp_path) as one, opened(tmp_path) as two:
        one.add(entry("1", vector=b"v" * 20_000))
        await until(lambda: two.perhaps(entry("1").key))
        with closing(sqlite3.connect(tmp_path / FILE)) as db:
            db.execute("pragma wal_checkpoint(truncate)")
        with (tmp_path / FILE).open("r+b") as raw:
            raw.seek(100)
            raw.write(b"\xff" * 16_000)
        n = 2
        while not (tmp_path / f"{FILE}.damaged").exists():
            assert n < 1000, "damage was not seen"
            one.add(entry(str(n)))
            n += 1
            await asyncio.sleep(0.03)
        before = one.counters.written
        now = int(time.time())  # so that they are not pruned
        one.add(entry("new", created=now))
        await until(lambda: one.counters.written > before, "the first writes again")
        two.add(entry("newer", created=now))
        await until(lambda: two.perhaps(entry("new").key) and one.perhaps(entry("newer").key), "they share again")
        assert one.counters.set_aside + two.counters.set_aside <= 2
        found = await two.fetch(entry("new").key)
        assert found is not None and found.answer.text == "Paris."


async def test_damaged_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is set aside with what was sealed with it, and named; a new key and file begin."""
    async with opened(tmp_path) as store:
        store.add(entry("1"))
    (tmp_path / KEY_FILE).write_bytes(b"short")
    async with opened(tmp_path) as store:
        assert store.counters.set_aside == 1 and not store.perhaps(entry("1").key)
        assert "cache.key was damaged" in caplog.text and (tmp_path / "cache.key.damaged").read_bytes() == b"short"
        store.add(entry("2"))
        await until(lambda: store.counters.written)


async def test_full_disk(tmp_path: Path) -> None:
    """Answers are dropped and counted, calls go on from memory, and all is well when there is room again."""
    async with opened(tmp_path) as store:
        file = store._files["write"]
        ((pages,),) = file.rows("pragma page_count")
        file.rows(f"pragma max_page_count = {pages}")
        big = entry("1", vector=bytes(200_000))
        store.add(big)
        await until(lambda: store.counters.dropped, "it is dropped")
        assert store.warning and "full" in store.warning and store.counters.failures
        assert store.here(big.key) is big
        store.used(big.key, 1)
        await until(store._queue.empty)
        await asyncio.sleep(5 * module.POLL_SECONDS)
        assert store.warning, "it stays until something is kept again"
        file.rows("pragma max_page_count = 1000000")
        store.add(entry("2"))
        await until(lambda: store.counters.written, "it is written")
        await until(lambda: store.warning is None, "the warning goes")


async def test_no_folder(tmp_path: Path) -> None:
    """Where nothing can be written, memory serves; it says so."""
    (tmp_path / "data").write_bytes(b"a file in the folder's place")
    async with opened(tmp_path / "data") as store:
        assert store.warning and "memory only" in store.warning
        store.add(entry("1"))
        assert store.here(entry("1").key)
        assert await store.fetch(entry("2").key) is None


async def test_queue_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes faster than the disk is dropped, counted, and still in memory."""
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    store = Store(tmp_path)  # its writer is not started
    store.configure(Cache())
    entries: list[Entry] = [entry(str(n)) for n in range(5)]
    for each in entries:
        store.add(each)
    assert store.counters.dropped == 2 and len(store.front) == 5
    store.used(entries[0].key, 1)
    assert store._queue.qsize() == 3
    store._reader.shutdown()
