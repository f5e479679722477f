from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction.findings import Finding
from mitmesh.redaction.memory import Memory

ONE = Finding(0, 1, "EMAIL", "email", 1.0)


def test_what_was_put_is_there() -> None:
    """Nothing found is remembered too, and is not the same as nothing known."""
    memory = Memory(10_000)
    memory.put(memory.key("a"), [ONE])
    memory.put(memory.key("b"), [])
    assert memory.get(memory.key("a")) == [ONE]
    assert memory.get(memory.key("b")) == []
    assert memory.get(memory.key("c")) is None


def test_keys_are_of_this_memory_alone() -> None:
    """The hash is keyed: another process' key for the same text differs."""
    assert Memory(1).key("hello") != Memory(1).key("hello")
    assert len(Memory(1).key("hello \ud800")) == 16


def test_the_longest_unused_goes_first() -> None:
    """What was asked for lately stays."""
    memory = Memory(600)
    keys = [memory.key(text) for text in "abc"]
    memory.put(keys[0], [])
    memory.put(keys[1], [])
    memory.get(keys[0])
    memory.put(keys[2], [])
    assert [memory.get(key) is not None for key in keys] == [True, False, True]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=100), st.integers(0, 3000))
def test_it_never_holds_more_than_its_limit(puts: list[tuple[int, int]], limit: int) -> None:
    """Whatever is put, replaced and forgotten, its size is what it says and within the limit."""
    memory = Memory(limit)
    for text, count in puts:
        memory.put(memory.key(str(text)), [ONE] * count)
        assert 0 <= memory.bytes <= limit
    held = sum(
        250 + 160 * len(memory.get(memory.key(str(n))) or [])
        for n in range(21)
        if memory.get(memory.key(str(n))) is not None
    )
    assert held == memory.bytes
    memory.clear()
    assert memory.bytes == len(memory) == 0
