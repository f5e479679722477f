"""The load generator: keep-alive connections, each sending its next call when the last was answered."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import time
from dataclasses import dataclass, field
from typing import Protocol

NUMBERS = itertools.count()
"""No two calls of a run are the same, or the audit would store nothing new."""

_LETTERS = bytes.maketrans(b"0123456789", b"abcdefghij")

PATIENCE = 30.0
"""Seconds without end of the last call, after which a load has failed."""

HISTORY = (
    "I will read the file before I change anything, then run its tests. The function takes a path and returns its "
    "lines without their ends; an empty file has none. Its caller checks the encoding first. "
)


class CallFailed(Exception):
    """A call was not answered with 200; the message says how."""


class Renders(Protocol):
    """What makes a call's bytes."""

    def render(self, number: int) -> bytes:
        """The bytes of the call of this number."""


@dataclass(frozen=True)
class Request:
    """A chat completions request; every call's last message is another, the history before it is the same."""

    prefix: bytes
    suffix: bytes
    events: int = 0
    """Events of the answer's stream; 0 is an answer in JSON."""

    def render(self, number: int) -> bytes:
        """The bytes of the call of this number."""
        # In letters: a long number could be somebody's card or phone, and few messages have one.
        return b"%s%s%s" % (self.prefix, (b"%012d" % number).translate(_LETTERS), self.suffix)


def request(size: int, *, events: int = 0, pause: int = 0, usage: bool = True) -> Request:
    """A request whose body has about `size` bytes: an agent's turns where there is room for them.

    `pause` is in microseconds between events; `usage` asks for usage in a stream, as most SDKs' users do.
    """
    fields: dict[str, object] = {"model": "gpt-4o-mini"}
    if events:
        fields |= {"stream": True} | ({"stream_options": {"include_usage": True}} if usage else {})
    messages = [{"role": "system", "content": "You are a careful assistant. Answer in one line."}]
    while size - len(json.dumps(messages)) > 2 * len(HISTORY):
        turn = len(messages)
        messages.append({"role": "assistant" if turn % 2 else "user", "content": f"{turn}. {HISTORY * (turn % 9 + 1)}"})
    messages.append({"role": "user", "content": "What is the answer to question @?"})
    body = json.dumps(fields | {"messages": messages}).encode()
    streams = [f"x-bench-events: {events}", f"x-bench-pause: {pause}"] if events else []
    prefix, suffix = body.rsplit(b"@", 1)
    return Request(head(len(body) + 11, *streams) + prefix, suffix, events)


def head(length: int, *more: str) -> bytes:
    """The head of a chat completions request with a body of so many bytes."""
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        "host: 127.0.0.1",
        "accept: application/json",
        "authorization: Bearer sk-bench",
        "content-type: application/json",
        "user-agent: OpenAI/Python 1.99.0",
        f"content-length: {length}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class Load:
    """What is asked of a proxy, and what came of it: latencies and first bytes of bodies, in seconds."""

    request: Renders
    calls: float = math.inf
    seconds: float = math.inf
    pause: float = 0.0
    """Seconds between an answer and the next call of its connection."""
    latencies: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0
    sent: int = 0

    def next(self) -> bytes | None:
        """The next call; None when there have been enough."""
        if self.sent >= self.calls or time.perf_counter() - self.began >= self.seconds:
            return None
        self.sent += 1
        return self.request.render(next(NUMBERS))

    async def run(self, port: int, connections: int) -> None:
        """Call 127.0.0.1:port on so many connections until there have been enough. Raises CallFailed."""
        loop = asyncio.get_running_loop()
        clients = [Client(self) for _ in range(connections)]
        for client in clients:
            await loop.create_connection(lambda one=client: one, "127.0.0.1", port)  # type: ignore[misc]
        self.began = time.perf_counter()
        try:
            for client in clients:
                client.call()
            limit = PATIENCE + (self.seconds if self.seconds < math.inf else self.calls / 10)
            async with asyncio.timeout(limit):
                await asyncio.gather(*(client.done for client in clients))
        except TimeoutError:
            raise CallFailed("a call was not answered in time") from None
        finally:
            for client in clients:
                client.transport.close()
        self.ended = time.perf_counter()


class Client(asyncio.Protocol):
    """One connection. `done` is set when there is nothing more to call, or with the CallFailed of a bad answer."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def call(self) -> None:
        """Send the next call."""
        self.buffer = bytearray()
        self.body = 0  # where it begins
        self.length: int | None = None  # None: chunked
        self.seen_body = False
        if (data := self.load.next()) is None:
            self.done.set_result(None)
            return
        self.began = time.perf_counter()
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Take a part of the answer; call again when it is whole."""
        if self.done.done():
            return
        self.buffer += data
        if not self.body and not self._head():
            return
        if not self.seen_body and len(self.buffer) > self.body:
            self.seen_body = True
            self.load.firsts.append(time.perf_counter() - self.began)
        if self._whole():
            self.load.latencies.append(time.perf_counter() - self.began)
            if self.load.pause:
                asyncio.get_running_loop().call_later(self.load.pause, self.call)
            else:
                self.call()

    def _head(self) -> bool:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        self.body = end + 4
        head = bytes(self.buffer[:end]).lower()
        if head[8:13] != b" 200 ":
            said = bytes(self.buffer[:1000]).decode("utf-8", "replace")
            self.done.set_exception(CallFailed(f"a call was not answered with 200:\n{said}"))
            return False
        found = re.search(rb"\r\ncontent-length: *(\d+)", head)
        self.length = int(found[1]) if found else None
        return True

    def _whole(self) -> bool:
        if self.length is None:
            return self.buffer.endswith(b"\r\n0\r\n\r\n")
        return len(self.buffer) >= self.body + self.length

    def connection_lost(self, error: Exception | None) -> None:
        """Too early, unless all is done."""
        if not self.done.done():
            self.done.set_exception(CallFailed("the connection was closed before the answer was whole"))
