"""Messages of AWS's event stream, as Bedrock answers in it: binary, each with headers and a payload.

A message is the prelude (its length, that of its headers, a CRC-32 of both; big-endian), headers, the payload and a
CRC-32 of all before (https://docs.aws.amazon.com/transcribe/latest/dg/event-stream.html). Converse puts a document into
the payload; InvokeModel the model's own event, as base64 in `{"bytes": ...}`.
"""

from __future__ import annotations

import base64
import json
import struct
from binascii import crc32
from collections.abc import Mapping

PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
LEAST = PRELUDE.size + _CRC.size
"""Bytes of a message with no headers and no payload."""
_TEXT = 7
"""The type of a header whose value is a string; all that AWS sends are."""


def said(raw: bytes) -> tuple[bytes, str | None]:
    """Of one whole message the document that it carries, and its `:event-type`."""
    _, length, _ = PRELUDE.unpack_from(raw)
    payload = raw[PRELUDE.size + length : -_CRC.size]
    inner = _inner(payload)
    return payload if inner is None else inner, _type(raw[PRELUDE.size : PRELUDE.size + length])


def is_message(raw: bytes) -> bool:
    """Is it one whole message?"""
    if len(raw) < LEAST:
        return False
    size, _, crc = PRELUDE.unpack_from(raw)
    return bool(size == len(raw) and crc == crc32(raw[:8]))


def with_data(raw: bytes, data: bytes) -> bytes:
    """The message with another document in it."""
    _, length, _ = PRELUDE.unpack_from(raw)
    headers = raw[PRELUDE.size : PRELUDE.size + length]
    payload = raw[PRELUDE.size + length : -_CRC.size]
    return _message(headers, _wrapped(data) if _inner(payload) is not None else data)


def chunk(data: bytes) -> bytes:
    """A model's own event (JSON), as InvokeModel sends it."""
    return event("chunk", _wrapped(data))


def event(kind: str, payload: bytes) -> bytes:
    """A message that carries an event of this type."""
    said = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return _message(_headers(said), payload)


def exception(kind: str, message: str) -> bytes:
    """The message that ends a stream with an error of this type."""
    said = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return _message(_headers(said), json.dumps({"message": message}).encode())


def _inner(payload: bytes) -> bytes | None:
    """The model's own event, where the payload wraps one."""
    if not payload.startswith(b'{"bytes"'):
        return None
    try:
        return base64.b64decode(json.loads(payload)["bytes"], validate=True)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _wrapped(data: bytes) -> bytes:
    return b'{"bytes":"' + base64.b64encode(data) + b'"}'


def _type(headers: bytes) -> str | None:
    """`:event-type` or `:exception-type`; None where there is none, or a header has another type than text before."""
    at = 0
    while at < len(headers):
        name_end = at + 1 + headers[at]
        name = headers[at + 1 : name_end]
        if headers[name_end : name_end + 1] != bytes([_TEXT]) or len(headers) < name_end + 3:
            return None
        value_end = name_end + 3 + int.from_bytes(headers[name_end + 1 : name_end + 3])
        if name in (b":event-type", b":exception-type"):
            return headers[name_end + 3 : value_end].decode(errors="replace")
        at = value_end
    return None


def _headers(said: Mapping[str, str]) -> bytes:
    return b"".join(
        bytes([len(name)]) + name.encode() + bytes([_TEXT]) + len(value).to_bytes(2) + value.encode()
        for name, value in said.items()
    )


def _message(headers: bytes, payload: bytes) -> bytes:
    size = LEAST + len(headers) + len(payload)
    head = struct.pack(">II", size, len(headers))
    message = head + _CRC.pack(crc32(head)) + headers + payload
    return message + _CRC.pack(crc32(message))
