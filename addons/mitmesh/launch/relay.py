"""A relay before the proxy for one command alone, so that its calls can be told from everybody else's."""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PIECE = 65536
LINE = 8192
"""Bytes that a first line may have."""


@dataclass
class Relay:
    """`address` (host:port) takes connections for the proxy, and passes them on from `client`, an address of loopback
    that nobody else calls from; None where this system has no more than one. `hosts` are those that were asked for."""

    address: str
    client: str | None
    hosts: set[str] = field(default_factory=set)


@contextmanager
def relay(proxy: str) -> Iterator[Relay]:
    """A relay to this proxy (host:port), until the end of the block."""
    host, _, port = proxy.rpartition(":")
    listener = socket.create_server(("127.0.0.1", 0))
    found = Relay(f"127.0.0.1:{listener.getsockname()[1]}", _source(host))
    loop = asyncio.new_event_loop()
    serving = _Serving(found, (host.strip("[]"), int(port)), listener)
    thread = threading.Thread(target=loop.run_until_complete, args=(serving.run(),), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(serving.over.set)
        thread.join()
        loop.close()


def _source(proxy: str) -> str | None:
    """An address of one's own in 127.0.0.0/8, all of which is this machine's on Linux."""
    source = f"127.{128 + secrets.randbelow(127)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}"
    with socket.socket() as probe:
        try:
            probe.bind((source, 0))
        except OSError:
            return None
    return source if proxy.startswith("127.") else None


class _Serving:
    def __init__(self, found: Relay, proxy: tuple[str, int], listener: socket.socket) -> None:
        self.found, self.proxy, self.listener = found, proxy, listener
        self.over = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        server = await asyncio.start_server(self._client, sock=self.listener, limit=LINE)
        await self.over.wait()
        server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._open.add(task)
        try:
            with suppress(OSError, ValueError, asyncio.IncompleteReadError):
                await self._pass(reader, writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readline()
        if first:
            self.found.hosts.add(_host(first))
        source = (self.found.client, 0) if self.found.client else None
        back, on = await asyncio.open_connection(*self.proxy, local_addr=source)
        try:
            on.write(first)
            await asyncio.gather(_copy(reader, on), _copy(back, writer))
        finally:
            on.close()


def _host(first: bytes) -> str:
    """The host of `CONNECT host:port HTTP/1.1` and of `GET http://host:port/path HTTP/1.1`."""
    target = first.decode("latin-1").partition(" ")[2].partition(" ")[0]
    place = target.partition("://")[2].partition("/")[0] if "://" in target else target
    return place.rpartition("@")[2].rpartition(":")[0].strip("[]").lower() if ":" in place else place.lower()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
