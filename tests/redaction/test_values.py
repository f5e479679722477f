from __future__ import annotations

import pytest

from mitmesh.redaction.values import LONGEST, end_of, quoted


def value(text: str, begin: str = "Xq9", parameter: bool = False) -> str:
    """What of the text is the value that begins so."""
    start = text.index(begin)
    return text[start : end_of(text, start, parameter=parameter)]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        # in quotes: to the closing one
        ("k = 'Xq9(a)b]c}d;e,f<g>h i'; x", "Xq9(a)b]c}d;e,f<g>h i"),
        ('k = "Xq9\'a"', "Xq9'a"),
        ("k = `Xq9\"'a`", "Xq9\"'a"),
        (r'k = "Xq9\"a" + "b"', r"Xq9\"a"),
        (r'{\"k\":\"Xq9(a\",\"l\":1}', "Xq9(a"),
        (r'k = "Xq9\\" + "b"', r"Xq9\\"),
        # opened and not closed on the line: as without
        ("k = 'Xq9 and\nthat's it'", "Xq9"),
        # bare: to what parts things
        ("k=Xq9(a)b]c}d:e|f&g rest", "Xq9(a)b]c}d:e|f&g"),
        ("k=Xq9,l=1", "Xq9"), ("k=Xq9;l=1", "Xq9"), ("<k>Xq9</k>", "Xq9"), ("k=Xq9\\n", "Xq9"), ("k=Xq9\0a", "Xq9"),
        # the end of a sentence, and brackets that stood before
        ("it is Xq9.", "Xq9"), ("f(k=Xq9)", "Xq9"), ("[{k: Xq9}]:", "Xq9"), ("f(k=Xq9(a))", "Xq9(a)"),
        ("k=Xq9)", "Xq9)"), ("f(\nk=Xq9)", "Xq9)"),
    ],
)  # fmt: skip
def test_whole(text: str, whole: str) -> None:
    """No more and no less than the value."""
    assert value(text) == whole


def test_parameters() -> None:
    """In a URL the next parameter begins behind it; elsewhere `&` is a sign like others."""
    assert value("?k=Xq9&l=1", parameter=True) == "Xq9" and value("?k=Xq9&!", parameter=True) == "Xq9&!"
    assert value("k=Xq9&l=1") == "Xq9&l=1"


def test_quoted() -> None:
    """Quotes count where they close, and where something opens them."""
    assert quoted('"a"', 1) and not quoted('"a', 1) and not quoted("a", 0) and not quoted("ab", 1)
    assert end_of("", 0) == 0 and end_of(" a", 0) == 0


@pytest.mark.parametrize("around", ["k={}", "k='{}'", "f(k={})"])
@pytest.mark.parametrize("size", [300, 500, 3_000, LONGEST])
def test_long(around: str, size: int) -> None:
    """Hundreds of characters are no reason to stop."""
    secret = ("Xq9/+" * size)[:size]
    assert value(around.format(secret)) == secret


def test_longest() -> None:
    """It ends somewhere, and so does the time that is spent."""
    assert len(value("k=" + "Xq9" * LONGEST)) == LONGEST
    assert len(value("k='" + "Xq9" * LONGEST + "'")) == LONGEST
