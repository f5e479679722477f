"""`python -m matching.train`: learns the gate's weights, and shows its error on intents it did not see."""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

import numpy as np

from matching import corpus
from matching.corpus import Corpus
from mitmesh.caching import gate
from mitmesh.caching.reading import read

NAMES = tuple(gate.FEATURES)
ROOT = Path(__file__).parents[2]
LEAST_COSINE = 0.8


def samples(known: Corpus, rows: list[tuple[str, str]], seed: int) -> list[tuple[list[float], bool, str, int]]:
    """Features, same intent, intent asked, question: of each question's nearest that no fact forbids."""
    order = rows[:]
    random.Random(seed).shuffle(order)
    cached, asked = order[: len(order) * 3 // 5], order[len(order) * 3 // 5 :]
    found = []
    for n, near in enumerate(known.nearest([text for text, _ in asked], [text for text, _ in cached])):
        for place, cosine in near:
            a, b = read(asked[n][0]), read(cached[place][0])
            if a and b and not gate.forbidden(a, b) and cosine >= LEAST_COSINE:
                values = gate.features(a, b, cosine)
                found.append(([values[name] for name in NAMES], asked[n][1] == cached[place][1], asked[n][1], n))
    return found


def by_pairs(known: Corpus, data: Path) -> list[tuple[list[float], bool, str, int]]:
    """The same of the hand-written pairs, and of gptcache-mock's statements with their own and with others."""
    rows = [(str(each["a"]), str(each["b"]), bool(each["hit"])) for each in corpus.pairs()]
    mock = corpus.mock(data)[::2]  # the other half is for measuring
    rows += [(origin, similar, True) for origin, similar in mock]
    origins = sorted({origin for origin, _ in mock})
    for (origin, similar), near in zip(mock, known.nearest([similar for _, similar in mock], origins), strict=True):
        rows += [(similar, origins[place], False) for place, _ in near[:3] if origins[place] != origin]
    found = []
    for n, (one, other, hit) in enumerate(rows):
        a, b, cosine = read(one), read(other), known.cosine(one, other)
        if a and b and cosine and cosine >= LEAST_COSINE and not gate.forbidden(a, b):
            values = gate.features(a, b, cosine)
            found.append(([values[name] for name in NAMES], hit, f"pair {n % 5}", -n - 1))
    return found


def fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray, steps: int = 4000) -> tuple[float, np.ndarray]:
    """Logistic regression by projected gradient: no weight above zero, for each feature tells against a hit."""
    middle, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-3)
    z, bias, w = (x - middle) / scale, 0.0, np.zeros(x.shape[1])
    weight = weight / weight.sum()
    rate = 4.0 / (1.0 + np.linalg.norm(z.T @ (z * weight[:, None]), 2))  # what a logistic loss allows
    for _ in range(steps):
        error = weight * (1 / (1 + np.exp(-(bias + z @ w))) - y)
        bias -= rate * error.sum()
        w = np.minimum(0.0, w - rate * (z.T @ error + 1e-3 * w))
    return float(bias - (w / scale) @ middle), w / scale


def scores(x: np.ndarray, bias: float, w: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-(bias + x @ w)))


def hits(found: list[tuple[list[float], bool, str, int]], score: np.ndarray, threshold: float) -> tuple[int, int]:
    """Questions answered, and wrongly so: the nearest that passes answers."""
    answered: dict[int, bool] = {}
    for (_, right, _, question), value in zip(found, score, strict=True):
        if value >= threshold:
            answered.setdefault(question, right)
    return len(answered), sum(not right for right in answered.values())


def main() -> int:
    """Writes data/gate/gate.json."""
    parser = argparse.ArgumentParser(prog="scripts/train-gate", add_help=False)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    rows = corpus.banking(data)
    seen = corpus.learned(intent for _, intent in rows)
    rows = [row for row in rows if row[1] in seen]
    texts = [text for text, _ in rows] + [text for pair in corpus.mock(data) for text in pair]
    known = Corpus.of(texts + [str(each[side]) for each in corpus.pairs() for side in ("a", "b")])
    bank = [each for seed in (1, 2, 3) for each in samples(known, rows, seed)]
    bank = [(x, y, intent, n) for n, (x, y, intent, _) in enumerate(bank)]
    extra = by_pairs(known, data)
    every = bank + extra
    x, y = np.array([each[0] for each in every]), np.array([each[1] for each in every], dtype=float)
    # A wrong hit is far worse than a miss; the hand-written pairs are few.
    weight = np.where(y, 1.0, 10.0) * np.array([1.0] * len(bank) + [1.0 if each[3] > -500 else 0.2 for each in extra])
    groups = sorted({each[2] for each in every})
    folds = np.array([groups.index(each[2]) % 5 for each in every])
    out = np.zeros(len(every))
    for fold in range(5):
        out[folds == fold] = scores(x[folds == fold], *fit(x[folds != fold], y[folds != fold], weight[folds != fold]))
    threshold = choose(y, out)
    bias, w = fit(x, y, weight)
    chosen = out >= threshold
    wrong = int((chosen & (y == 0)).sum())
    figures = {
        "pairs": len(every), "hits": int(chosen.sum()), "wrong_hits": wrong,
        "wrong_share": round(wrong / max(1, int(chosen.sum())), 5), "recall": round(float(chosen[y == 1].mean()), 4),
    }  # fmt: skip
    document = {
        "about": "The cache's gate: logistic regression, learned by scripts/train-gate. Every feature tells against a hit.",
        "bias": round(bias, 4), "weights": {name: round(float(v), 4) for name, v in zip(NAMES, w, strict=True)},
        "threshold": threshold, "least_cosine": LEAST_COSINE, "cross_validated": figures,
        "features": gate.FEATURES,
    }  # fmt: skip
    gate.GATE.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps({key: document[key] for key in ("bias", "weights", "threshold", "cross_validated")}))
    return 0


def choose(y: np.ndarray, out: np.ndarray, most: float = 0.006) -> float:
    """The lowest threshold from which on no more than `most` of the hits are wrong, on folds not learned from."""
    order = np.argsort(-out)
    wrong = np.cumsum(y[order] == 0) / np.arange(1, len(y) + 1)
    good = np.flatnonzero(wrong <= most)
    return float(out[order[good[-1]]]) if len(good) else 1.0


if __name__ == "__main__":
    sys.exit(main())
