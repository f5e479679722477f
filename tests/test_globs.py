"""Patterns of rules and commands."""

from __future__ import annotations

import pytest

from mitmesh.globs import glob


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("gpt-*", "GPT-4o", True),
        ("gpt-*", "my-gpt-4o", False),
        ("*gpt*o", "a\ngpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("claude[1m]", "claude[1M]", True),
        ("claude[1m]", "claude1", False),
        ("gpt-4.1", "gpt-401", False),
        ("gpt-?", "gpt-4", False),
        ("*", "", True),
    ],
)
def test_glob(pattern: str, text: str, matches: bool) -> None:
    """`*` alone is special: a model's name has dots and brackets."""
    assert (glob(pattern).fullmatch(text) is not None) is matches
