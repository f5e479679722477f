"""Plain words that count as they are written."""

from __future__ import annotations

import pytest

from mitmesh.caching.written import asked, capitals, letters, two_ways, units


@pytest.mark.parametrize(
    ("prose", "found"),
    [
        ("How many Mb are a GB", ["GB", "Mb"]),
        ("10 kB and 10kB and 5 NM", ["NM", "kB"]),
        ("10 kb and 5 nm and Bob", []),
    ],
)
def test_units_with_capitals(prose: str, found: list[str]) -> None:
    assert units(prose) == found


def test_lone_letters() -> None:
    """Not the words a and I, nor what is left of an apostrophe or a hyphen."""
    assert letters("I have a plan B for x, it's an e-mail") == ["B", "x"]


@pytest.mark.parametrize(
    ("prose", "found"),
    [
        ("Where is Polish spoken in the US?", ["Polish", "US"]),
        ("Is it Null or null", ["Null", "null"]),
        ("Polish the shoes for us", []),
        ("WHO IS IT", []),  # all is shouted
        ("i polish it", []),
    ],
)
def test_capitals_that_make_another_word(prose: str, found: list[str]) -> None:
    assert capitals(prose) == found


@pytest.mark.parametrize(
    ("prose", "is_asked"),
    [
        ("Delete it?", True),
        ("You can delete the files?", True),
        ("Delete it.", False),
        ("Can you delete it?", False),
        ("In Python, how do I sort?", False),
        ("My card is lost, is there a way?", False),
    ],
)
def test_a_question_by_its_mark_alone(prose: str, is_asked: bool) -> None:
    assert asked(prose) is is_asked


def test_words_spelt_two_ways() -> None:
    assert two_ways(["the", "colour", "of", "color", "analyses"]) == ("colour", "color")
