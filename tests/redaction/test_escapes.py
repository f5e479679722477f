"""JSON that nobody declared, as people read it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction.escapes import EscapedText, is_escaped
from mitmesh.redaction.jsonview import JsonView, view_of

pieces = st.lists(st.sampled_from(["a", "n", "u0040", "u003c", "\\", "\\n", '"', ":", " ", "é", "u", "0040", "ud83e"]))


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (r"bob\u0040example.com", "bob@example.com"),
        (r"bob\\u0040example.com", "bob@example.com"),
        (r'{"log": "x\nsk-1"}', '{"log": "x\nsk-1"}'),
        (r'{"path": "C:\\new"}', r'{"path": "C:\\new"}'),
        (r"C:\new", None),
        (r"sch\u00f6n@example.com", "schön@example.com"),
        (r"\ud83e\udd8a", r"\ud83e\udd8a"),
        ("plain", None),
    ],
)
def test_as_read(raw: str, read: str | None) -> None:
    """Escapes are read as what they stand for; a path's backslash is none."""
    assert is_escaped(raw) is (read is not None)
    view = view_of(raw, is_json=False)
    assert (view and view.text) == read


@given(pieces.map("".join), st.data())
def test_edits(raw: str, data: st.DataObject) -> None:
    """An edit changes what was read there and nothing else; without one the text stays as it is."""
    view = EscapedText(raw)
    assert view.edited([]) == raw
    start = data.draw(st.integers(0, len(view.text)))
    end = data.draw(st.integers(start, len(view.text)))
    new = view.edited([(start, end, "<A_1>")])
    before, _, after = new.partition("<A_1>")
    assert raw.startswith(before) and raw.endswith(after)
    if start == 0 and end == len(view.text):
        assert new == "<A_1>"


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_deeper(depth: int) -> None:
    """In JSON within JSON a key is found behind a line's end, and an address although its sign is escaped."""
    raw = json.dumps({"file": "first\nsk-abcdefgh"}).replace("@", "\\u0040")
    address = json.dumps("bob@example.com").replace("@", "\\u0040")
    for _ in range(depth - 1):
        raw, address = json.dumps({"nested": raw}), json.dumps([address])
    assert "bob@example.com" in JsonView(address).text
    if depth < 3:
        assert "\nsk-" in JsonView(raw).text
