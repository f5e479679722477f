from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.caching.normalise import LONGEST, Normalise, normalise

ALL = Normalise()


@pytest.mark.parametrize(
    ("rule", "text", "same"),
    [
        ("whitespace", "What  is\tit?  ", "What is it?"),
        ("unicode", "cafe\u0301 prices", "café prices"),
        ("markdown", "**Sort** this *list*", "Sort this list"),
        ("markdown", "## Question\n\nWhat is it?", "Question\nWhat is it?"),
        ("politeness", "Please explain recursion", "explain recursion"),
        ("politeness", "Hello, could you please explain recursion?", "explain recursion?"),
        ("politeness", "Explain recursion. Thanks in advance!", "Explain recursion."),
        ("persona", "You are a helpful assistant. Explain recursion", "Explain recursion"),
        ("dates", "Due on 13 June 2026", "Due on 2026-06-13"),
        ("dates", "Due on June 13th, 2026", "Due on 2026-06-13"),
        ("dates", "Due on 2026/06/13", "Due on 2026-06-13"),
        ("thousands", "Is 1,234,567.50 much?", "Is 1234567.50 much?"),
        ("spelling", "The Colour of an organisation", "The Color of an organization"),
    ],
)
def test_each_rule_has_its_switch(rule: str, text: str, same: str) -> None:
    """What differs in form alone becomes the same, and stays where its rule is off."""
    assert normalise(text, ALL) == same
    assert normalise(text, dataclasses.replace(ALL, **{rule: False})) != same


@pytest.mark.parametrize(
    "text",
    [
        "13/06/2026", "03/04/2026", "snake_case", "__init__", "a*b*c", "2 * 3 * 4", "userId and userid", "The analyses",
        "You are a helpful assistant.", "You are a pirate. Tell me a tale", "Please.", "colour_map", "colour.css", "colour()",
        "`colour  **x**`", "```\ncolour  1,000\n```", 'Say "colour  1,000"', "Say “colour”", "f(1,234)", "1,2,3", "1,23", "30 February 2026",
        "if x:\n    y\n      z", "<EMAIL_1>", "https://example.com/colour", "#", "*", "ISE", "cOlOuR", "v1,000,1", "a cheque",
    ],
)  # fmt: skip
def test_what_means_something_stays(text: str) -> None:
    """Byte by byte: what another reading would change."""
    assert normalise(text, ALL) == text


def test_a_long_text_is_compared_as_it_is() -> None:
    text = "please  " * LONGEST
    assert normalise(text, ALL) is text


PIECES = st.sampled_from(
    ["**", "*", "# ", "`", "```", "\n", " ", "  ", "please ", "colour", "1,000", "You are an expert. ", '"', "'", "13 June 2026",
     "thanks!", ". ", "é", "e\u0301", "\t", "> ", "=", "|", "Hello, ", "x"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=60))
def test_twice_is_once(text: str) -> None:
    """Idempotent, and never empty where the text is not."""
    once = normalise(text, ALL)
    assert normalise(once, ALL) == once
    assert bool(once.strip()) == bool(text.strip())
