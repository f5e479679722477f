"""AWS's event stream: whatever the cuts the same messages, not a byte lost, and what we write others can read."""

from __future__ import annotations

import base64
import json
import struct
from binascii import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.dialects.base import Event, Framing
from mitmesh.redaction.restore import framed
from mitmesh.wire.awsmessage import chunk, event, exception, is_message, with_data
from mitmesh.wire.eventstream import BadMessage
from mitmesh.wire.frames import framer

# The first two of the test vectors of AWS's own libraries (aws-c-event-stream, Apache-2.0): no headers and no payload,
# and no headers and a payload.
EMPTY = bytes.fromhex("000000100000000005c248eb7d98c8ff")
PAYLOAD = bytes.fromhex("0000001d00000000fd528c5a7b27666f6f273a27626172277dc3653936")


def events(*pieces: bytes, limit: int = 10_000) -> list[Event]:
    """All events of a stream that comes in these pieces."""
    parser = framer(Framing.AWS, limit)
    return [event for piece in pieces for event in parser.feed(piece)] + parser.flush()


def parsed(raw: bytes) -> tuple[dict[str, str], bytes]:
    """A message's headers and payload, read by another hand than ours; both CRCs are looked at."""
    size, length, crc = struct.unpack(">III", raw[:12])
    assert size == len(raw) and crc == crc32(raw[:8]) and struct.unpack(">I", raw[-4:])[0] == crc32(raw[:-4])
    headers, rest = {}, raw[12 : 12 + length]
    while rest:
        name, rest = rest[1 : 1 + rest[0]].decode(), rest[1 + rest[0] :]
        kind, size = struct.unpack(">BH", rest[:3])
        assert kind == 7
        headers[name], rest = rest[3 : 3 + size].decode(), rest[3 + size :]
    return headers, raw[12 + length : -4]


def test_vectors() -> None:
    """AWS's own."""
    assert [(found.data, found.name) for found in events(EMPTY + PAYLOAD)] == [(b"", None), (b"{'foo':'bar'}", None)]


@given(st.lists(st.binary(max_size=40), max_size=4), st.data())
def test_cuts(payloads: list[bytes], data: st.DataObject) -> None:
    """The events are the same whatever the cuts, and their bytes are those that came."""
    stream = b"".join(event("chunk", payload) for payload in payloads)
    whole = events(stream)
    assert [found.data for found in whole] == payloads and all(found.name == "chunk" for found in whole)
    assert b"".join(found.raw for found in whole) == stream
    cut = data.draw(st.integers(0, len(stream)))
    assert events(stream[:cut], stream[cut:]) == whole
    assert events(*(stream[at : at + 1] for at in range(len(stream)))) == whole


def test_what_a_model_says() -> None:
    """InvokeModel wraps it; what was read is what it said, and what is written in its place is wrapped again."""
    said = b'{"type":"ping","a":"\xc3\xa4"}'
    padded = event("chunk", b'{"bytes":"' + base64.b64encode(said) + b'","p":"abcd"}')
    for raw in (padded, chunk(said)):
        (found,) = events(raw)
        assert (found.data, found.name, found.raw) == (said, "chunk", raw)
        other = framed(found, b'{"type":"pong"}')
        headers, payload = parsed(other.raw)
        assert headers == {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
        assert base64.b64decode(json.loads(payload)["bytes"]) == b'{"type":"pong"}' == events(other.raw)[0].data
    for odd in (b'{"bytes":"~~"}', b'{"bytes":5}', b'{"bytes"', b'{"bytes":"a"}'):
        assert events(event("chunk", odd))[0].data == odd


def test_what_converse_says() -> None:
    """A document as it is."""
    raw = event("contentBlockDelta", b'{"delta":{"text":"hi"}}')
    (found,) = events(raw)
    assert (found.data, found.name) == (b'{"delta":{"text":"hi"}}', "contentBlockDelta")
    assert parsed(with_data(raw, b"{}"))[1] == b"{}"


def test_exceptions() -> None:
    """They have a type and a message."""
    raw = exception("throttlingException", "no")
    headers, payload = parsed(raw)
    assert headers[":message-type"] == "exception" and headers[":exception-type"] == "throttlingException"
    assert json.loads(payload) == {"message": "no"}
    assert events(raw)[0].name == "throttlingException"


def test_other_headers() -> None:
    """A header that is no text hides the name, and nothing else."""
    headers = b"\x01b\x00" + b"\x0b:event-type\x07\x00\x01x"
    head = struct.pack(">II", 16 + len(headers) + 2, len(headers))
    message = head + struct.pack(">I", crc32(head)) + headers + b"{}"
    message += struct.pack(">I", crc32(message))
    assert [(found.data, found.name) for found in events(message)] == [(b"{}", None)]
    for cut in range(len(headers)):  # headers that end too early
        head = struct.pack(">II", 16 + cut, cut)
        message = head + struct.pack(">I", crc32(head)) + headers[:cut]
        assert len(events(message + struct.pack(">I", crc32(message)))) == 1


def test_what_is_none() -> None:
    """Nobody knows where the next message begins; an end that is cut off is given as it is."""
    whole = event("chunk", b"{}")
    assert events(whole + whole[:-1])[1] == Event(whole[:-1])
    small = struct.pack(">II", 15, 0)
    headers = struct.pack(">II", 40, 30)
    for bad in (
        b"data: x\n\n      ",
        small + struct.pack(">I", crc32(small)),
        headers + struct.pack(">I", crc32(headers)),
    ):
        with pytest.raises(BadMessage):
            events(bad)
    with pytest.raises(BadMessage):
        events(event("chunk", b"x" * 100), limit=100)
    assert not any(
        map(is_message, (b"", whole[:-1], whole + b"x", b"data: {}\n\n" * 5, whole[:8] + b"0000" + whole[12:]))
    )
    assert is_message(whole)
