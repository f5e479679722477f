"""AWS's event stream cut into events, as the bytes come (see awsmessage)."""

from __future__ import annotations

from binascii import crc32

from mitmesh.dialects.base import Event
from mitmesh.wire.awsmessage import LEAST, PRELUDE, said


class BadMessage(ValueError):
    """These bytes are no message, so nobody knows where the next one begins."""


class EventStream:
    """Cuts a stream into messages (see frames.Framer). An event's data is the document that the message carries, its
    name the `:event-type`. `limit` in bytes of one message; a longer one raises BadMessage too."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. Raises BadMessage."""
        self._buffer += chunk
        events, at = [], 0
        while len(self._buffer) - at >= PRELUDE.size:
            size, headers, crc = PRELUDE.unpack_from(self._buffer, at)
            if crc != crc32(self._buffer[at : at + 8]) or not LEAST + headers <= size <= self._limit:
                raise BadMessage("a message of the event stream cannot be read")
            if len(self._buffer) - at < size:
                break
            raw = bytes(self._buffer[at : at + size])
            events.append(Event(raw, *said(raw)))
            at += size
        del self._buffer[:at]
        return events

    def flush(self) -> list[Event]:
        """What is left of a message that was cut off."""
        left, self._buffer = bytes(self._buffer), bytearray()
        return [Event(left)] if left else []
