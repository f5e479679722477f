"""An HTTP/1.1 and HTTP/2 server that keeps the exact bytes of every request and can fail in every way.

Written on asyncio's streams and on h2 (mitmproxy's own dependency), for no ready server lets a test say where a chunk
ends, reset a connection before the headers, or end a TLS connection in the middle of a body.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import brotli  # type: ignore[import-untyped]  # it ships no types
import zstandard
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

HEAD_LIMIT = 2**20


@dataclass
class Seen:
    """One request as it arrived. `head` is HTTP/1's head byte for byte (empty for HTTP/2), `version` "1.1" or "2"."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes
    head: bytes = b""
    sni: str | None = None
    peer: Any = None
    ended: str | None = None
    """How its answer ended: complete, cut, reset or client_gone; None while it runs."""
    notes: dict[str, Any] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        """The body parsed as JSON, decompressed where it has to be."""
        unpack = {"gzip": gzip.decompress, "br": brotli.decompress, "zstd": _unzstd}
        encoding = self.header("content-encoding") or ""
        return json.loads(unpack[encoding](self.body) if encoding in unpack else self.body)


def _unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


class Channel(Protocol):
    """Where an answer goes."""

    async def start(self, status: int, headers: list[tuple[str, str]], length: int | None) -> None:
        """Send the head; without a length the body is chunked (HTTP/1.1)."""

    async def send(self, data: bytes) -> None:
        """Send one piece of the body as one chunk or DATA frame."""

    async def end(self) -> None:
        """End the body properly."""

    def cut(self) -> None:
        """End the connection in order (TCP FIN), the body not ended."""

    def reset(self) -> None:
        """Reset the connection (TCP RST) or the HTTP/2 stream."""


type Handler = Callable[[Seen, Channel], Awaitable[None]]


class Http1Channel:
    """One answer on an HTTP/1.1 connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.chunked = False

    async def start(self, status: int, headers: list[tuple[str, str]], length: int | None) -> None:
        self.chunked = length is None
        framing = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
        lines = [f"HTTP/1.1 {status} Fake", *(f"{name}: {value}" for name, value in [*headers, framing])]
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)
        await self.writer.drain()

    async def end(self) -> None:
        if self.chunked:
            self.writer.write(b"0\r\n\r\n")
            await self.writer.drain()

    def cut(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        reset_connection(self.writer)


def reset_connection(writer: asyncio.StreamWriter) -> None:
    """Drop a TCP connection with RST: what was not delivered yet is lost."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler) -> None:
    """Serve one connection until it ends, in the protocol that ALPN agreed on."""
    tls = writer.get_extra_info("ssl_object")
    try:
        if tls is not None and tls.selected_alpn_protocol() == "h2":
            await Http2Server(reader, writer, handle).run()
        else:
            await serve_http1(reader, writer, handle)
    except (ConnectionError, asyncio.IncompleteReadError, OSError):
        pass  # the client went away: the handlers have noted it
    finally:
        writer.close()


async def serve_http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler) -> None:
    """Serve an HTTP/1.1 connection, request after request."""
    tls = writer.get_extra_info("ssl_object")
    # asyncio closes a TLS transport as soon as its peer does: this is how a client that left is seen while we answer.
    gone = asyncio.ensure_future(_closed(writer))
    try:
        while not writer.is_closing():
            head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")[:-2]
            method, target, _ = first.split(" ", 2)
            headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
            seen = Seen(method, target, "1.1", headers, b"", head, getattr(tls, "sni", None))
            seen.peer = writer.get_extra_info("peername")
            if (seen.header("expect") or "").lower() == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            seen.body = await _read_body(reader, seen)
            task = asyncio.ensure_future(handle(seen, Http1Channel(writer)))
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                seen.ended = "client_gone"
                task.cancel()
                return
            task.result()
    finally:
        gone.cancel()


async def _closed(writer: asyncio.StreamWriter) -> None:
    try:
        await asyncio.shield(writer.wait_closed())
    except OSError:
        pass


async def _read_body(reader: asyncio.StreamReader, seen: Seen) -> bytes:
    if "chunked" not in (seen.header("transfer-encoding") or "").lower():
        return await reader.readexactly(int(seen.header("content-length") or 0))
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return bytes(body)


class Http2Server:
    """One HTTP/2 connection; its streams are answered side by side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler) -> None:
        self.reader, self.writer, self.handle = reader, writer, handle
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="latin-1"))
        self.requests: dict[int, Seen] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.window = asyncio.Event()

    async def run(self) -> None:
        """Until the client closes the connection."""
        self.h2.initiate_connection()
        self.flush()
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self.event(event)
                self.flush()
                self.window.set()
        except ProtocolError:
            self.flush()
        finally:
            for stream in list(self.tasks):
                self.gone(stream)

    def event(self, event: Any) -> None:
        """One event of h2."""
        if isinstance(event, RequestReceived):
            pairs = [(str(name), str(value)) for name, value in event.headers]
            pseudo = dict(pair for pair in pairs if pair[0].startswith(":"))
            headers = [("host", pseudo.get(":authority", "")), *(p for p in pairs if not p[0].startswith(":"))]
            tls = self.writer.get_extra_info("ssl_object")
            seen = Seen(pseudo[":method"], pseudo[":path"], "2", headers, b"", sni=getattr(tls, "sni", None))
            seen.peer = self.writer.get_extra_info("peername")
            self.requests[event.stream_id] = seen
        elif isinstance(event, DataReceived):
            self.requests[event.stream_id].body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            channel = Http2Channel(self, event.stream_id)
            task = asyncio.ensure_future(self.handle(self.requests[event.stream_id], channel))
            self.tasks[event.stream_id] = task
            task.add_done_callback(partial(self.done, event.stream_id))
        elif isinstance(event, StreamReset):
            self.gone(event.stream_id)

    def done(self, stream: int, _: asyncio.Task[None]) -> None:
        """A stream is answered."""
        self.tasks.pop(stream, None)

    def gone(self, stream: int) -> None:
        """The client left this stream."""
        if task := self.tasks.pop(stream, None):
            self.requests[stream].ended = self.requests[stream].ended or "client_gone"
            task.cancel()

    def flush(self) -> None:
        """Write what h2 has to say."""
        if data := self.h2.data_to_send():
            self.writer.write(data)


class Http2Channel:
    """One answer on an HTTP/2 stream."""

    def __init__(self, server: Http2Server, stream: int) -> None:
        self.server, self.stream = server, stream

    async def start(self, status: int, headers: list[tuple[str, str]], length: int | None) -> None:
        extra = [] if length is None else [("content-length", str(length))]
        self.server.h2.send_headers(self.stream, [(":status", str(status)), *headers, *extra])
        self.server.flush()
        await self.server.writer.drain()

    async def send(self, data: bytes) -> None:
        h2 = self.server.h2
        while data:
            room = min(h2.local_flow_control_window(self.stream), h2.max_outbound_frame_size)
            if room <= 0:
                self.server.window.clear()
                await self.server.window.wait()
                continue
            h2.send_data(self.stream, data[:room])
            data = data[room:]
            self.server.flush()
            await self.server.writer.drain()

    async def end(self) -> None:
        self.server.h2.end_stream(self.stream)
        self.server.flush()
        await self.server.writer.drain()

    def cut(self) -> None:
        self.server.writer.close()

    def reset(self) -> None:
        self.server.h2.reset_stream(self.stream, ErrorCodes.INTERNAL_ERROR)
        self.server.flush()
