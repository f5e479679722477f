"""Streams cut into events, as the bytes come.

Each parser takes chunks cut anywhere and gives the events that are whole so far; `flush` gives what is left at the
end. The raws of all events, joined, are the bytes that went in; and whatever the cuts, the events are the same.
After FrameTooLong a parser is of no more use.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from mitmesh.dialects.base import Event, Framing
from mitmesh.wire.eventstream import EventStream

LIMIT = 32 * 1024 * 1024
"""Bytes of one event; images come as one."""


class FrameTooLong(ValueError):
    """One event of a stream is larger than the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"an event of the stream is larger than {limit} bytes")


class Framer(Protocol):
    """An incremental parser of one stream."""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes. Raises FrameTooLong."""

    def flush(self) -> list[Event]:
        """The stream has ended: what is left, an event without its end included."""


class SSE:
    """Server-sent events, as the WHATWG specification reads them, but for one thing: an event that the end of the
    stream cuts off is given too. Each blank line ends an event; comments alone make one without data."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._open: list[bytes] = []  # pieces of a line whose end has not come, or of which only "\r" has
        self._raw: list[bytes] = []  # lines of the event under way, with their ends
        self._size = 0  # bytes of both
        self._data: list[bytes] = []
        self._name: str | None = None
        self._begun = False

    def feed(self, chunk: bytes) -> list[Event]:
        """See Framer."""
        if self._open:
            if b"\n" not in chunk and b"\r" not in chunk and not self._open[-1].endswith(b"\r"):
                self._hold(chunk)
                return []
            chunk = self._release() + chunk
        lines = chunk.splitlines(keepends=True)
        # A "\r" at the end may be half of "\r\n": to which event the "\n" belongs must not depend on the cut.
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        events = self._take(lines)
        self._hold(rest)
        return events

    def flush(self) -> list[Event]:
        """See Framer."""
        events = self._take([self._release()] if self._open else [])
        return [*events, self._event()] if self._raw else events

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._open.append(piece)
            self._count(len(piece))

    def _release(self) -> bytes:
        line = b"".join(self._open)
        self._open = []
        self._size -= len(line)
        return line

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            raise FrameTooLong(self._limit)

    def _take(self, lines: list[bytes]) -> list[Event]:
        events = []
        for line in lines:
            self._raw.append(line)
            self._count(len(line))
            text = line.rstrip(b"\r\n")
            if not self._begun:
                self._begun, text = True, text.removeprefix(b"\xef\xbb\xbf")
            if text:
                self._field(text)
            else:
                events.append(self._event())
        return events

    def _field(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field == b"data":
            self._data.append(value.removeprefix(b" "))
        elif field == b"event":
            self._name = value.removeprefix(b" ").decode(errors="replace") or None

    def _event(self) -> Event:
        event = Event(b"".join(self._raw), b"\n".join(self._data), self._name)
        self._raw, self._data, self._name, self._size = [], [], None, 0
        return event


class NDJSON:
    """One JSON document a line. An empty line is an event without data."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._open: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """See Framer."""
        if b"\n" not in chunk:
            self._hold(chunk)
            return []
        lines = b"".join([*self._open, chunk]).split(b"\n")
        self._open, self._size = [], 0
        if any(len(line) >= self._limit for line in lines[:-1]):  # its end counts too
            raise FrameTooLong(self._limit)
        self._hold(lines.pop())
        return [Event(line + b"\n", line.strip()) for line in lines]

    def flush(self) -> list[Event]:
        """See Framer."""
        raw = b"".join(self._open)
        self._open, self._size = [], 0
        return [Event(raw, raw.strip())] if raw else []

    def _hold(self, piece: bytes) -> None:
        if piece:
            self._open.append(piece)
            self._size += len(piece)
            if self._size > self._limit:
                raise FrameTooLong(self._limit)


# What JSONArray may pass over in each of its states; the byte that follows is one it has to look at.
_BETWEEN = re.compile(rb"[\s,\xef\xbb\xbf]*+")  # a byte order mark is passed over, wherever it is cut
_INSIDE = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_SCALAR = re.compile(rb'[^\s,"{}\[\]]*+')


class JSONArray:
    """The elements of one JSON array, each given as soon as its last byte is there.

    An element's raw begins with what separates it from the one before (`[`, or a comma with white space) and ends with
    its data; the closing bracket is an event without data. A document that is no array is one element, so that an
    error sent in place of a stream is read too. What is not JSON at all is cut somehow, but none of it is lost.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._frame = bytearray()  # the event under way
        self._at = 0  # how far of it is read
        self._start: int | None = None  # where its data begin
        self._state = _BETWEEN
        self._depth = 0
        self._in_array: bool | None = None  # None before the first byte that tells

    def feed(self, chunk: bytes) -> list[Event]:
        """See Framer."""
        self._frame += chunk
        events = []
        while self._read():
            events.append(self._event())
        if len(self._frame) > self._limit:
            raise FrameTooLong(self._limit)
        return events

    def flush(self) -> list[Event]:
        """See Framer."""
        self._at = len(self._frame)
        return [self._event()] if self._frame else []

    def _event(self) -> Event:
        if self._at > self._limit:
            raise FrameTooLong(self._limit)
        raw = bytes(self._frame[: self._at])
        event = Event(raw, b"" if self._start is None else raw[self._start :])
        del self._frame[: self._at]
        self._at, self._start, self._state = 0, None, _BETWEEN
        return event

    def _read(self) -> bool:
        """Read on: true where an event ends, false where the bytes do."""
        frame = self._frame
        while True:
            passed = self._state.match(frame, self._at)
            self._at = passed.end() if passed else self._at
            # In a string the only byte that is looked at, other than its end, is a backslash that came alone.
            if self._at == len(frame) or (self._state is _STRING and frame[self._at] != ord('"')):
                return False
            if self._look(frame[self._at]):
                return True

    def _look(self, byte: int) -> bool:
        """Step over `byte`; does it end the event?"""
        if self._state is _SCALAR:
            return True
        self._at += 1
        if self._state is _BETWEEN:
            return self._begin(byte)
        if self._state is _STRING:
            self._state = _INSIDE
        elif byte == ord('"'):
            self._state = _STRING
            return False
        else:
            self._depth += 1 if byte in b"{[" else -1
        return self._depth == 0

    def _begin(self, byte: int) -> bool:
        if byte == ord("[") and self._in_array is None:
            self._in_array = True
            return False
        if byte == ord("]") and self._in_array:
            self._in_array = False
            return True
        self._in_array = bool(self._in_array)
        self._start = self._at - 1
        self._depth = int(byte in b"{[")
        self._state = _INSIDE if self._depth else _STRING if byte == ord('"') else _SCALAR
        return False


class Document:
    """A body that is one JSON document: one event, at its end."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._body = bytearray()

    def feed(self, chunk: bytes) -> list[Event]:
        """See Framer."""
        self._body += chunk
        if len(self._body) > self._limit:
            raise FrameTooLong(self._limit)
        return []

    def flush(self) -> list[Event]:
        """See Framer."""
        body, self._body = bytes(self._body), bytearray()
        return [Event(body, body)] if body else []


_FRAMERS: dict[Framing, Callable[[int], Framer]] = {
    Framing.NONE: Document,
    Framing.SSE: SSE,
    Framing.JSON_ARRAY: JSONArray,
    Framing.NDJSON: NDJSON,
    Framing.AWS: EventStream,
}


def framer(framing: Framing, limit: int = LIMIT) -> Framer:
    """A parser for a stream cut in this way, with at most `limit` bytes in one event."""
    return _FRAMERS[framing](limit)
