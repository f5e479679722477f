"""What is looked at in answers that are no stream: JSON of any dialect, and texts."""

from __future__ import annotations

from typing import Any, cast

import pytest

from mitmesh.loopback import Head
from mitmesh.redaction.output import _Look
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
