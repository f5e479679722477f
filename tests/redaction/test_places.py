from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction.places import places


@pytest.mark.parametrize(
    ("text", "value", "found"),
    [
        ("Ann and Anna, Ann", "Ann", [0, 14]),
        ("xsk-0123456789abcdefy", "sk-0123456789abcdef", [1]),
        ('say {"who": "Ann \\"Al\\""}', 'Ann "Al"', [13]),
        ("ananas", "ana", []),
        ("", "Ann", []),
    ],
)
def test_places(text: str, value: str, found: list[int]) -> None:
    """Short values as whole words, long ones anywhere, and as JSON within a text says them."""
    assert [at for at, _, _ in places(text, [value])] == found


@given(st.text("ab@. _x", max_size=60), st.lists(st.text("ab@._x", min_size=3, max_size=20), max_size=8, unique=True))
def test_many_values(text: str, values: list[str]) -> None:
    """Many values are found in the same places as few."""
    text = " ".join([text, *values, "".join(values)])
    assert set(places(text, values)) == set(places(text, values, few=0))
