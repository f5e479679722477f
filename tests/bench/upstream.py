"""A chat completions provider that costs next to nothing: `python upstream.py PORT`. It imports nothing of ours.

Streams take their shape from headers: `x-bench-events` (number) and `x-bench-pause` (microseconds between two events,
so that each reaches the proxy by itself, as a model's tokens do).
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator

USAGE = {"prompt_tokens": 40, "completion_tokens": 60, "total_tokens": 100}
TEXT = "The answer is forty-two, as it has been all along, and as it will be when you ask again tomorrow. " * 3


def head(kind: str, length: str) -> bytes:
    """The head of a 200 answer."""
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\nx-request-id: req_bench\r\n{length}\r\n\r\n".encode()


def answer() -> bytes:
    """A whole JSON answer with its usage."""
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    doc = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1754000000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    body = json.dumps(doc).encode()
    return head("application/json", f"content-length: {len(body)}") + body


def event(choices: list[object], **more: object) -> bytes:
    """One event of a stream, as an HTTP chunk; about 180 bytes."""
    doc = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1754000000, "model": "gpt-4o-mini"}
    return chunk(b"data: " + json.dumps(doc | {"choices": choices} | more, separators=(",", ":")).encode() + b"\n\n")


def chunk(data: bytes) -> bytes:
    """Data as an HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def stream(events: int, usage: bool) -> Iterator[bytes]:
    """`events` words, then what ends a stream; the head comes with the first."""
    first = head("text/event-stream; charset=utf-8", "transfer-encoding: chunked")
    for number in range(events):
        delta = {"index": 0, "delta": {"content": f" word{number}"}, "logprobs": None, "finish_reason": None}
        yield (b"" if number else first) + event([delta])
    last = event([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}])
    yield last + (event([], usage=USAGE) if usage else b"") + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


ANSWER = answer()


class Upstream(asyncio.Protocol):
    """One keep-alive connection; a request at a time, as all HTTP/1.1 clients here do."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = bytearray()
        self.needed = 0

    def data_received(self, data: bytes) -> None:
        """Answer once the request is whole."""
        self.buffer += data
        if not self.needed:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self.head = bytes(self.buffer[:end]).lower()
            self.needed = end + 4 + self.header(b"content-length")
        if len(self.buffer) >= self.needed:
            usage = b'"include_usage"' in self.buffer
            self.buffer.clear()
            self.needed = 0
            if events := self.header(b"x-bench-events"):
                self.send(stream(events, usage), self.header(b"x-bench-pause") / 1e6)
            else:
                self.transport.write(ANSWER)

    def header(self, name: bytes) -> int:
        """A header's number; 0 without it."""
        found = re.search(rb"\r\n%s: *(\d+)" % name, self.head)
        return int(found[1]) if found else 0

    def send(self, pieces: Iterator[bytes], pause: float) -> None:
        """Write the next piece, and the rest one by one."""
        piece = next(pieces, None)
        if piece is not None and not self.transport.is_closing():
            self.transport.write(piece)
            asyncio.get_running_loop().call_later(pause, self.send, pieces, pause)


async def main(port: int) -> None:
    """Serve until ended."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port, backlog=256)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
