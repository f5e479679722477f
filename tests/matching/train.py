"""`python -m matching.train`: learns how near is near enough, and shows its error on questions it did not see."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from matching import corpus
from matching.corpus import ASKED, CACHED, Corpus
from mitmesh.caching import gate
from mitmesh.caching.reading import Reading, read

ROOT = Path(__file__).parents[2]
SEEDS = range(1, 101)
"""Of the draws that are learned from. scripts/eval-cache uses others."""
STEPS = 6
"""Steps of a table: 1 to 5 shared words, and more."""
KINDS = ("same", "other")
"""Of gate.kind: a table for each, one behind the other."""
GRID = [n / 200 for n in range(199, 159, -1)]
LEARNED = 0.002
"""Of the hits that it is learned from so many may be wrong. On questions it was not learned from the share is larger
(`cross_validated`): banking77 gives some questions two labels, and which ones is chance. That share is to be below 1%.
"""
MARGIN = 0.02
"""More is asked of other words than was learned: what lies between the last wrong pair and the next is chance. What
says the same in the same words is wrong by its label alone. Without: 1.1% wrong, cross-validated."""
FLOOR, FEW = 0.92, 4
"""And at least so much where no more words are shared. Without: 1.3% wrong, cross-validated."""
PRICES = (*range(20, 200, 10), 250, 300, 500)
"""Right hits that one wrong hit is worth: the cheapest that keeps to the limit is taken."""
UNSHARED = 0.4
FOLDS = 5

type Row = tuple[str, str]
type Pair = tuple[float, int, int]
"""Cosine, the other question, place in the tables."""
type Found = list[tuple[float, int, bool]]
"""Of a question that was asked: cosine, place and `same intent` of what is cached, nearest first."""


@dataclass(slots=True)
class Pairs:
    """Of each question all others that no fact forbids and that are near enough to matter, nearest first."""

    rows: list[Row]
    of: dict[int, list[Pair]]

    @classmethod
    def among(cls, rows: list[Row], known: Corpus) -> Pairs:
        """All of these rows'."""
        zero, texts, of = np.zeros(384, dtype=np.float32), [read(text) for text, _ in rows], defaultdict(list)
        vectors = np.stack([known.vectors.get(text, zero) for text, _ in rows])
        for i in range(len(rows)):
            near = vectors[i + 1 :] @ vectors[i]
            for j in np.nonzero(near >= GRID[-1])[0]:
                a, b = texts[i], texts[i + 1 + int(j)]
                if a and b and not gate.forbidden(a, b) and gate.comparable(a, b):
                    cosine, at = float(near[j]), place(a, b)
                    of[i].append((cosine, i + 1 + int(j), at))
                    of[i + 1 + int(j)].append((cosine, i, at))
        return cls(rows, {i: sorted(each, reverse=True) for i, each in of.items()})

    def draw(self, places: Sequence[int], seed: int, asked_of: Sequence[int] = ()) -> list[Found]:
        """As the figure of scripts/eval-cache draws: some cached, some others (or some of `asked_of`) asked; what is
        near each of those asked."""
        order, others = list(places), list(asked_of)
        random.Random(seed).shuffle(order)
        random.Random(seed).shuffle(others)
        cached, found = set(order[:CACHED]), []
        for asked in (others or order[CACHED:])[:ASKED]:
            intent = self.rows[asked][1]
            near = [(c, at, self.rows[j][1] == intent) for c, j, at in self.of.get(asked, ()) if j in cached]
            if near:
                found.append(near)
        return found


def place(a: Reading, b: Reading) -> int:
    """Where in the tables their least cosine is."""
    return KINDS.index(gate.kind(a, b)) * STEPS + min(max(gate.step(a, b), 1), STEPS) - 1


def answered(found: Iterable[Found], steps: Sequence[float]) -> tuple[int, int]:
    """Questions answered by the nearest that passes, and how many of them wrongly."""
    hits = wrong = 0
    for near in found:
        for cosine, at, same in near:
            if cosine >= steps[at]:
                hits, wrong = hits + 1, wrong + (not same)
                break
    return hits, wrong


