"""What a Kubernetes API server sends, one pod at a time, so that the event loop gets its turn between two of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp

from mitmesh.attest.podinfo import Malformed

LARGEST_PAGE = 32 * 2**20
"""Bytes of one answer of a list. A pod has about 10 KB."""
LARGEST_EVENT = 8 * 2**20
"""Bytes of one event. etcd keeps no object above 1.5 MB, as shipped."""

_decode = json.JSONDecoder().raw_decode
_SPACE = re.compile(r"[ \t\r\n]*")


async def members(content: aiohttp.StreamReader) -> AsyncIterator[tuple[str, Any]]:
    """The members of a list: `items` once for each of them, all others whole. Raises Malformed."""
    raw = bytearray()
    async for chunk in content.iter_any():
        raw += chunk
        if len(raw) > LARGEST_PAGE:
            raise Malformed(f"a list's page is longer than {LARGEST_PAGE} bytes")
    for member in walk(raw):
        yield member
        await asyncio.sleep(0)


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """The events of a watch, not parsed yet. Raises Malformed."""
    rest = bytearray()
    async for chunk in content.iter_any():
        begin = len(rest)
        rest += chunk
        while (end := rest.find(b"\n", begin)) >= 0:
            line, begin = bytes(rest[:end]), 0
            del rest[: end + 1]
            if line.strip():
                yield line
                await asyncio.sleep(0)
        if len(rest) > LARGEST_EVENT:
            raise Malformed(f"an event is longer than {LARGEST_EVENT} bytes")
    if rest.strip():
        raise Malformed("the last event is cut off")


def parsed(line: bytes) -> Any:
    """An event. Raises Malformed."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise Malformed("an event is no JSON") from None


def walk(raw: bytes | bytearray) -> Iterator[tuple[str, Any]]:
    """The members of a JSON object in their order; each item of `items` by itself. Raises Malformed."""
    try:
        text = raw.decode()
        at = _past(text, 0, "{")
        while text[at] != "}":
            key, at = _decode(text, at)
            at = _past(text, at, ":")
            if key == "items" and text[at] == "[":
                at = _past(text, at, "[")
                while text[at] != "]":
                    item, at = _decode(text, at)
                    yield key, item
                    at = _next(text, at, "]")
                at += 1
            else:
                value, at = _decode(text, at)
                if key != "items" or value is not None:  # Go writes null for a list of nothing
                    yield key, value
            at = _next(text, at, "}")
    except (ValueError, IndexError, RecursionError):
        raise Malformed("a list is no JSON, or cut off") from None


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _past(text: str, at: int, sign: str) -> int:
    """Behind this sign, which must come next."""
    at = _skip(text, at)
    if text[at] != sign:
        raise ValueError
    return _skip(text, at + 1)


def _next(text: str, at: int, end: str) -> int:
    """At the next entry, or at the end."""
    at = _skip(text, at)
    return at if text[at] == end else _past(text, at, ",")
