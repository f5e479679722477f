"""Content-Encoding undone: whole bodies and streams, with memory bounded whatever the sender says.

A few bytes of any of these formats can stand for gigabytes. So every step below is told how much it may give, and
raises as soon as there is more, before it is allocated.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Protocol

import brotli  # type: ignore[import-untyped]  # it ships no annotations
import zstandard

FEED_LIMIT = 64 * 1024 * 1024
"""Bytes that one feed of a decoder may give when no total is set."""
LAYERS = 4
"""Encodings a list may name; nobody sends more than two."""
MEMBERS = 10_000
"""Gzip members or zstd frames that one feed may hold: each costs microseconds, and an empty one is nine bytes."""
ZSTD_WINDOW = 8 * 1024 * 1024
"""RFC 9659: the largest window a sender may use in HTTP."""
ZSTD_SLICE = 256
"""Four bytes of zstd can give 128 KiB and the binding has no output limit: this many at a time give 8 MiB at most."""
SLICE = 16 * 1024
"""What follows a gzip member or zstd frame is copied for each one; short slices keep many small ones linear."""


class CompressionError(ValueError):
    """A body cannot be decompressed."""


class UnknownEncoding(CompressionError):
    """The Content-Encoding is none we can undo, or names too many layers."""


class TooLarge(CompressionError):
    """The body decompresses to more than the limit."""


class BadCompression(CompressionError):
    """The body is not what its Content-Encoding says: corrupt, truncated, or followed by other bytes."""


class _Member(Protocol):
    """One compressed unit: a gzip member, a zstd frame, a whole brotli stream."""

    def decompress(self, data: bytes, room: int) -> bytes:
        """All that `data` gives; TooLarge beyond `room` bytes. What lies behind its end is left in `unused`."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused(self) -> bytes: ...


class _Zlib:
    """A gzip member, zlib stream or raw deflate stream."""

    def __init__(self, wbits: int | None) -> None:
        self._wbits = wbits
        self._stream = None if wbits is None else zlib.decompressobj(wbits)

    def decompress(self, data: bytes, room: int) -> bytes:
        if self._stream is None:
            # "deflate" means zlib (RFC 9110), but raw deflate is sent too. The low half of zlib's first byte is 8;
            # in raw deflate that would be a stored block with a padding bit set, which no encoder writes.
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)
        out = self._stream.decompress(data, room + 1)
        if len(out) > room:
            raise TooLarge
        return out

    @property
    def eof(self) -> bool:
        return self._stream is not None and self._stream.eof

    @property
    def unused(self) -> bytes:
        return self._stream.unused_data if self._stream is not None else b""


class _Brotli:
    """A brotli stream; bytes behind its end are an error of brotli's own."""

    unused = b""

    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def decompress(self, data: bytes, room: int) -> bytes:
        out = self._stream.process(data, output_buffer_limit=room + 1)
        pieces, size = [out], len(out)
        while size <= room and not self._stream.can_accept_more_data():
            out = self._stream.process(b"", output_buffer_limit=room + 1 - size)
            pieces.append(out)
            size += len(out)
        if size > room:
            raise TooLarge
        return b"".join(pieces)

    @property
    def eof(self) -> bool:
        return bool(self._stream.is_finished())


class _Zstd:
    """A zstd frame. Frames of one body share a decompressor (16 µs to make), which is free again after each."""

    def __init__(self, decompressor: zstandard.ZstdDecompressor) -> None:
        self._frame = decompressor.decompressobj()
        self.unused = b""

    def decompress(self, data: bytes, room: int) -> bytes:
        pieces, size = [], 0
        for start in range(0, len(data), ZSTD_SLICE):
            out = self._frame.decompress(data[start : start + ZSTD_SLICE])
            size += len(out)
            if size > room:
                raise TooLarge
            pieces.append(out)
            if self._frame.eof:
                self.unused = self._frame.unused_data + data[start + ZSTD_SLICE :]
                break
        return b"".join(pieces)

    @property
    def eof(self) -> bool:
        return bool(self._frame.eof)


