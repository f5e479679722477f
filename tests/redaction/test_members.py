from __future__ import annotations

import json
from typing import Any

import pytest

from mitmesh.redaction.members import members, restore_names, write_members
from mitmesh.redaction.placeholders import Table
from mitmesh.wire.jsontext import Body


@pytest.mark.parametrize(
    ("doc", "found"),
    [
        ({"model": "m", "max_tokens": 4096, "temperature": 0.5, "x-y": 1, "$ref": 2, "a.b/c": 3}, []),
        ({"ann@example.com": 1}, ["ann@example.com"]),
        ({"a": [{"Ann Lee": {"b": 1}}]}, ["Ann Lee"]),
        ({"+49 170 1234567": 1, "4111111111111111": 2, "4111-1111-1111-1111": 3}, 3),
        ({"n": 1234567, "m": [-1234567, 999999], "t": True}, ["1234567", "-1234567"]),
        ([[4111111111111111]], ["4111111111111111"]),
        ({"é": 1}, ["é"]),
        ("text", []),
        (None, []),
    ],
)
def test_members(doc: Any, found: Any) -> None:
    """Names that are no field's, and long whole numbers, wherever they are."""
    texts = [text.text for text in members(doc)]
    assert len(texts) == found if isinstance(found, int) else texts == found


def test_write_and_restore() -> None:
    """Names and numbers are replaced, values under a renamed member kept, and names come back."""
    raw = b'{"k": 1.50, "Ann Lee": {"Bob Ray": {"n": 12345678}}, "list": [12345678]}'
    body = Body(raw, json.loads(raw))
    found = members(body.doc)
    new = {"Ann Lee": "<P_1>", "Bob Ray": "<P_2>", "12345678": '"<N_1>"'}
    write_members(body, found, {index: new[text.text] for index, text in enumerate(found)})
    left = json.loads(body.render())
    assert left == {"k": 1.5, "<P_1>": {"<P_2>": {"n": "<N_1>"}}, "list": ["<N_1>"]}
    back = Body(body.render(), left)
    restore_names(back, Table({"P_1": "Ann Lee", "P_2": "Bob Ray"}))
    assert json.loads(back.render()) == {"k": 1.5, "Ann Lee": {"Bob Ray": {"n": "<N_1>"}}, "list": ["<N_1>"]}


def test_other_bytes_stay() -> None:
    """A number's replacement leaves every other byte."""
    raw = b'{ "a" : 1.50 ,"n":\t12345678 }'
    body = Body(raw, json.loads(raw))
    write_members(body, members(body.doc), {0: '"<N_1>"'})
    assert body.render() == raw.replace(b"12345678", b'"<N_1>"')
