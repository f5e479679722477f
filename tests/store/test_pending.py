"""The queue between event loop and writer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mitmesh.exchange import Connection, ConnectionKind
from mitmesh.store import pending
from mitmesh.store.content import REQUEST, Texts
from mitmesh.store.pending import Batch, Entry, Pending


def entry(id: str, state: Any = None, *, new: bool = True) -> Entry:
    return Entry((id, state), [], new)


def text(size: int) -> Texts:
    return Texts("id", REQUEST, "now", (), True, size)


def test_rows_of_one_exchange_are_one() -> None:
    """The later row takes the earlier one's place and stays new until it was handed over."""
    queue = Pending()
    queue.put(entry("a", "open"))
    queue.put(entry("a", "done", new=False))
    queue.put(entry("b", "done", new=False))
    found = [(e.row, e.new) for e in queue.take().exchanges.values()]
    assert found == [(("a", "done"), True), (("b", "done"), False)]


def test_a_full_queue_counts_what_it_drops_and_completes_what_waits() -> None:
    """Beyond the limit nothing new is taken, rows being written included; one that waits is still completed."""
    queue = Pending()
    queue.limit = 2
    assert queue.put(entry("a")) and queue.put(entry("b")) and not queue.put(entry("c"))
    assert queue.put(entry("a", "done")) and queue.dropped == 1 and len(queue) == 2
    queue.take()
    assert not queue.put(entry("d")) and queue.dropped == 2
    queue.done()
    assert queue.put(entry("d"))


def test_what_is_given_back_is_first_and_does_not_undo_what_came_later() -> None:
    """After a failed write the older rows come first, and a row that was completed meanwhile stays complete."""
    queue = Pending()
    queue.put(entry("a", "open"))
    queue.put(entry("b", "open"))
    batch = queue.take()
    queue.put(entry("c", "open"))
    queue.put(entry("a", "done", new=False))
    queue.give_back(batch)
    assert [(e.row, e.new) for e in queue.take().exchanges.values()] == [
        (("a", "done"), True),
        (("b", "open"), True),
        (("c", "open"), True),
    ]


def test_texts_are_bounded_by_bytes(monkeypatch: Any) -> None:
    """Texts beyond the bytes allowed are dropped and counted; what was written makes room."""
    monkeypatch.setattr(pending, "TEXT_BYTES", 100)
    queue = Pending()
    assert queue.put_texts(text(60)) and not queue.put_texts(text(60)) and queue.put_texts(text(40))
    assert queue.dropped_texts == 1
    taken = queue.take_texts()
    assert [t.size for t in taken] == [60, 40] and queue.put_texts(text(100))
    queue.give_back_texts(taken)
    assert not queue.put_texts(text(1))


def test_a_batch_of_texts_is_bounded_but_never_empty(monkeypatch: Any) -> None:
    """A text larger than a batch goes alone."""
    monkeypatch.setattr(pending, "CONTENT_BATCH", 100)
    queue = Pending()
    for size in (500, 60, 40, 1):
        queue.put_texts(text(size))
    assert [[t.size for t in queue.take_texts()] for _ in range(4)] == [[500], [60, 40], [1], []]
    assert not queue.waiting


def test_tunnels_are_counted_by_host_and_day() -> None:
    """A thousand tunnels to one host are one row of the queue."""
    queue = Pending()
    when = datetime(2026, 1, 2, tzinfo=UTC)
    for _ in range(1000):
        queue.put_connection(Connection(ConnectionKind.TUNNELLED, "c", "h", 443, when=when))
    assert len(queue) == 1 and queue.take().tunnels == {("2026-01-02", "h"): 1000}


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=30), st.data())
def test_failed_writes_change_nothing(puts: list[tuple[str, bool]], data: st.DataObject) -> None:
    """Whenever the queue is taken and given back, in the end it holds each exchange's last row, in the same order."""
    calm, stormy = Pending(), Pending()
    for n, (id, new) in enumerate(puts):
        held: Batch | None = stormy.take() if data.draw(st.booleans()) else None
        for queue in (calm, stormy):
            queue.put(entry(id, n, new=new))
        if held is not None:
            stormy.give_back(held)
    results = [[(e.row, e.new) for e in queue.take().exchanges.values()] for queue in (calm, stormy)]
    assert results[0] == results[1]
