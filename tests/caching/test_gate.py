from __future__ import annotations

import time

import pytest

from matching import corpus, measure
from matching.corpus import Corpus
from mitmesh.caching import gate
from mitmesh.caching.gate import Judgement, judge
from mitmesh.caching.reading import read


def test_no_minimal_pair_hits() -> None:
    """Negation, numbers, units, direction, opposites, names, identifiers, languages, placeholders: no wrong answer."""
    rows = corpus.pairs()
    assert sum(not row["hit"] for row in rows) >= 300
    known = Corpus.of(str(row[side]) for row in rows for side in ("a", "b"))
    wrong, _ = measure.by_pairs(rows, known)
    _, hits = measure.by_pairs([row for row in rows if row["kind"] != "looser"], known)  # those nobody here wrote
    assert wrong.wrong == [] and hits.value >= 0.6


@pytest.mark.parametrize("cosine", [1.0, 0.9, float("nan")])
def test_facts_forbid_whatever_the_cosine(cosine: float) -> None:
    """Cosine alone never decides, in neither direction."""
    a, b = "Delete the staging database", "Do not delete the staging database"
    assert judge(a, b, cosine).hit is judge(b, a, cosine).hit is False
    if cosine == 1.0:
        assert judge(a, b, cosine).reason == "negation" and judge(a, a, cosine).hit


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        ("What is printed?\nif a:\n    a()\n    b()", "What is printed?\nif a:\n    a()\nb()", "lines"),
        ("What is __init__ in Python?", "What is init in Python?", "literals"),
        ("What is max(colour) here?", "What is max(color) here?", "literals"),
        ("What does the colour attribute do?", "What does the color attribute do?", "spelling"),
        ("Is it colour or color?", "Is it color or colour?", "spelling"),
        ("What does the remove method do?", "What does the delete method do?", "identifiers"),
        ("Is quick a synonym of fast?", "Is fast a synonym of quick?", "wording"),
        ("How many Mb are in a Gb?", "How many MB are in a GB?", "case"),
        ("What is CO on this sheet?", "What is Co on this sheet?", "case"),
        ("You are a tax analyst. How much do you earn?", "How much do you earn?", "persona"),
        ("**Tone:** sarcastic\n\nWhat are black holes?", "What are black holes?", "heading"),
        ("How do I set the background-color of a div?", "How do I set the background-colour of a div?", "spelling"),
        ("Was kosten 1,000 kg Reis?", "Was kosten 1000 kg Reis?", "numbers"),
        ("Was kosten 1.000 kg Reis?", "Was kosten 1 kg Reis?", "numbers"),
        ("What are 100,200 and 300 called?", "What are 100200 and 300 called?", "numbers"),
        ("Explain\nroses\nviolets", "Explain\nviolets\nroses", "lines"),
        ("Is 5 kept?\n```\nx\n```", "Is 5 kept?\n```\n  x\n```", "code"),
    ],
)
def test_what_is_written_forbids_whatever_the_cosine(a: str, b: str, why: str) -> None:
    """Found by a blind try: programs, names and spellings that a model of meaning cannot tell apart."""
    assert judge(a, b, 1.0) == judge(b, a, 1.0) == Judgement(False, why, 0.0)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("Is colour visible to dogs?", "Is color visible to dogs?"),
        ("## Code Review Request\n\nReview it now", "Review it now"),
        ("Set `x`. Why not?", "set `x`, why not"),
    ],
)
def test_what_is_written_does_not_forbid(a: str, b: str) -> None:
    """A colour is a color where nobody speaks of code, and a heading may say what kind of text it is."""
    assert judge(a, b, 1.0).reason == "meaning"


@pytest.mark.parametrize(
    "text", ["", " ", "x" * 5000, "\x00", "```", "<EMAIL_1>" * 300, "'" * 4000, "a/" * 2000, "1," * 2000]
)
def test_any_text_is_judged(text: str) -> None:
    """No input raises; what is too long is no hit."""
    assert judge(text, "What is it?", 1.0).hit is False


@pytest.mark.parametrize(
    "code",
    ["f(" + "-1" * 1900 + ")", "def f(x): return " + "a.b" * 1200, "lambda x:" * 400, "(" * 3000, "not " * 900 + "x"],
)
def test_code_too_deep_for_a_syntax_tree_is_compared_as_text(code: str) -> None:
    """Found by trying: the tree's walk raised RecursionError, and many lambdas took a second."""
    for text in (code, f"Explain\n```py\n{code}\n```"):
        assert judge(text, text.replace("Explain", "Describe", 1)[:-1] + "y", 1.0).hit is False


def test_the_compilers_warnings_do_not_quote_prompts(recwarn: pytest.WarningsRecorder) -> None:
    """It warns of an escape sequence in text that nobody wants to run."""
    judge('def f(x): return re.match("\\d", x)', 'def f(y): return re.match("\\d", y)', 0.99)
    assert not recwarn.list


@pytest.mark.parametrize(
    "unit", ["A", "a/", "a-b", "é", "“", "`a", "-1", "a.b", "not ", "x to y ", "**a", "# a\n", "lambda x:"]
)
def test_no_text_takes_long(unit: str) -> None:
    """Not a matter of milliseconds: patterns that try everything twice took most of a second."""
    text = (unit * 4000)[:4000]
    began = time.process_time()
    judge(text, text[:-1] + "y", 0.99)
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("How do I reset my password?", "How can I reset my password?"),
        (
            "How do I list all running containers in docker?",
            "In docker, how can I list all running containers?",
        ),
    ],
)
def test_what_is_plainly_the_same_hits(a: str, b: str) -> None:
    known = Corpus.of([a, b])
    assert measure.same(a, b, known) and measure.same(b, a, known)


def test_a_bug_in_the_gate_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise RuntimeError

    monkeypatch.setattr("mitmesh.caching.gate.forbidden", broken)
    assert judge("What is it?", "What is it?", 1.0) == Judgement(False, "failed", 0.0)


def test_each_has_a_word_that_the_other_has_not() -> None:
    """It counts for less: what is exchanged is often what was asked about. One text that only says more does not."""
    paid = "I bought something abroad and the exchange rate applied is wrong"
    cash = "While abroad, I got cash, and the exchange rate applied is wrong."
    more = "I bought something abroad and the exchange rate applied today is wrong"
    assert not judge(paid, cash, 0.864).hit
    readings = [read(text) for text in (paid, cash, more)]
    one, other, longer = (reading for reading in readings if reading)
    assert gate.step(one, other) == gate.unshared(one, other)[2] - 2
    assert gate.step(one, longer) == gate.unshared(one, longer)[2]


def test_more_words_shared_less_is_asked() -> None:
    """The shipped table never asks more for more words, and says how wrong it is on what it was not learned from."""
    for kind, steps in gate.table()["least_cosine"].items():
        assert steps == sorted(steps, reverse=True)
        assert gate.required(kind, 99) == steps[-1] and gate.required(kind, 0) == steps[0]
    assert gate.table()["cross_validated"]["wrong_share"] <= 0.01
