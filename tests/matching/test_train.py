"""Learning how near is near enough."""

from __future__ import annotations

from matching.corpus import Corpus
from matching.train import GRID, LEARNED, MARGIN, STEPS, Found, Pairs, answered, learn


def test_learned_table_keeps_to_the_limit() -> None:
    """A step is closed above its wrong hits, or open to its last right one; and a margin more."""
    good: list[Found] = [[(0.92 + n % 2 / 20, STEPS + 5, True)] for n in range(100)]
    mixed: list[Found] = [[(0.97, STEPS + 2, n % 10 > 0)] for n in range(100)]
    above: list[Found] = [[(0.98 + n % 2 / 50, STEPS + 2, True)] for n in range(50)]
    tables = learn([good, mixed, above])
    same, steps = tables[:STEPS], tables[STEPS:]
    assert len(steps) == STEPS and sorted(steps, reverse=True) == steps
    assert steps[2] > 0.97 + MARGIN and steps[5] <= 0.92 + MARGIN
    assert same == [GRID[-1]] * STEPS, "nothing speaks against what is the same"
    hits, wrong = answered([*good, *mixed, *above], tables)
    assert hits == 75 and wrong <= LEARNED * hits


def test_nothing_is_learned_from_errors() -> None:
    """Where all hits are wrong, the strictest table."""
    tables = learn([[[(0.9, 2, False)], [(0.99, STEPS + 4, False)]]])
    assert tables[STEPS:] == [1.0] * STEPS and min(tables[:3]) > 0.9


def test_the_nearest_that_passes_answers() -> None:
    """One that is nearer but of a stricter step does not."""
    steps = [0.99, 0.99, 0.98, 0.9, 0.9, 0.9]
    assert answered([[(0.97, 1, False), (0.95, 3, True)], [(0.5, 5, True)]], steps) == (1, 0)


def test_pairs_are_those_that_no_fact_forbids() -> None:
    """Near, comparable, and not of opposite meaning; each is found from both sides."""
    texts = [
        "How do I close my savings account",
        "How can I close my savings account",
        "Do not close my savings account",
    ]
    rows = [(text, "close") for text in texts]
    pairs = Pairs.among(rows, Corpus.of(texts))
    assert {(i, j) for i, near in pairs.of.items() for _, j, _ in near} == {(0, 1), (1, 0)}
