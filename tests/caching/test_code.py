"""Code that is the same program, and code that is not."""

from __future__ import annotations

import pytest

from mitmesh.caching.code import HERE, split


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("Review def f(a, b): return a + b", "Review def f(x, y): return x + y", True),
        ("Review\n```\ndef f(a):\n    return a\n```", "Review\n```\ndef f(b): return b\n```", True),
        ("Why is a first?\n```\ndef f(a, b): return a\n```", "Why is a first?\n```\ndef f(b, a): return b\n```", False),
        ("Better names?\n```\ndef f(a): return a\n```", "Better names?\n```\ndef f(b): return b\n```", False),
        ("See\n```\ndef f(a): return a  # one\n```", "See\n```\ndef f(a): return a  # two\n```", False),
        ("See\n```\ndef f(a): return 16\n```", "See\n```\ndef f(a): return 0x10\n```", False),
        ("See\n```\ndef f(a): return 'a'\n```", 'See\n```\ndef f(a): return "a"\n```', False),
        ("See\n```\n    b()\n```", "See\n```\nb()\n```", False),
        ("See `a==1`", "See `a == 1`", False),
    ],
)
def test_code_is_the_same(a: str, b: str, same: bool) -> None:
    """Parameters that nobody speaks of may bear any name; all else counts."""
    assert (split(a)[1] == split(b)[1]) is same


def test_what_is_left() -> None:
    """A mark where code was in a line, so that what stood around it is seen."""
    assert split("Set `x`.\n```py\ny\n```") == (f"Set {HERE}.\n\n", ["y", "x"], ["py"])
