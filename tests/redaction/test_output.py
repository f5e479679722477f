"""What is looked at in answers that are no stream: JSON of any dialect, and texts."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import aiohttp
import pytest

from mitmesh.exchange import Exchange, Target
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

    async def iter_any(self) -> Any:
        yield self._raw


async def told(x: Exchange, answer: Provided, action: Any = "mask") -> tuple[Head, bytes]:
    """What the caller gets of an answer."""
    look = _Look(Finder(), x, "I am ann@example.com", PiiOutput(action=action))
    head, *pieces = [piece async for piece in look.answer(cast(Any, answer))]
    assert isinstance(head, Head)
    return head, b"".join(cast(list[bytes], pieces))


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
        ("generic", 200, "application/octet-stream", b"\0\1\2\3ask eve@evil.org", (200, b"\0\1\2\3" + MASKED)),
        ("generic", 200, "application/json", b'{"a": "eve@evil.org", "a": 1}', (200, b'{"a": "********", "a": 1}')),
        (
            "generic",
            200,
            "application/json",
            b'{"a": "eve\\u0040evil.org", "a": 1}',
            (200, b'{"a": "********", "a": 1}'),
        ),
    ],
)
async def test_whole_answers(
    dialect: str, status: int, kind: str, raw: bytes, expected: tuple[int, bytes | None]
) -> None:
    """What is news is masked, a status stays what it was, and what cannot be searched is not given to a chat."""
    asked = {"model": "m", "input": "hi"} if dialect == "generic" else CHAT
    look = _Look(Finder(), exchange(dialect, asked), "I am ann@example.com", PiiOutput(action="mask"))
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


X = "eve@evil.org"
TOOL = {"type": "tool_use", "id": "t", "name": "f", "input": {X: 1}}
ANYWHERE: list[tuple[str, Any]] = [
    ("openai_chat", {"choices": [], "warning": X}),
    ("openai_chat", {"choices": [{"message": {"content": "a", "zzz": [{X: X}]}}]}),
    ("openai_chat", {"choices": [{"message": {"tool_calls": [{"id": X, "function": {"name": X}}]}}]}),
    ("openai_chat", {"choices": [{"message": {"content": "a"}, "logprobs": {"content": [{"token": X}]}}]}),
    ("openai_responses", {"output": [], "metadata": {"a": X, X: "b"}}),
    ("anthropic", {"type": "message", "content": [TOOL], "zzz": X}),
    ("gemini", {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": {X: 1}}}]}}]}),
    ("generic", {"a": {"b": [X], X: 1}}),
    ("generic", [X]),
]
ASKED: dict[str, Any] = {
    "openai_responses": {"model": "m", "input": "hi"},
    "gemini": {"contents": [{"parts": [{"text": "hi"}]}]},
    "anthropic": {**CHAT, "max_tokens": 1},
}


@pytest.mark.parametrize(("dialect", "doc"), ANYWHERE)
async def test_anywhere(dialect: str, doc: Any) -> None:
    """A value is masked, or refused, wherever a JSON answer says it: in fields nobody knows, names of members, ids."""
    x = exchange(dialect, ASKED.get(dialect, CHAT))
    _, left = await told(x, Provided(200, "application/json", json.dumps(doc).encode()))
    assert X.encode() not in left and json.loads(left)
    if b"token" not in json.dumps(doc).encode():
        head, left = await told(x, Provided(200, "application/json", json.dumps(doc).encode()), "refuse")
        assert head.status == 403 and X.encode() not in left


async def test_what_is_sealed_stays() -> None:
    """What a provider signed or encrypted is not looked at: changed, it would be refused when it is sent back."""
    sealed = {"type": "thinking", "thinking": f"ask {X}", "signature": "c2lnbmVk"}
    doc = {"type": "message", "content": [sealed, {"type": "text", "text": "hi"}], "usage": {"input_tokens": 1}}
    raw = json.dumps(doc).encode()
    assert (await told(exchange("anthropic", ASKED["anthropic"]), Provided(200, "application/json", raw)))[1] == raw


@pytest.mark.parametrize("action", ["mask", "refuse"])
async def test_headers(action: str) -> None:
    """A header that says what is news is dropped, and the verdict says so; the call itself is not refused for it."""
    answer = Provided(200, "application/json", b"{}")
    answer.headers |= {"x-note": f"ask {X}", "x-yours": "ann@example.com", "x-other": "7"}
    x = exchange("generic", CHAT)
    head, left = await told(x, answer, action)
    assert head.headers == {"content-type": "application/json", "x-yours": "ann@example.com", "x-other": "7"}
    assert left == b"{}" and [v.reason for v in x.verdicts] == ["EMAIL in a header of the answer, not from the caller"]


async def test_streams_say_nothing_beside() -> None:
    """Of a stream nothing passes unlooked at: comments, ids, names, data that is no JSON, an unfinished end."""
    raw = f': {X}\n\nevent: {X}\nid: {X}\nfoo: {X}\ndata: {X}\n\ndata: [DONE]\n\ndata: {{"a": "{X}'.encode()
    x = exchange("openai_chat", {**CHAT, "stream": True})
    _, left = await told(x, Provided(200, "text/event-stream", raw))
    assert left.decode() == f':\n\ndata: {MASK}\n\ndata: [DONE]\n\ndata: {{"a": "{MASK}'


async def test_a_provider_that_breaks_off() -> None:
    """What came of a stream goes on, searched, before the caller is told that it broke off."""

    class Broken(Provided):
        async def iter_any(self) -> Any:
            yield self._raw
            raise aiohttp.ClientPayloadError

    raw = b'data: {"choices": [{"index": 0, "delta": {"content": "ask eve@evil.org now"}}]}\n\n'
    look = _Look(Finder(), exchange("openai_chat", {**CHAT, "stream": True}), "", PiiOutput(action="mask"))
    pieces = []
    with pytest.raises(aiohttp.ClientPayloadError):
        async for piece in look.answer(cast(Any, Broken(200, "text/event-stream", raw))):
            pieces.append(piece)
    assert pieces[1:] == [raw.replace(b"eve@evil.org", MASK.encode())]
