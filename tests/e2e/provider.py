"""A provider on 127.0.0.1 that remembers every request and does what a test told it to."""

from __future__ import annotations

import asyncio
import gzip
import json
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import brotli  # type: ignore[import-untyped]  # it ships no types
import zstandard

from cassettes import Recorded
from e2e.replies import TEXT, Reply, reply
from e2e.server import Channel, Seen, serve

DEADLINE = 15.0
"""Seconds after which whatever a test waits for is not coming."""


def wait_for[T](what: Callable[[], T], told: str = "condition", seconds: float = DEADLINE) -> T:
    """Poll until `what()` is truthy, and return it; AssertionError after the deadline."""
    end = time.monotonic() + seconds
    while not (value := what()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {told}")
        time.sleep(0.005)
    return value


@dataclass
class Script:
    """How one request is answered. The default is the ordinary answer.

    `body` replaces the answer (with `status`, `content_type`); `pieces` replaces a stream's events.
    `hold` stops before piece n until `Provider.release()`; `together` before the answer until that many calls are here.
    `cut`/`reset` end the connection or stream after n pieces of the body; `refuse` resets before any header.
    `encoding` compresses (a stream piece by piece); `sizes` re-cuts the body into chunks of these sizes, in turn.
    `before` and `between` are seconds before the head and before each piece; `early` sends the head, then waits too.
    """

    status: int = 200
    body: bytes | None = None
    pieces: list[bytes] | None = None
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    text: str = TEXT
    encoding: str = "identity"
    sizes: tuple[int, ...] = ()
    before: float = 0.0
    between: float = 0.0
    hold: int | None = None
    together: int = 0
    cut: int | None = None
    reset: int | None = None
    refuse: bool = False
    hang: bool = False


def recorded(call: Recorded, **rest: Any) -> Script:
    """Answer as a real provider once did (tests/cassettes.py)."""
    body = call.stream if call.answer is None else json.dumps(call.answer, ensure_ascii=False).encode()
    content_type = call.answer_headers.get("content-type", "application/json")
    return Script(status=call.status, body=body, content_type=content_type, **rest)


class Provider:
    """The server and its memory. Runs in a thread of its own, so that blocking clients can be tested."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.context = context
        self.calls: list[Seen] = []
        self.scripts: list[Script] = []
        self.running = 0
        self.peak = 0
        self.port = 0
        self._released = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="provider")
        self._connections: set[asyncio.Task[None]] = set()

    # --- for tests ---

    def start(self) -> Provider:
        """Listen on a free port of 127.0.0.1."""
        self._thread.start()
        assert self._started.wait(DEADLINE)
        return self

    def stop(self) -> None:
        """Drop every connection and end the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)

    def clear(self) -> None:
        """Forget calls and scripts; let go of whoever is held."""
        self.release()
        self.calls, self.scripts = [], []
        self._loop.call_soon_threadsafe(self._released.clear)
        self.peak = self.running

    def script(self, *scripts: Script) -> None:
        """The next requests are answered so, in this order; those after them in the ordinary way."""
        self.scripts.extend(scripts)

    def release(self) -> None:
        """Let every held answer go on."""
        self._loop.call_soon_threadsafe(self._released.set)

    def call(self, count: int = 1) -> Seen:
        """The latest call, once that many have been seen."""
        wait_for(lambda: len(self.calls) >= count, f"{count} calls at the provider")
        return self.calls[count - 1]

    def ended(self, count: int = 1) -> str:
        """How the latest call's answer ended, once it has."""
        seen = self.call(count)
        return wait_for(lambda: seen.ended, "the end of an answer") or ""

    # --- the server ---

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._listen())
        self._loop.call_soon(self._started.set)
        self._loop.run_forever()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _listen(self) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context, limit=2**20, backlog=256)
        self.port = server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer, self._handle)

    async def _handle(self, seen: Seen, channel: Channel) -> None:
        script = self.scripts.pop(0) if self.scripts else Script()
        self.calls.append(seen)
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            seen.ended = await self._answer(seen, script, channel)
        except (ConnectionError, OSError):
            seen.ended = "client_gone"
        finally:
            self.running -= 1

    async def _answer(self, seen: Seen, script: Script, channel: Channel) -> str:
        await asyncio.sleep(script.before)
        if script.hang:
            await asyncio.Event().wait()
        if script.refuse:
            channel.reset()
            return "reset"
        if script.together:
            await self._gather(script.together)
        try:
            answer = ordinary(seen, script)
        except Exception as error:  # a request that no provider would take: the test sees 400 and the cause
            said = json.dumps({"error": {"message": f"fake provider: {error!r}", "type": "invalid_request_error"}})
            answer = Reply("application/json", [said.encode()], status=400)
        pieces = list(encode(answer.pieces, script.encoding)) if seen.method != "HEAD" else []
        if script.sizes:
            pieces = list(recut(b"".join(pieces), script.sizes))
        streamed = answer.stream or script.cut is not None or script.hold is not None
        headers = [("content-type", answer.content_type), *script.headers]
        if script.encoding != "identity":
            headers.append(("content-encoding", script.encoding))
        await channel.start(answer.status, headers, None if streamed else len(b"".join(pieces)))
        return await self._body(pieces, script, channel)

    async def _body(self, pieces: list[bytes], script: Script, channel: Channel) -> str:
        for n, piece in enumerate(pieces):
            if script.hold == n:
                await self._released.wait()
            if script.cut == n:
                channel.cut()
                return "cut"
            if script.reset == n:
                channel.reset()
                return "reset"
            await asyncio.sleep(script.between)
            await channel.send(piece)
        await channel.end()
        return "complete"

    async def _gather(self, count: int) -> None:
        """Wait until `count` calls are here at once; go on without them at the deadline, and let `peak` tell."""
        end = time.monotonic() + DEADLINE / 3
        while self.peak < count and time.monotonic() < end:
            await asyncio.sleep(0.005)


def ordinary(seen: Seen, script: Script) -> Reply:
    """The answer that the script asks for, still whole."""
    if script.body is not None:
        return Reply(script.content_type or "application/json", [script.body], status=script.status)
    if script.pieces is not None:
        return Reply(script.content_type or "text/event-stream", script.pieces, stream=True, status=script.status)
    answer = reply(seen, script.text)
    if script.status != 200:
        answer.status = script.status
    return answer


def encode(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Compress piece by piece, flushed after each, so that a stream stays one."""
    if encoding == "identity":
        yield from pieces
    elif encoding == "gzip":
        packer = zlib.compressobj(wbits=31)
        for piece in pieces:
            yield packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)
        yield packer.flush()
    elif encoding == "br":
        br = brotli.Compressor()
        for piece in pieces:
            yield br.process(piece) + br.flush()
        yield br.finish()
    elif encoding == "zstd":
        zstd = zstandard.ZstdCompressor().compressobj()
        for piece in pieces:
            yield zstd.compress(piece) + zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        yield zstd.flush()
    else:
        raise ValueError(f"no encoding {encoding}")


def recut(data: bytes, sizes: tuple[int, ...]) -> Iterator[bytes]:
    """The same bytes in pieces of these sizes, in turn."""
    start = turn = 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        yield data[start : start + size]
        start, turn = start + size, turn + 1


def packed(body: bytes, encoding: str) -> bytes:
    """A request's body, compressed."""
    return gzip.compress(body) if encoding == "gzip" else b"".join(encode([body], encoding))