class _Layer:
    """One encoding of a list: members in a row where the format allows it, else exactly one."""

    def __init__(self, name: str, member: Callable[[], _Member], many: bool) -> None:
        self._name = name
        self._make = member
        self._many = many
        self._member: _Member | None = None

    def feed(self, data: bytes, room: int) -> bytes:
        pieces: list[bytes] = []
        opened = 0
        for start in range(0, len(data), SLICE):
            rest = data[start : start + SLICE]
            while rest:
                if self._member is None or self._member.eof:
                    self._member = self._next()
                    opened += 1
                    if opened > MEMBERS:
                        raise BadCompression(f"{self._name}: more than {MEMBERS} members at once")
                out = self._decompress(self._member, rest, room)
                rest = self._member.unused if self._member.eof else b""
                room -= len(out)
                pieces.append(out)
        return b"".join(pieces)

    def _next(self) -> _Member:
        if self._member is not None and not self._many:
            raise BadCompression(f"{self._name}: bytes after the end")
        return self._make()

    def _decompress(self, member: _Member, data: bytes, room: int) -> bytes:
        try:
            return member.decompress(data, room)
        except (zlib.error, brotli.error, zstandard.ZstdError):
            raise BadCompression(f"{self._name}: corrupt") from None
        except TooLarge:
            raise TooLarge(f"{self._name}: decompresses to more than the limit") from None

    def finish(self) -> None:
        """No bytes at all are no error: a body may be empty whatever its headers say."""
        if self._member is not None and not self._member.eof:
            raise BadCompression(f"{self._name}: truncated")


def _zstd_layer() -> _Layer:
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    return _Layer("zstd", lambda: _Zstd(decompressor), many=True)


_LAYERS: dict[str, Callable[[], _Layer]] = {
    "gzip": lambda: _Layer("gzip", lambda: _Zlib(zlib.MAX_WBITS | 16), many=True),
    "deflate": lambda: _Layer("deflate", lambda: _Zlib(None), many=False),
    "br": lambda: _Layer("br", _Brotli, many=False),
    "zstd": _zstd_layer,
}
_LAYERS["x-gzip"] = _LAYERS["gzip"]


def _layers(encoding: str) -> list[_Layer]:
    """The layers of a Content-Encoding value, the one to undo first in front."""
    names = [name.strip().lower() for name in encoding.split(",")]
    names = [name for name in names if name not in ("", "identity")]
    if len(names) > LAYERS:
        raise UnknownEncoding(f"more than {LAYERS} content encodings")
    if not all(name in _LAYERS for name in names):
        raise UnknownEncoding("content encoding is none of identity, gzip, deflate, br, zstd")
    return [_LAYERS[name]() for name in reversed(names)]


class Decoder:
    """Undoes a Content-Encoding as the bytes come; each feed gives all that can be known so far.

    After an error it is of no more use. `limit` bounds the bytes given in all; without it each feed is bounded by
    FEED_LIMIT, so that an endless stream may pass and a bomb may not.
    """

    def __init__(self, encoding: str, limit: int | None = None) -> None:
        self._layers = _layers(encoding)
        self._left = limit

    def feed(self, chunk: bytes) -> bytes:
        """The next bytes of the body, decoded: b"" where nothing is decodable yet. Raises TooLarge, BadCompression."""
        room = FEED_LIMIT if self._left is None else self._left
        for layer in self._layers[:-1]:
            # What lies between two encodings may be a little larger than what comes out of the last.
            chunk = layer.feed(chunk, room + room // 8 + 4096)
        if self._layers:
            chunk = self._layers[-1].feed(chunk, room)
        if self._left is not None:
            self._left -= len(chunk)
            if self._left < 0:
                raise TooLarge("body is larger than the limit")
        return chunk

    def finish(self) -> bytes:
        """The end of the body: bytes still to come (so far always none). Raises BadCompression if it is truncated."""
        for layer in self._layers:
            layer.finish()
        return b""


def decoder(encoding: str, limit: int | None = None) -> Decoder:
    """A decoder for a Content-Encoding value (`gzip`, `br`, `gzip, zstd`, empty or `identity` for none); `limit` in
    decoded bytes of the whole stream, None for no total. Raises UnknownEncoding."""
    return Decoder(encoding, limit)


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """A whole body decoded, of at most `limit` bytes. Raises UnknownEncoding, TooLarge, BadCompression."""
    stream = Decoder(encoding, limit)
    return stream.feed(body) + stream.finish()
