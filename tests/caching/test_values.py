"""A value in any of its spellings."""

from __future__ import annotations

import pytest

from mitmesh.caching.values import mentions, same, value_hash

SPELLINGS = [
    ("Ann.Lee@Example.com", "  ann.lee@example.com ", True),
    ("ann.lee@example.com", "annlee@example.com", False),
    ("+49 170 1234567", "+491701234567", True),
    ("+49 170 1234567", "+49-170/123 45 67", True),
    ("4111 1111 1111 1111", "4111111111111111", True),
    ("4111 1111 1111 1111", "4111 1111 1111 1112", False),
    ("DE89 3704 0044 0532 0130 00", "de89370400440532013000", True),
    ("Ann  Lee", "ann lee", True),
    ("Ann Lee", "annlee", False),
]


@pytest.mark.parametrize(("one", "other", "equal"), SPELLINGS)
def test_spellings(one: str, other: str, equal: bool) -> None:
    """Case and spaces; in numbers all that stands between."""
    hashes = [value_hash(lambda purpose, text: f"{purpose!r}{text}", each) for each in (one, other)]
    assert (hashes[0] == hashes[1]) is equal
    assert mentions(f"Write to {one}, please", other) is equal
    assert mentions("Write to nobody in 2024", other) is False


def test_names() -> None:
    """Of users."""
    assert same("Ann@Corp.example", "ann@corp.EXAMPLE") and not same("ann", "anne")
    assert not mentions("a thumb object", "bob")
