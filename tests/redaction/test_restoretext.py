"""Values put back into a text that comes as bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction.placeholders import Table
from mitmesh.redaction.restoretext import RestoreText

TABLE = Table({"EMAIL_1": "ann@example.com", "PERSON_1": 'Zoë "Z"'})


def restored(raw: bytes, size: int) -> bytes:
    rewrite = RestoreText(TABLE)
    pieces = [rewrite.feed(raw[at : at + size]) for at in range(0, len(raw), size)]
    return b"".join([*pieces, rewrite.end()])


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize(
    ("raw", "back"),
    [
        (b"a,<EMAIL_1>,\xff<PERSON_1>\n<EMAIL_2> <EMAIL_", 'a,ann@example.com,\udcffZoë "Z"\n<EMAIL_2> <EMAIL_'),
        (b'{"a": "<PERSON_1>"}\n{"b": "\\u003cEMAIL_1\\u003e"}\n', '{"a": "Zoë \\"Z\\""}\n{"b": "ann@example.com"}\n'),
    ],
)
def test_restored(raw: bytes, back: str, size: int) -> None:
    """Wherever the bytes are cut; in JSON lines a value is escaped as JSON needs it, all else keeps its bytes."""
    new = restored(raw, size)
    assert new == back.encode("utf-8", "surrogateescape")
    if raw[:1] == b"{":
        assert json.loads(new.splitlines()[0]) == {"a": 'Zoë "Z"'}


@given(st.binary(max_size=80), st.integers(1, 80))
def test_other_bytes(raw: bytes, size: int) -> None:
    """What is no placeholder of this call stays, byte by byte."""
    assert restored(raw, size) == raw
