"""Normalisation: what may differ, and above all what may not."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.caching.normalise import LONGEST, Normalise, _once, _tidy, normalise

ALL = Normalise(*[True] * 8)
BARE = Normalise(*[False] * 8)
COUNT = "Which planets are there"


@pytest.mark.parametrize(
    ("rule", "text", "canonical"),
    [
        ("unicode", "Where is the cafe\u0301", "Where is the caf\u00e9"),
        ("whitespace", "Where  is\u00a0it? \r\n\r\n\r\n\r\nHere  ", "Where is it?\n\nHere"),
        ("markdown", "Which **fast** planets are *far away*", "Which fast planets are far away"),
        ("markdown", "## Astronomy\n\nWhich planets are there", "Astronomy\n\nWhich planets are there"),
        ("politeness", "Please list the planets", "List the planets"),
        ("politeness", "Hi, could you please list the planets?", "List the planets."),
        ("politeness", "List the planets. Thank you very much!", "List the planets."),
        ("persona", "You are a senior security engineer. " + COUNT, COUNT),
        ("dates", "Which day was 13/06/2026?", "Which day was 2026-06-13?"),
        ("dates", "Which day was 06/13/2026, please", "Which day was 2026-06-13, please"),
        ("dates", "Which day was June 13th, 2026?", "Which day was 2026-06-13?"),
        ("dates", "Which day was the 13 June 2026?", "Which day was the 2026-06-13?"),
        ("thousands", "Is $1,234,567.50 more than 1,000?", "Is $1234567.50 more than 1000?"),
        ("spelling", "Summarise the behaviour", "Summarize the behavior"),
    ],
)
def test_a_rule_on_its_own_does_its_part_and_no_other_rule_does_it(rule, text, canonical):
    assert normalise(text, Normalise(**{name: name == rule for name in Normalise.__slots__})) == canonical
    assert normalise(text, BARE) == text
    others = normalise(text, Normalise(**{name: name != rule for name in Normalise.__slots__}))
    assert others != normalise(text, ALL)


@pytest.mark.parametrize(
    "text",
    [
        "Is 05/06/2026 a Friday?",  # May or June
        "Is 13/13/2026 a date?",
        "What does snake_case_name do, and __init__ and _private_?",
        "What is a*b*c, and a * b * c, and 2**3**4?",
        "Which files match *foo* and **/*.py and src/**?",
        "Why do MyClass, myClass and MYCLASS differ?",
        "Which analyses were done?",
        "Who built the Grey Centre?",
        "Set background-colour and colour_map and theme.colour",
        "You are a senior security engineer.",
        "You are a helpful assistant. Act as a pirate.",
        "You are a pirate. Which planets are there",
        "You are a junior developer. Which planets are there",
        "Why is `please  analyse 1,000 **x** 13/06/2026` here?",
        "Look:\n```\nplease  analyse   1,000\n\n\n\n**x** 13/06/2026\n```",
        "Look:\n```\nplease  analyse, never closed  1,000",
        'Why "please  analyse 1,000 **x**" now?',
        "Why 'please  analyse 1,000 **x**' now?",
        "Why “please  analyse 1,000 **x**” now?",
        "> please  analyse 1,000 **x**\nWhy?",
        "Fix:\n    if x:\n        analyse(1,000)",
        "x = [1,000, 2]",
        "def analyse(colour):\n  return  colour",
        "# delete all\nrm file",
        "Translate to French: Please sit down. Thank you.",
        "Translate to German: you are a senior engineer. Colour 1,000",
        "What is the French word for please",
        "Is colour British spelling",
        "Hello, world in Java",
        "Please help",
        "Can you swim?",
        "Is 1,5 less than 1,234?",
        "Where is f(1,000)?",
        'A 5" screen, please  analyse it',
        "a\tb\tc",
        "  - one\n    - two",
        "",
        " ",
        "thanks",
    ],
)
def test_what_means_something_stays(text):
    assert normalise(text, ALL) == text


@given(st.text(alphabet=st.sampled_from(list("aZ1 \n\t*_#`\"'.,?:/>\u0301\u1fef\u00a0é")), max_size=60))
def test_idempotent_over_marks(text):
    assert normalise(once := normalise(text, ALL), ALL) == once


PARTS = (
    "please", "Hi,", "could you", "You are a senior engineer.", "analyse", "1,000", "13/06/2026", "**bold**",
    "*two words*", "## Head", "\n\n", "\n", "`code  x`", '"', "Thanks.", "what is", "June 5, 2026", "Translate",
    "the planets", "colour?",
)  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=10), st.lists(st.booleans(), min_size=8, max_size=8))
def test_idempotent_over_words_and_never_empty(parts, switches):
    text, rules = " ".join(parts), Normalise(*switches)
    once = normalise(text, rules)
    assert normalise(once, rules) == once
    assert bool(once.strip()) == bool(text.strip())


@given(st.text(max_size=80))
def test_never_raises_and_is_idempotent_over_anything(text):
    assert normalise(once := normalise(text, ALL), ALL) == once


def test_by_default_only_what_no_model_would_answer_to():
    text = "Please  analyse **1,000** rows of 13/06/2026"
    assert normalise(text, Normalise()) == text.replace("  ", " ")


def test_a_long_text_is_compared_as_it_is():
    text = "please  " * (LONGEST // 8) + "x"
    assert normalise(text, ALL) == text


@pytest.mark.parametrize(
    "unit", ["**a", "`a", "```", '"a', "'a ", "# A", "\n", "a ", "1,000 ", "*", "“a", " ", "thanks\n", "a*b ", "_a b "]
)
def test_no_text_takes_long(unit):
    """Not a matter of milliseconds: a pattern that tries everything twice would take minutes."""
    began = time.process_time()
    normalise((unit * LONGEST)[:LONGEST], ALL)
    assert time.process_time() - began < 5


@given(st.text(alphabet='ab \n\r\t\u00a0\u3000e\u0301`">{', max_size=30))
def test_a_text_that_is_taken_for_tidy_is(text):
    """What need not be looked at closely is what would come out of it."""
    if _tidy(text):
        assert _once(text, Normalise()) == text
