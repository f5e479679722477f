from __future__ import annotations

import pytest

from mitmesh.dialects.base import Framing
from mitmesh.redaction.tidy import tidied
from mitmesh.wire.frames import SSE, JSONArray


@pytest.mark.parametrize(
    ("raw", "left"),
    [
        (b"data: {}\n\n", b"data: {}\n\n"),
        (b"event: response.output_text.delta\r\ndata: {}\r\n\r\n", None),
        (b"data:{}\ndata: x\n\n", None),
        (b":\n\n", None),
        (b"retry: 3000\n\n", None),
        (b"data: [DONE]", None),
        (b": eve@evil.org\n\n", b":\n\n"),
        (b": eve@evil.org", b":\n"),
        (b"event: eve@evil.org\ndata: {}\n\n", b"data: {}\n\n"),
        (b"id: eve@evil.org\ndata: {}\n\n", b"data: {}\n\n"),
        (b"foo: eve@evil.org\ndata: {}\n\n", b"data: {}\n\n"),
        (b"eve@evil.org\r\ndata: {}\r\n\r\n", b"data: {}\r\n\r\n"),
        (b"retry: 4111111111111111\n\n", b":\n\n"),
    ],
)
def test_events(raw: bytes, left: bytes | None) -> None:
    """Of an event stay its data, and what else is an API's own word; without anything unusual it is the same object."""
    framer = SSE()
    (event,) = [*framer.feed(raw), *framer.flush()]
    kept = tidied(event, Framing.SSE)
    assert kept and kept.raw == (raw if left is None else left) and kept.data == event.data
    assert (kept is event) == (left in (None, raw))


def test_other_framings() -> None:
    """What lies between the elements of an array is nothing but what separates them."""
    framer = JSONArray()
    events = [*framer.feed(b'[{"a": 1},\r\n{"b": 2}]\n'), *framer.flush()]
    assert [tidied(event, Framing.JSON_ARRAY) for event in events] == events
