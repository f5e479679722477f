"""Signs that nobody sees: texts are read without them, and edits take those that lie in a value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction.gaps import GappedText, has_gaps

RED, BYTE = "\x1b[31m", "\uf7ff"


@pytest.mark.parametrize(
    ("raw", "read", "edited"),
    [
        (f"to {RED}ann{BYTE}@x{RED}, bob", "to ann@x, bob", "to <E>, bob"),
        (f"ann@x{BYTE}", "ann@x", "<E>"),
        (f"{BYTE}a {BYTE}ann@x b{BYTE}", "a ann@x b", f"{BYTE}a <E> b{BYTE}"),
        (f'{{"a": "\\u0061nn@x\\n{RED}"}}', '{"a": "ann@x\n"}', f'{{"a": "<E>\\n{RED}"}}'),
    ],
)
def test_read_and_edited(raw: str, read: str, edited: str) -> None:
    """The value is read whole, and what lies unseen in it and at its ends goes with it."""
    view = GappedText(raw)
    assert has_gaps(raw) and view.text == read
    at = read.index("ann@x")
    assert view.edited([(at, at + 5, "<E>")]) == edited


@given(st.lists(st.sampled_from(["a", "b", RED, BYTE, "é"]), max_size=12).map("".join))
def test_any_edit(raw: str) -> None:
    """Whatever single character is edited, the others and their gaps stay in order."""
    view = GappedText(raw)
    assert view.text == raw.replace(RED, "").replace(BYTE, "") and view.edited([]) == raw
    for at in range(len(view.text)):
        new = GappedText(view.edited([(at, at + 1, "*")])).text
        assert new == f"{view.text[:at]}*{view.text[at + 1 :]}"


def test_none() -> None:
    """Texts without any need no view."""
    assert not any(map(has_gaps, ("", "plain", "é 日本", "\x1b", "[31m")))
