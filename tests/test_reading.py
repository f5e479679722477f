"""Requests are read as a whole or refused; what is read is what the provider would read."""

from __future__ import annotations

import gzip
import json
from typing import Any

import brotli  # type: ignore[import-untyped]  # it ships no types
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.dialects import DIALECTS
from mitmesh.exchange import Inspected
from mitmesh.reading import Reading, Unreadable, read
from mitmesh.rules import Limits

LIMITS = Limits(body_bytes=2**20)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
NATIVE = [name for name, dialect in DIALECTS.items() if dialect.native]
PATHS = {
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "openai_embeddings": "/v1/embeddings",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
    "generic": "/x",
}


def reading(raw: bytes, dialect: str = "openai_chat", **headers: str) -> Reading:
    """Read a body; header names with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read(raw, DIALECTS[dialect], PATHS[dialect], named, LIMITS)


@pytest.mark.parametrize("dialect", ["openai_chat", "generic"])
def test_further_models(dialect: str) -> None:
    """Every model that the body names is read; more than anybody means is refused in any dialect."""
    doc = {**CHAT, "models": ["m", "o3"]}
    assert reading(json.dumps(doc).encode(), dialect, content_type="application/json").call.others == ("o3",)
    doc["models"] = [f"m{number}" for number in range(1000)]
    with pytest.raises(Unreadable) as caught:
        reading(json.dumps(doc).encode(), dialect, content_type="application/json")
    assert (caught.value.status, caught.value.rule, caught.value.always) == (400, "body.too_many_models", True)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("", bytes),
        ("identity", bytes),
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("br", brotli.compress),
        ("zstd", zstandard.ZstdCompressor().compress),
    ],
)
def test_a_good_body(encoding: str, pack: Any) -> None:
    """Whatever its encoding, the call, its texts and the plain bytes are there."""
    plain = json.dumps(CHAT).encode()
    got = reading(pack(plain), content_encoding=encoding)
    assert (got.call.model, [text.text for text in got.call.texts], got.inspected) == ("m", ["hi"], Inspected.FULL)
    assert got.body and got.body.raw == plain and not got.body.changed


@pytest.mark.parametrize(
    ("raw", "encoding", "status", "rule"),
    [
        (b"hello", "", 400, "body.bad_json"),
        (b"\xff\xfe{", "", 400, "body.bad_json"),
        (b'{"a": 1, "a": 2}', "", 400, "body.bad_json"),
        (b'{"a": "\\ud800"}', "", 400, "body.bad_json"),
        (b"[" * 9999, "", 400, "body.bad_json"),
        (b"[]", "", 400, "body.wrong_shape"),
        (b"null", "", 400, "body.wrong_shape"),
        (b'{"messages": 7}', "", 400, "body.wrong_shape"),
        (b"{}", "snappy", 415, "body.unknown_encoding"),
        (b"{}", "gzip", 400, "body.bad_compression"),
        (gzip.compress(bytes(2**20 + 1)), "gzip", 413, "body.too_large"),
        (bytes(2**20 + 1), "", 413, "body.too_large"),
    ],
)
def test_refused(raw: bytes, encoding: str, status: int, rule: str) -> None:
    """What cannot be inspected raises, with the status and the rule that the client is told."""
    with pytest.raises(Unreadable) as caught:
        reading(raw, content_encoding=encoding)
    assert (caught.value.status, caught.value.rule) == (status, rule)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "encoding", ["gzip", "br", "zstd", "deflate", "x-gzip", "gzip, gzip", "compress", "utf-8", "none", "aws-chunked"]
)
def test_a_false_encoding(dialect: str, encoding: str) -> None:
    """Plain JSON under an encoding that it has not, or that nobody knows, is refused whatever the rules say of what is
    not read, on every path: a provider that ignores the header would read what nobody searched."""
    with pytest.raises(Unreadable) as caught:
        reading(json.dumps({"a": "ann@example.com"}).encode(), dialect, content_encoding=encoding)
    assert caught.value.always and caught.value.status in (400, 415)


@pytest.mark.parametrize("dialect", NATIVE)
def test_a_null_is_not_no_body(dialect: str) -> None:
    """`null` is refused by every dialect, though each takes a request without a body in its own way."""
    with pytest.raises(Unreadable) as caught:
        reading(b" null ", dialect)
    assert caught.value.rule == "body.wrong_shape"


@pytest.mark.parametrize(
    ("raw", "kind", "rule"),
    [
        (b"\0\1", "application/grpc", "body.not_json"),
        (b"", "application/json", None),
        (b"plain words", "text/plain", None),
        (b"plain words", "application/json", None),
        (b"\0{broken", "application/json", None),
        ('{"a": "ann@example.com"}'.encode("utf-16-le"), "application/json", None),
        (b"a=b&" * 10_000, "application/x-www-form-urlencoded", "body.too_many"),
        (b"no boundary", "multipart/form-data; boundary=B1", "body.multipart"),
        (b' {"a": "b"}', "text/plain", None),
        (b"[1]", "", None),
        (b"null", "application/json", None),
        (b"{broken", "text/plain", None),
        (b'{"a": 1}\n{"a": 2}\n', "application/jsonl", None),
        (b"\xff\xfe", "text/plain", None),
    ],
)
def test_other_bodies(raw: bytes, kind: str, rule: str | None) -> None:
    """Where no dialect is known, a body is JSON if it says so or looks so, else a text; bytes are neither."""
    if rule is None:
        assert reading(raw, "generic", content_type=kind).inspected is Inspected.FULL
        return
    with pytest.raises(Unreadable) as caught:
        reading(raw, "generic", content_type=kind)
    assert caught.value.rule == rule


def test_media_is_partial() -> None:
    """What is carried but not read makes the inspection partial."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400}}
    body = {"model": "m", "messages": [{"role": "user", "content": [image, {"type": "text", "text": "hi"}]}]}
    got = reading(json.dumps(body).encode())
    assert got.inspected is Inspected.PARTIAL and got.call.opaque_bytes >= 400


@settings(max_examples=150)
@given(st.sampled_from(list(DIALECTS)), st.binary(max_size=200) | st.text(max_size=80).map(str.encode))
def test_any_bytes(dialect: str, raw: bytes) -> None:
    """No body makes it fail in another way, and no reason quotes the body."""
    try:
        reading(raw, dialect)
    except Unreadable as error:
        assert error.status in (400, 413, 415)
        text = raw.decode("latin-1").strip()
        assert len(text) < 9 or text not in error.reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["model", "messages", "role", "content", "input", "contents", "parts", "text", "system", "x"]
            ),
            children,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=150)
@given(st.sampled_from(list(DIALECTS)), JSON)
def test_any_document(dialect: str, doc: Any) -> None:
    """Any JSON document is read or refused for its shape, and its bytes are kept."""
    raw = json.dumps(doc).encode()
    try:
        got = reading(raw, dialect, content_type="application/json")
    except Unreadable as error:
        assert error.rule == "body.wrong_shape"
    else:
        assert got.body and got.body.render() == raw
