from __future__ import annotations

import asyncio
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction import frames

MESSAGES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(MESSAGES, max_size=4))
def test_messages_arrive_as_they_were_sent(messages: list[object]) -> None:
    """In both directions, one after the other, halves of surrogate pairs included."""
    raw = b"".join(map(frames.encode, messages))
    stream = io.BytesIO(raw)
    assert [frames.read(stream) for _ in messages] == messages
    assert frames.read(stream) is None

    async def receive() -> list[object]:
        reader = asyncio.StreamReader()
        reader.feed_data(raw)
        reader.feed_eof()
        return [await frames.receive(reader) for _ in messages]

    assert asyncio.run(receive()) == messages


def test_a_frame_that_ends_early_is_none() -> None:
    """A worker whose proxy died in the middle of a frame sees the end."""
    assert frames.read(io.BytesIO(frames.encode("hello")[:-1])) is None


async def test_no_frame_is_larger_than_the_bound() -> None:
    """What claims to be is refused before a byte of it is read."""
    reader = asyncio.StreamReader()
    reader.feed_data(b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="large"):
        await frames.receive(reader)
