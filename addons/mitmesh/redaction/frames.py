"""How the pool and its workers talk: JSON in frames, over pipes. JSON, because a worker reads hostile text and nothing
it says may become code here."""

from __future__ import annotations

import json
import struct
from asyncio import StreamReader
from typing import Any, BinaryIO

_HEAD = struct.Struct(">I")
LARGEST = 256 * 2**20
"""Bytes of one frame; what is longer is no frame of ours."""


def encode(message: Any) -> bytes:
    """A message as a frame. Escaped to ASCII, so that half a surrogate pair passes too."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    return _HEAD.pack(len(body)) + body


async def receive(stream: StreamReader) -> Any:
    """The next message. Raises asyncio.IncompleteReadError at the end, ValueError for what is no frame."""
    (size,) = _HEAD.unpack(await stream.readexactly(_HEAD.size))
    if size > LARGEST:
        raise ValueError("a frame is too large")
    return json.loads(await stream.readexactly(size))


def read(stream: BinaryIO) -> Any | None:
    """The same for a worker, which has nothing else to do: None at the end."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    (size,) = _HEAD.unpack(head)
    body = stream.read(size)
    return json.loads(body) if len(body) == size else None
