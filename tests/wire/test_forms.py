"""Bodies that are no JSON: what is read of them, and that an edit changes nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.wire.forms import MOST_PIECES, read_form
from mitmesh.wire.jsontext import BadPath

UPLOAD = (
    b'--B1\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    b'--B1\r\nContent-Disposition: form-data; name="file"; filename="ann@example.com.jsonl"\r\n'
    b'Content-Type: application/jsonl\r\n\r\n{"a": "bob@example.com"}\n\r\n'
    b'--B1\r\nContent-Disposition: form-data; name="image"\r\nContent-Type: image/png\r\n\r\n\x89PNG\0\r\n'
    b"--B1--\r\n"
)
MULTIPART = "multipart/form-data; boundary=B1"


def test_upload() -> None:
    """Of an upload the texts of its parts and their names are read; a picture is counted."""
    body = read_form(UPLOAD, MULTIPART)
    assert body is not None and body.opaque == 5
    assert [text for text in body.doc if "Disposition" not in text] == ["batch", '{"a": "bob@example.com"}\n']
    at = body.doc.index('{"a": "bob@example.com"}\n')
    name = next(n for n, text in enumerate(body.doc) if "ann@" in text)
    body.set((at,), '{"a": "<EMAIL_2>"}\n')
    body.set((name,), body.doc[name].replace("ann@example.com", "<EMAIL_1>"))
    assert body.changed
    expected = UPLOAD.replace(b"bob@example.com", b"<EMAIL_2>").replace(b"ann@example.com", b"<EMAIL_1>")
    assert body.render() == expected


def test_fields() -> None:
    """Names and values of a form are read decoded, and written encoded."""
    raw = b"to=ann%40example.com&x=a+b&flag&y="
    body = read_form(raw, "application/x-www-form-urlencoded")
    assert body is not None and body.doc == ["to", "ann@example.com", "x", "a b", "flag", "y"]
    body.set((1,), "<EMAIL_1>")
    assert body.render() == b"to=%3CEMAIL_1%3E&x=a+b&flag&y="


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"\0", "text/plain"),
        (b"\x0a\x05hello", "application/grpc"),
        (b"no boundary", MULTIPART),
        (UPLOAD[:-20], MULTIPART),
        (b"a=\xc3\xa4\0", "application/x-www-form-urlencoded"),
        (b"&".join([b"a=b"] * MOST_PIECES), "application/x-www-form-urlencoded"),
    ],
)
def test_not_read(raw: bytes, kind: str) -> None:
    """What is no text, not whole, or too much is not read."""
    assert read_form(raw, kind) is None


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", MULTIPART])
def test_bytes_of_no_encoding_hide_nothing(kind: str) -> None:
    """What stands beside a byte that is no UTF-8 is read, and can be replaced (aisix 1016)."""
    raw = UPLOAD.replace(b"bob@", b"\xffbob@") if kind == MULTIPART else b"a=\xffbob@example.com\xfe&b=\xc3\xa4"
    body = read_form(raw, kind)
    assert body is not None
    at = next(n for n, text in enumerate(body.doc) if text.startswith("bob@example.com"))
    body.set((at,), body.doc[at].replace("bob@example.com", "<EMAIL_1>"))
    assert body.render() == raw.replace(b"bob@example.com", b"<EMAIL_1>")


def test_no_such_place() -> None:
    """A place that a form does not have cannot be set."""
    body = read_form(b"text", "text/plain")
    assert body is not None
    for path in ((), (1,), (0, "a"), ("a",)):
        with pytest.raises(BadPath):
            body.set(path, "x")


@given(st.binary(max_size=60), st.sampled_from([MULTIPART, "application/x-www-form-urlencoded", "text/plain", "x;;="]))
def test_unchanged(raw: bytes, kind: str) -> None:
    """Whatever comes, reading does not raise, and without an edit the bytes stay."""
    body = read_form(raw, kind)
    assert body is None or body.render() == raw
