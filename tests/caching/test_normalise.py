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
        ("politeness", "Hi, what is DNS?", "What is DNS?"),
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
        "Turn this Markdown into HTML\n\nFirst line  \nSecond line",
        "Is this CRLF or LF?\r\nfoo\r\nbar",
        "Is this string NFC or NFD? Cafe\u0301",
        "How many code points are in this, e\u0301",
        "Why is Hello\u00a0World not found by grep",
        "Are these names equal, John  Smith and John Smith",
        "What notation is 13/06/2026?",
        "Is 13/06/2026 ISO 8601?",
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


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What is the colour attribute for", "What is the color attribute for"),
        ("Rename colour to color", "Rename color to color"),
        ("rename colour to color", "rename color to colour"),
        ("Which CSS properties take colour", "Which CSS properties take color"),
        ("Set the property behaviour", "Set the property behavior"),
        ("Is the variable colour global", "Is the variable color global"),
        ("Why is the column named centre empty", "Why is the column named center empty"),
        ("Who was grey in the novel", "Who was gray in the novel"),
        ("Which party is labour", "Which party is labor"),
        ("Why does import normalise fail", "Why does import normalize fail"),
        ("How do I pass colour as a keyword argument", "How do I pass color as a keyword argument"),
        ("Which function is called, analyse or analyze", "Which function is called, analyze or analyze"),
        ("Which is right, colour or color", "Which is right, color or color"),
        ("Which would you write, organise or organize", "Which would you write, organize or organize"),
        ("How do I plot with colour in matplotlib", "How do I plot with color in matplotlib"),
        ("What does `f` do with colour", "What does `f` do with color"),
        ("Colour = red", "Color = red"),
        ("Why is theme.colour not theme.color or colour", "Why is theme.colour not theme.color or color"),
        ("What matches the regex _a b_ here", "What matches the regex a b here"),
        ("What matches the regex *a b* here", "What matches the regex a b here"),
        ("Which files match the pattern **foo bar**", "Which files match the pattern foo bar"),
        ("What is _a b_ in this", "What is a b in this"),
        ("What is __init the class__ for", "What is init the class for"),
        ("What is __two words__ here", "What is two words here"),
        ("How do I write _two words_ in markdown", "How do I write two words in markdown"),
        ("What is 2 **x1** 3", "What is 2 x1 3"),
        ("What is 2 **abc** 3", "What is 2 abc 3"),
        ("What is 2 *ab cd* 3", "What is 2 ab cd 3"),
        ("What is f(*some args*)", "What is f(some args)"),
        ("How do asterisks make *two words* stand out", "How do asterisks make two words stand out"),
        ("Which regex finds 13/06/2026", "Which regex finds 2026-06-13"),
        ("How do I parse June 5, 2026 in Java", "How do I parse 2026-06-05 in Java"),
        ("Can a CSV field hold 1,000", "Can a CSV field hold 1000"),
        ("Does pandas read 1,000 as a number", "Does pandas read 1000 as a number"),
        ("Was kosten 1,000 kg Reis", "Was kosten 1000 kg Reis"),
        ("1,000 kg Reis nach Berlin", "1000 kg Reis nach Berlin"),
        ("What are 100,200 and 300 called", "What are 100200 and 300 called"),
        ("Is the sum of 10,200,300 a prime number", "Is the sum of 10200300 a prime number"),
        ("How do I set the align of a div to centre", "How do I set the align of a div to center"),
        ("Is the background of a button colour", "Is the background of a button color"),
        ("How big is the gap in this  line", "How big is the gap in this line"),
        ("What is new in version 13.06.2026", "What is new in version 2026-06-13"),
        ("What is in the build of June 13, 2026", "What is in the build of 2026-06-13"),
        ("You are a senior engineer. How much do you earn?", "How much do you earn?"),
        ("You are a senior engineer. Who are you?", "Who are you?"),
        ("You are a senior engineer. Please introduce yourself.", "Please introduce yourself."),
        ("Which strptime pattern reads 13/06/2026", "Which strptime pattern reads 2026-06-13"),
        ("How many spaces are there in a  b", "How many spaces are there in a b"),
        ("What does the regex a  b match", "What does the regex a b match"),
        ("What does the pattern a\n\n\n\nb match", "What does the pattern a\n\nb match"),
        ("Is the indentation right\n    b\nc", "Is the indentation right\n  b\nc"),
        ("    b\nc", "b\nc"),
        ("Align these\na  b\nc  d", "Align these\na b\nc d"),
        ("What is the length of a  b", "What is the length of a b"),
        ("Decode ...  ---  ... for me", "Decode ... --- ... for me"),
        ("Who wins X  O", "Who wins X O"),
        ("What is the sum of 1  2", "What is the sum of 1 2"),
        ("Open My  Doc.txt", "Open My Doc.txt"),
        ("Pad this to ten characters: a  b", "Pad this to ten characters: a b"),
        ("Sort by colour_code and colour in SQL", "Sort by colour_code and color in SQL"),
        ("Why is the licence agreement void", "Why is the license agreement void"),
        ("Who is secretary of defence", "Who is secretary of defense"),
        ("- colour\n+ color", "- color\n+ color"),
        ("Explain the change\n-colour\n+color", "Explain the change\n-color\n+color"),
        ("git commit -m colour", "git commit -m color"),
        ("How do I check out the branch behaviour", "How do I check out the branch behavior"),
        ("How do I run npm run analyse", "How do I run npm run analyze"),
        ("Open the folder catalogue", "Open the folder catalog"),
        ("What is at the path colour/centre", "What is at the path color/center"),
        ("Where is my repo organiser", "Where is my repo organizer"),
        ("What does the hashtag colour mean", "What does the hashtag color mean"),
        ("Tell me about #colour and colour", "Tell me about #colour and color"),
        ("What is the domain colour.com, or is it colour", "What is the domain colour.com, or is it color"),
        ("What does the SQL word catalogue do", "What does the SQL word catalog do"),
        ("Which anagrams has centre", "Which anagrams has center"),
        ("What rhymes with colour", "What rhymes with color"),
        ("How is centre pronounced", "How is center pronounced"),
        ("What is the etymology of colour", "What is the etymology of color"),
        ("Write an acrostic of honour", "Write an acrostic of honor"),
        ("Play hangman with neighbour", "Play hangman with neighbor"),
        ("Write colour backwards", "Write color backwards"),
        ("Reverse behaviour", "Reverse behavior"),
        ("What does neighbour mean in Scrabble", "What does neighbor mean in Scrabble"),
        ("Sort alphabetically: colour, color", "Sort alphabetically: color, color"),
    ],
)
def test_what_may_be_a_name_a_pattern_or_the_matter_itself_is_kept_apart(a, b):
    """A word in a text that speaks of code may be a name; found by a blind try of names that nobody marked as code."""
    assert normalise(a, ALL) != normalise(b, ALL)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Summarise the behaviour of a black hole", "Summarize the behavior of a black hole"),
        ("Which neighbours of Germany use the euro", "Which neighbors of Germany use the euro"),
        ("How do I organise a party", "How do I organize a party"),
        ("Which **fast** planets are *far away*", "Which fast planets are far away"),
        ("Which planets are _far away_ from us", "Which planets are far away from us"),
        ("Which day was 13/06/2026", "Which day was June 13, 2026"),
        ("Is 1,000 more than 999", "Is 1000 more than 999"),
        ("How much are 1,000,000 yen in euros", "How much are 1000000 yen in euros"),
        ("Please list  the planets", "List the planets"),
        ("You are an expert. Can you explain how a list is sorted?", "Can you explain how a list is sorted?"),
        ("You are an expert. How do I sort a list in Python?", "How do I sort a list in Python?"),
        ("Please show how to sort a list in Python", "Show how to sort a list in Python"),
        ("What is the theatre near the harbour", "What is the theater near the harbor"),
    ],
)
def test_what_differs_in_form_alone_is_one(a, b):
    assert normalise(a, ALL) == normalise(b, ALL)


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
