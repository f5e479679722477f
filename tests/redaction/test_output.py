"""What is looked at in answers that are no stream: JSON of any dialect, and texts."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from mitmesh.exchange import Target
from mitmesh.loopback import Head
from mitmesh.redaction.output import Output, _Look
from mitmesh.redaction.replace import MASK
from mitmesh.rules.pii_return import PiiOutput
from redactions import Finder, exchange


class Provided:
    """A provider's answer as aiohttp has it."""

    def __init__(self, status: int, kind: str, raw: bytes) -> None:
        self.status, self.headers, self.content, self._raw = status, {"content-type": kind}, self, raw

    async def iter_chunked(self, _: int) -> Any:
        yield self._raw


CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
MASKED = f"ask {MASK}".encode()


@pytest.mark.parametrize(
    ("dialect", "status", "kind", "raw", "expected"),
    [
        ("openai_chat", 500, "text/plain", b"ask eve@evil.org", (500, MASKED)),
        ("openai_chat", 429, "text/html", b"slow down", (429, b"slow down")),
        ("openai_chat", 500, "image/png", b"\x89PNG\0", (500, None)),
        ("openai_chat", 200, "image/png", b"\x89PNG\0", (502, None)),
        ("generic", 200, "application/json", b'{"a": "ask eve@evil.org"}', (200, b'{"a": "' + MASKED + b'"}')),
        ("generic", 200, "text/plain", b"ask eve@evil.org", (200, MASKED)),
        ("generic", 200, "text/plain", b"ask xann@example.company", (200, MASKED)),
        ("generic", 200, "text/plain", b"ask ann@example.com", (200, b"ask ann@example.com")),
        ("generic", 200, "audio/mpeg", b"ID3\0\1\2", (200, b"ID3\0\1\2")),
    ],
)
async def test_whole_answers(
    dialect: str, status: int, kind: str, raw: bytes, expected: tuple[int, bytes | None]
) -> None:
    """What is news is masked, a status stays what it was, and what cannot be searched is not given to a chat."""
    look = _Look(Finder(), exchange(dialect, CHAT), "I am ann@example.com", PiiOutput(action="mask"))
    head, *pieces = [piece async for piece in look.answer(cast(Any, Provided(status, kind, raw)))]
    assert isinstance(head, Head) and head.status == expected[0]
    if expected[1] is not None:
        assert pieces == [expected[1]]
    else:
        assert b"could not be searched" in cast(bytes, pieces[0])


@pytest.mark.parametrize(
    "path", ["/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse", "/model/a%2fb/../invoke?b=2&a=1%20x&c=%7e+y"]
)
async def test_the_url_stays(path: str) -> None:
    """The provider gets the URL as it is written, to the last escape: it may be signed."""
    lines: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    output = Output(Finder())
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        x = exchange("generic", CHAT, path)
        x.upstream = Target("http", "127.0.0.1", server.sockets[0].getsockname()[1])
        _ = [piece async for piece in output.serve(x, "", PiiOutput(action="mask"))]
    await output.stop()
    assert lines == [f"POST {path} HTTP/1.1\r\n".encode()]
