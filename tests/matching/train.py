"""`python -m matching.train`: learns how near is near enough, and shows its error on intents it did not see."""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

from matching import corpus
from matching.corpus import Corpus
from mitmesh.caching import gate
from mitmesh.caching.reading import read

ROOT = Path(__file__).parents[2]
COUNTS = 6
"""Steps of the table: 1 to 5 shared words, and more."""
GRID = [n / 200 for n in range(194, 169, -1)]
WRONG = 0.012
"""Of a step's hits at most, on what it is learned from; a third of banking77's are two labels for one question."""
UNSHARED = 0.4

type Sample = tuple[int, float, bool, str, tuple[int, int]]
"""Shared words, cosine, same intent, intent asked, question."""


def samples(known: Corpus, rows: list[tuple[str, str]], seed: int) -> list[Sample]:
    """Each question's nearest that no fact forbids."""
    order = rows[:]
    random.Random(seed).shuffle(order)
    cached, asked = order[: len(order) * 3 // 5], order[len(order) * 3 // 5 :]
    found = []
    for n, near in enumerate(known.nearest([text for text, _ in asked], [text for text, _ in cached])):
        for place, cosine in near:
            a, b = read(asked[n][0]), read(cached[place][0])
            if a and b and not gate.forbidden(a, b):
                both = min(COUNTS, gate.unshared(a, b)[2])
                found.append((both, cosine, asked[n][1] == cached[place][1], asked[n][1], (seed, n)))
    return found


def learn(found: list[Sample]) -> list[float]:
    """For each step the lowest cosine from which on few enough hits are wrong; never more for more words."""
    steps = [GRID[0]]
    for both in range(1, COUNTS + 1):
        good = GRID[0]
        for least in GRID:
            hits, wrong = answered([each for each in found if each[0] == both], [least] * COUNTS)
            if wrong > WRONG * hits:
                break
            good = least
        steps.append(min(good, steps[-1]))
    return steps[1:]


def answered(found: list[Sample], steps: list[float]) -> tuple[int, int]:
    """Questions answered by the nearest that passes, and how many of them wrongly."""
    right: dict[tuple[int, int], bool] = {}
    for both, cosine, same, _, question in found:
        if both and cosine >= steps[both - 1]:
            right.setdefault(question, same)
    return len(right), sum(not each for each in right.values())


def main() -> int:
    """Writes data/gate/gate.json."""
    parser = argparse.ArgumentParser(prog="scripts/train-gate", add_help=False)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    rows = corpus.banking(parser.parse_args().data)
    seen = corpus.learned(intent for _, intent in rows)
    rows = [row for row in rows if row[1] in seen]
    known = Corpus.of(text for text, _ in rows)
    found = [each for seed in (1, 2, 3) for each in samples(known, rows, seed)]
    intents = sorted(seen)
    hits = wrong = 0
    for fold in range(5):
        out = set(intents[fold::5])
        steps = learn([each for each in found if each[3] not in out])
        more = answered([each for each in found if each[3] in out], steps)
        hits, wrong = hits + more[0], wrong + more[1]
    document = {
        "about": "Least cosine by how many content words two prompts share (1, 2, 3, 4, 5, more), learned by "
        "scripts/train-gate; most_unshared is the share of the words that one of them alone may have.",
        "least_cosine": learn(found),
        "most_unshared": UNSHARED,
        "cross_validated": {"hits": hits, "wrong_hits": wrong, "wrong_share": round(wrong / max(1, hits), 5)},
    }
    gate.GATE.write_text(json.dumps(document, indent=2) + "\n")
    print(gate.GATE.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
