"""Bodies that are no JSON: what is read of them, and that an edit changes nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.wire.charset import decoded, encoded
from mitmesh.wire.forms import MOST_PIECES, TooManyPieces, read_form
from mitmesh.wire.jsontext import BadPath
from mitmesh.wire.multipart import BadUpload

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
        (b"\x0a\x05hello", "application/grpc"),
        (b"\x1b[31mred", "image/png"),
        (bytes(range(256)), ""),
        (bytes(range(256)), "application/octet-stream"),
    ],
)
def test_not_read(raw: bytes, kind: str) -> None:
    """What is no text is not read."""
    assert read_form(raw, kind) is None


def test_too_many() -> None:
    """A form with more texts than that is nobody's."""
    with pytest.raises(TooManyPieces):
        read_form(b"&".join([b"a=b"] * MOST_PIECES), "application/x-www-form-urlencoded")


ANN = "ann@example.com"


@pytest.mark.parametrize("kind", ["text/plain", "application/json; x=y", "text/csv; charset=utf-8", MULTIPART])
@pytest.mark.parametrize(
    "raw",
    [
        b"\x1b[31mann@example.com\x1b[0m", b"\0ann@example.com", b"x\x7f ann@example.com",
        b"\1\2\3\4\5\6\7 ann@example.com",
        f"hi {ANN}".encode("utf-16"), f"hi {ANN}".encode("utf-16-le"), f"hi {ANN}".encode("utf-16-be"),
        f"hi {ANN}".encode("utf-32"), f"hi \u65e5\u672c {ANN} \u8a9e".encode("utf-16-le"), b"ann@example.com \xe9\xff",
        "hi \uf7ff ".encode() + b"\xff ann@example.com",
    ],
)  # fmt: skip
def test_texts_whatever_is_in_them(raw: bytes, kind: str) -> None:
    """A text is read whatever signs and encoding it has, and an edit leaves all other bytes as they are."""
    raw = UPLOAD.replace(b'{"a": "bob@example.com"}\n', raw) if kind == MULTIPART else raw
    body = read_form(raw, kind)
    assert body is not None
    at = next(n for n, text in enumerate(body.doc) if ANN in text and "Disposition" not in text)
    body.set((at,), body.doc[at].replace(ANN, "<E>"))
    new = body.render()
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"):
        if raw.replace(ANN.encode(encoding), "<E>".encode(encoding)) == new != raw:
            return
        if kind == MULTIPART:  # there the name of a file is one too
            assert len(raw) - len(new) in (12, 24, 48)
            return
    pytest.fail(f"other bytes were changed: {new!r}")


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"no boundary", MULTIPART),
        (UPLOAD[:-20], MULTIPART),
        (b"ann@example.com\r\n" + UPLOAD, MULTIPART),
        (b"\r\n" + UPLOAD, MULTIPART),
        (UPLOAD + b"ann@example.com", MULTIPART),
        (UPLOAD + UPLOAD, MULTIPART),
        (UPLOAD, MULTIPART + "; boundary=B2"),
        (UPLOAD, MULTIPART + "; Boundary*=B2"),
        (UPLOAD, "multipart/form-data"),
        (UPLOAD, 'multipart/form-data; boundary=""'),
        (UPLOAD.replace(b"\r\n--B1\r\n", b"\r\n--B1x\r\n", 1), MULTIPART),
        (UPLOAD.replace(b"batch", b"batch\n--B1\n"), MULTIPART),
        (UPLOAD.replace(b"batch", b"--B1--"), MULTIPART),
        (UPLOAD.replace(b"Content-Type: application/jsonl", b"Content-Transfer-Encoding: base64"), MULTIPART),
        (UPLOAD.replace(b"Content-Type: application/jsonl", b"Content-Type: a/b\r\nContent-Type: c/d"), MULTIPART),
        (UPLOAD.replace(b"Content-Type: application/jsonl", b"no field"), MULTIPART),
        (UPLOAD.replace(b"Content-Type: application/jsonl", b"X: a\nb"), MULTIPART),
        (UPLOAD.replace(b"ann@example.com.jsonl", b"=?utf-8?B?YW5uQGV4YW1wbGUuY29t?="), MULTIPART),
    ],
)
def test_uploads_that_readers_differ_about(raw: bytes, kind: str) -> None:
    """Whatever one reader skips and another takes for content is refused."""
    with pytest.raises(BadUpload):
        read_form(raw, kind)


@pytest.mark.parametrize("kind", ["text/plain; name=ann@example.com", "text/plain\r\nX-Owner: ann@example.com",
                                  "text/plain;\r\n name=ann@example.com"])  # fmt: skip
def test_all_headers_of_a_part(kind: str) -> None:
    """A part's header is read as a whole, folded lines too."""
    raw = UPLOAD.replace(b"application/jsonl", kind.encode())
    body = read_form(raw, MULTIPART)
    assert body is not None
    at = next(n for n, text in enumerate(body.doc) if kind in text)
    body.set((at,), body.doc[at].replace(kind, kind.replace("ann@example.com", "<EMAIL_1>")))
    assert body.render() == raw.replace(kind.encode(), kind.encode().replace(b"ann@example.com", b"<EMAIL_1>"))


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", MULTIPART])
def test_bytes_of_no_encoding_hide_nothing(kind: str) -> None:
    """What stands beside a byte that is no UTF-8 is read, and can be replaced (aisix 1016)."""
    raw = UPLOAD.replace(b"bob@", b"\xffbob@") if kind == MULTIPART else b"a=\xffbob@example.com\xfe&b=\xc3\xa4"
    body = read_form(raw, kind)
    assert body is not None
    at = next(n for n, text in enumerate(body.doc) if "bob@example.com" in text)
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
    try:
        body = read_form(raw, kind)
    except BadUpload:
        return
    assert body is None or body.render() == raw


@given(st.binary(max_size=60), st.sampled_from(["", "latin-1", "utf-16", "idna", "rot13", "x\0"]))
def test_every_byte_is_kept(raw: bytes, declared: str) -> None:
    """Bytes as text and back are the same bytes."""
    assert encoded(*decoded(raw, declared)) == raw


def test_values_by_name() -> None:
    """Of a form and of an upload; a field with two names is none that readers agree on."""
    form = read_form(b"model=a&x=model&model=b", "application/x-www-form-urlencoded")
    assert form and form.named("model") == ["a", "b"]
    part = "--b\r\nContent-Disposition: form-data; name{}\r\n\r\nm\r\n"
    named = "".join(
        part.format(name) for name in ('="model"', "=model", '="x"', "*=utf-8''mod%65l", '="x"; filename="model"')
    )
    upload = read_form(f"{named}--b--\r\n".encode(), "multipart/form-data; boundary=b")
    assert upload and upload.named("model") == ["m", "m", "m"]
    with pytest.raises(BadUpload):
        read_form(f"{part.format('="x"; name="model"')}--b--\r\n".encode(), "multipart/form-data; boundary=b")
