"""Learning how near is near enough."""

from __future__ import annotations

from matching.corpus import Corpus
from matching.train import GRID, LEARNED, STEPS, Found, Pairs, answered, learn


def test_learned_table_keeps_to_the_limit() -> None:
    """A step on which hits are wrong is closed above them; one on which none is wrong is open to the end."""
    good: list[Found] = [[(0.9, 6, True)] for _ in range(100)]
    mixed: list[Found] = [[(0.97, 3, n % 10 > 0)] for n in range(100)]
    above: list[Found] = [[(0.985, 3, True)] for _ in range(50)]
    steps = learn([good, mixed, above])
    assert len(steps) == STEPS and sorted(steps, reverse=True) == steps
    assert steps[2] > 0.97 and steps[5] <= 0.9
    hits, wrong = answered([*good, *mixed, *above], steps)
    assert hits == 150 and wrong <= LEARNED * hits


def test_nothing_is_learned_from_errors() -> None:
    """Where all hits are wrong, the strictest table."""
    assert learn([[[(0.9, 2, False)], [(0.99, 4, False)]]]) == [GRID[0]] * STEPS


def test_the_nearest_that_passes_answers() -> None:
    """One that is nearer but of a stricter step does not."""
    steps = [0.99, 0.99, 0.98, 0.9, 0.9, 0.9]
    assert answered([[(0.97, 2, False), (0.95, 4, True)], [(0.5, 6, True)]], steps) == (1, 0)


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
