"""What is held in memory of kept answers."""

from __future__ import annotations

from mitmesh.caching.entry import Entry
from mitmesh.caching.store import Front
from mitmesh.dialects.base import Answer


def entry(key: bytes) -> Entry:
    return Entry(key, Answer(), "x", 0, "team:blue", "openai", "m")


def test_bytes_made_later_count_against_the_limit() -> None:
    """An answer that was written as a stream takes more; the least recently used goes for it."""
    front = Front()
    front.limit = 6_000
    old, new = entry(b"old"), entry(b"new")
    front.put(old)
    front.put(new)
    front.grew(new, 3_500)
    assert (front.get(b"old"), front.get(b"new"), front.size) == (None, new, new.size)
    front.grew(new, 3_500)
    assert (len(front), front.size) == (0, 0)
