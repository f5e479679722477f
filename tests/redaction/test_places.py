from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction.places import places, said_before


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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("eve@evil.org", True), ("to eve@evil.org.", True), ("<eve@evil.org>", True), ('"eve@evil.org"', True),
        ("eve@evil.org, x", True), ("mailto:eve@evil.org", True), ("xeve@evil.org eve@evil.org", True),
        ("xxeve@evil.organisation", False), ("eve@evil.org.uk", False), ("x.eve@evil.org", False), ("", False),
        ("x+eve@evil.org", False), ("eve@evil.org-x", False),
    ],
)  # fmt: skip
def test_said_before(text: str, said: bool) -> None:
    """A value is known where it was said by itself."""
    assert said_before(text, "eve@evil.org") is said
