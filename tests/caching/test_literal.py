"""What in prose is compared as written."""

from __future__ import annotations

import time

import pytest

from mitmesh.caching.literal import lines, pieces


@pytest.mark.parametrize(
    ("prose", "found"),
    [
        ("What's new, e.g. in the U.S.? It's 3.5% more: well-known (very) and/or 5 km, 10k, -3, well...", []),
        ("Hello! how are you?", []),
        ("What does max(a, colour) do?", ["max(a, colour)"]),
        ("Is f(g(x), [1, 2]) the same as [f(x) for x in y]?", ["f(g(x), [1, 2])", "[f(x) for x in y]"]),
        ("Is f(x never closed", ["f(x never closed"]),
        ("Is a*b*c a == b here", ["a*b*c", "==", "a == b"]),
        ("Run ls -l ./a/ $HOME.", ["-l", "./a/", "$HOME"]),
        ("What does save! do, and empty? Too", ["save!"]),
        ("Is x! or y? a name", ["x!", "y?"]),
        ("Is it 👍 or 👎?", ["👍", "👎"]),
        ("Grew +23% by +5", ["+5"]),
        ("O-O or O-O-O, but an e-mail", ["O-O", "O-O-O"]),
        ("Explain SELECT a FROM b.", ["SELECT a FROM b"]),
        ("What is __init__, or TCP/IP?", ["__init__", "TCP/IP"]),
    ],
)
def test_pieces(prose: str, found: list[str]) -> None:
    """Words, numbers and punctuation are prose; calls, operators with what is beside them, paths and emoji are not."""
    assert pieces(prose) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("    b()", []),  # one line has no indentation
        ("Why?\n\nTell me more. I am curious", []),
        ("- one\n- two", []),
        ("See\n    b()", ["    b()"]),
        ("See\nif a:\n\ta()\nb", ["if a:", "\ta()", "b"]),
        ("See\nx\n$ ls\nls\n\nWhy?", ["x", "$ ls", "ls"]),
        ("See\nmode: fast", ["mode: fast"]),
        ("See\n+old\n-new", ["+old", "-new"]),
        ("See\n| a | b |\n|---|---|\n| 1 | 2 |", []),
        ("See\ndef f(a): return a", []),  # code.py's
        ("See\nclass A:\n    def f(a): return a", ["class A:", "    def f(a): return a"]),
    ],
)
def test_lines(text: str, found: list[str]) -> None:
    """A block of code without a fence, with its indentation; a list and a table are none."""
    assert lines(text) == found


@pytest.mark.parametrize(
    "unit", ["f(", "((", "[<a", "a+", "+ ", "\n ", "select ", "a.b ", "<a ", "x? y", "-", "a b(c "]
)
def test_no_text_takes_long(unit: str) -> None:
    """Not a matter of milliseconds: all of it is read a few times, not once for each bracket."""
    text = (unit * 32_768)[:32_768]
    began = time.process_time()
    pieces(text)
    lines(text)
    assert time.process_time() - began < 3