def learn(draws: Sequence[list[Found]]) -> list[float]:
    """The tables with the most hits that keep to LEARNED, and a MARGIN: step by step the best for one price of a
    wrong hit, with the lowest price that keeps to it. Never more is asked for more words."""
    every = [near for draw in draws for near in draw]
    for price in PRICES:
        steps = _best(every, price)
        hits, wrong = answered(every, steps)
        if wrong <= LEARNED * hits:
            other = [min(1.0, round(each + MARGIN, 3)) for each in steps[STEPS:]]
            return [*steps[:STEPS], *(max(each, FLOOR) for each in other[:FEW]), *other[FEW:]]
    return [1.0] * STEPS * len(KINDS)


def _best(every: list[Found], price: float) -> list[float]:
    def worth(steps: Sequence[float]) -> float:
        hits, wrong = answered(every, steps)
        return hits - price * wrong

    steps, last = [GRID[0]] * STEPS * len(KINDS), -1.0
    best = worth(steps)
    while best > last:
        last = best
        for n in reversed(range(len(steps))):
            first = n - n % STEPS
            most = steps[n - 1] if n > first else GRID[0]
            tries = [_set(steps, n, first + STEPS, at) for at in GRID if at <= most]
            best, steps = max(((worth(each), each) for each in tries), key=lambda found: (found[0], _strict(found[1])))
    return steps


def _strict(steps: Sequence[float]) -> float:
    """What decides between tables that answer the same: more is asked of other words, less of the same."""
    same, other = sum(steps[:STEPS]), sum(steps[STEPS:])
    return other - same


def _set(steps: list[float], n: int, end: int, at: float) -> list[float]:
    """With another value, and no greater one behind it in its table."""
    return [*steps[:n], at, *(min(at, each) for each in steps[n + 1 : end]), *steps[end:]]


def crossed(pairs: Pairs) -> tuple[int, int]:
    """Hits, and wrong ones, of questions that the gate was not learned from: each fifth asked of the rest."""
    hits = wrong = 0
    numbers = [sha256(text.encode()).digest()[0] % FOLDS for text, _ in pairs.rows]
    for fold in range(FOLDS):
        inside, out = ([n for n, each in enumerate(numbers) if (each == fold) is is_out] for is_out in (False, True))
        steps = learn([pairs.draw(inside, seed) for seed in SEEDS])
        more = [answered(pairs.draw(inside, seed, out), steps) for seed in SEEDS]
        hits, wrong = hits + sum(each for each, _ in more), wrong + sum(each for _, each in more)
        print(f"fold {fold}: {steps}, {wrong} wrong of {hits} so far", file=sys.stderr)
    return hits, wrong


def main() -> int:
    """Writes data/gate/gate.json."""
    parser = argparse.ArgumentParser(prog="scripts/train-gate", add_help=False)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    rows = corpus.banking(parser.parse_args().data)
    pairs = Pairs.among(rows, Corpus.of(text for text, _ in rows))
    hits, wrong = crossed(pairs)
    steps = learn([pairs.draw(range(len(rows)), seed) for seed in SEEDS])
    document = {
        "about": "Least cosine by how many content words two prompts share (1, 2, 3, 4, 5, more; two fewer where each "
        "has a word that the other has not), where both say the same and where not, learned by scripts/train-gate; "
        "most_unshared is the share of the words that one of them alone may have. cross_validated: hits on questions "
        "that it was not learned from.",
        "least_cosine": {kind: steps[n * STEPS : (n + 1) * STEPS] for n, kind in enumerate(KINDS)},
        "most_unshared": UNSHARED,
        "cross_validated": {"hits": hits, "wrong_hits": wrong, "wrong_share": round(wrong / max(1, hits), 5)},
    }
    gate.GATE.write_text(json.dumps(document, indent=2) + "\n")
    print(gate.GATE.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
