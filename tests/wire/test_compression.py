"""Every encoding, every cut, and what must not get through."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.wire.compression import BadCompression, CompressionError, TooLarge, UnknownEncoding, decoder, decompress


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


COMPRESS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "identity": ("identity", lambda body: body),
    "none": ("", lambda body: body),
    "gzip": ("gzip", gzip.compress),
    "x-gzip, shouted": (" X-GZIP ", gzip.compress),
    "two gzip members": ("gzip", lambda body: gzip.compress(body[:7]) + gzip.compress(body[7:])),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.compress),
    "two zstd frames": ("zstd", lambda body: zstandard.compress(body[:7]) + zstandard.compress(body[7:])),
    "zstd with a skippable frame": (
        "zstd",
        lambda body: b"\x50\x2a\x4d\x18\x04\0\0\0skip" + zstandard.compress(body),
    ),
    "a list": ("gzip, identity,zstd", lambda body: zstandard.compress(gzip.compress(body))),
}
ENCODINGS = pytest.mark.parametrize(("encoding", "compress"), COMPRESS.values(), ids=COMPRESS)
COMPRESSED = pytest.mark.parametrize(("encoding", "compress"), list(COMPRESS.values())[2:], ids=list(COMPRESS)[2:])
TEXT = b'data: {"delta": "hello"}\n\n' * 50


@ENCODINGS
@pytest.mark.parametrize("body", [b"", b"x", TEXT, bytes(range(256)) * 900], ids=["empty", "one", "text", "binary"])
def test_a_body_comes_back_within_a_limit_of_its_very_size(
    encoding: str, compress: Callable[[bytes], bytes], body: bytes
) -> None:
    """What was compressed comes out again, and a limit of exactly its length is enough."""
    assert decompress(compress(body), encoding, len(body)) == body


@ENCODINGS
def test_one_byte_over_the_limit_is_too_large(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """The limit is the largest body that passes."""
    with pytest.raises(TooLarge):
        decompress(compress(TEXT), encoding, len(TEXT) - 1)
    stream = decoder(encoding, len(TEXT) - 1)
    with pytest.raises(TooLarge):
        for byte in compress(TEXT):
            stream.feed(bytes([byte]))


@ENCODINGS
def test_bytes_may_be_cut_anywhere(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """A cut at any place, or at every place, gives the same bytes."""
    sent = compress(TEXT)
    for cut in range(len(sent)):
        stream = decoder(encoding)
        assert stream.feed(sent[:cut]) + stream.feed(sent[cut:]) + stream.finish() == TEXT
    stream = decoder(encoding)
    assert b"".join(stream.feed(sent[i : i + 1]) for i in range(len(sent))) + stream.finish() == TEXT


@COMPRESSED
def test_a_truncated_body_is_bad(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """A body cut short gives what it can and then an error, never a shorter body."""
    sent = compress(TEXT)
    for cut in set(range(1, len(sent))) - boundaries(encoding, sent):
        with pytest.raises(BadCompression):
            decompress(sent[:cut], encoding, len(TEXT))


def boundaries(encoding: str, sent: bytes) -> set[int]:
    """Where a shorter body is a whole body too: between members."""
    magic = {"gzip": b"\x1f\x8b\x08", "zstd": b"\x28\xb5\x2f\xfd"}.get(encoding)
    return {at for at in range(len(sent)) if magic and sent.startswith(magic, at)}


@COMPRESSED
def test_bytes_behind_the_end_are_bad(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """Nothing rides along behind a compressed body, at once or later."""
    with pytest.raises(BadCompression):
        decompress(compress(TEXT) + b"smuggled", encoding, 1_000_000)
    stream = decoder(encoding)
    stream.feed(compress(TEXT))
    with pytest.raises(BadCompression):
        stream.feed(b"smuggled")


@COMPRESSED
def test_what_is_not_compressed_is_bad_and_not_repeated(encoding: str, compress: Callable[[bytes], bytes]) -> None:
    """A plain body under a Content-Encoding is an error that does not say what was in it."""
    with pytest.raises(BadCompression) as caught:
        decompress(b'{"secret": "hunter2"}', encoding, 1_000_000)
    assert "hunter2" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, zstd"]), st.binary(max_size=300), st.integers(0, 2000))
def test_no_bytes_crash_a_decoder(encoding: str, body: bytes, limit: int) -> None:
    """Any bytes give at most `limit` bytes or a CompressionError."""
    try:
        assert len(decompress(body, encoding, limit)) <= limit
    except CompressionError:
        pass


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(COMPRESS.values())[2:]), st.data())
def test_a_flipped_byte_never_crashes(case: tuple[str, Callable[[bytes], bytes]], data: st.DataObject) -> None:
    """A corrupt body is an error or another body, nothing else, however it is cut."""
    encoding, compress = case
    sent = bytearray(compress(TEXT))
    sent[data.draw(st.integers(0, len(sent) - 1))] ^= data.draw(st.integers(1, 255))
    cut = data.draw(st.integers(0, len(sent)))
    try:
        stream = decoder(encoding, 10_000)
        stream.feed(bytes(sent[:cut]))
        stream.feed(bytes(sent[cut:]))
        stream.finish()
    except CompressionError:
        pass


@pytest.mark.parametrize("encoding", ["compress", "gzip, aws-chunked", "gzip;q=1", "zstd gzip", ",".join(["br"] * 5)])
def test_an_encoding_we_cannot_undo_is_refused(encoding: str) -> None:
    """Unknown encodings and long lists are refused before a byte is read."""
    with pytest.raises(UnknownEncoding):
        decoder(encoding)


def zstd_rle_bomb(size: int) -> bytes:
    """A zstd frame made of RLE blocks: four bytes for every 128 KiB."""
    blocks = size // 131072
    header = b"\x28\xb5\x2f\xfd\x00\x58"  # no content size, window 2 MiB
    block = (131072 << 3 | 1 << 1).to_bytes(3, "little") + b"x"
    last = (131072 << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"x"
    return header + block * (blocks - 1) + last


BOMBS = {
    "gzip": gzip.compress(bytes(100_000_000), 9),
    "deflate": zlib.compress(bytes(100_000_000), 9),
    "br": brotli.compress(bytes(100_000_000), quality=5),
    "zstd": zstd_rle_bomb(400 * 1024 * 1024),
    "gzip, gzip": gzip.compress(gzip.compress(bytes(100_000_000), 9)),
}


@pytest.mark.parametrize("encoding", BOMBS)
@pytest.mark.parametrize("limit", [1_000_000, 0])
def test_a_bomb_is_stopped_before_it_is_allocated(encoding: str, limit: int) -> None:
    """A body of megabytes out of kilobytes stops at the limit; little more than that is ever held."""
    tracemalloc.start()
    with pytest.raises(TooLarge):
        decompress(BOMBS[encoding], encoding, limit)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < limit + 12_000_000


@pytest.mark.parametrize("encoding", BOMBS)
def test_a_bomb_in_one_chunk_of_a_stream_is_stopped(encoding: str) -> None:
    """A stream has no total, yet one chunk of it cannot give more than FEED_LIMIT."""
    with pytest.raises(TooLarge):
        decoder(encoding).feed(BOMBS[encoding])


def test_a_zstd_window_over_8_mib_is_bad() -> None:
    """RFC 9659: the memory a sender may make us keep is bounded."""
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=24)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(BadCompression):
        decompress(stream.compress(b"x") + stream.flush(), "zstd", 100)


@pytest.mark.parametrize(
    ("encoding", "empty"), [("gzip", gzip.compress(b"")), ("zstd", zstandard.compress(b""))], ids=["gzip", "zstd"]
)
def test_very_many_empty_members_are_bad(encoding: str, empty: bytes) -> None:
    """Members cost time even where they give nothing."""
    assert decompress(empty * 5_000, encoding, 0) == b""
    with pytest.raises(BadCompression):
        decompress(empty * 20_000, encoding, 0)


def flushing(encoding: str) -> tuple[Callable[[bytes], bytes], Callable[[], bytes]]:
    """A compressor as a streaming server uses it: each event is flushed."""
    if encoding == "br":
        b = brotli.Compressor()
        return lambda event: b.process(event) + b.flush(), b.finish
    if encoding == "zstd":
        z = zstandard.ZstdCompressor().compressobj()
        return lambda event: z.compress(event) + z.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK), z.flush
    d = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    return lambda event: d.compress(event) + d.flush(zlib.Z_SYNC_FLUSH), d.flush


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_what_is_flushed_is_given_at_once(encoding: str) -> None:
    """An event that has arrived is not held for the next one."""
    compress, end = flushing(encoding)
    stream = decoder(encoding)
    for number in range(200):
        event = b'data: {"n": %d}\n\n' % number
        assert stream.feed(compress(event)) == event
    assert stream.feed(end()) + stream.finish() == b""


def test_a_stream_without_total_may_go_on() -> None:
    """Without a limit only a single feed is bounded."""
    compress, _ = flushing("gzip")
    stream = decoder("gzip")
    part = compress(bytes(1_000_000))
    assert len(stream.feed(part)) == 1_000_000
    assert sum(len(stream.feed(compress(bytes(1_000_000)))) for _ in range(100)) == 100_000_000
