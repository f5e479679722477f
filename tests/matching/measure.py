"""The figures of scripts/eval-cache: what the gate answers, and what of it is wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matching.corpus import ASKED, CACHED, NEAREST, Corpus, banking, mock
from mitmesh.caching import gate

SEEDS = range(70_001, 70_021)
"""Of the draws that are measured. Nothing was learned or chosen by them: scripts/train-gate uses 1 to 100."""


@dataclass(slots=True, frozen=True)
class Figure:
    """One line of the report. `least` and `most` are what is asked of the value, either may be None. `wrong` are texts
    that got another's answer."""

    name: str
    value: float
    detail: str
    least: float | None = None
    most: float | None = None
    wrong: Sequence[tuple[str, str]] = field(default=())

    @property
    def passed(self) -> bool:
        """Is it as good as it should be?"""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)


def by_pairs(rows: Sequence[dict[str, object]], known: Corpus, name: str = "pairs") -> Iterator[Figure]:
    """Pairs that must not hit, and those that should."""
    wrong, right, kinds = [], 0, dict[str, list[int]]()
    for row in rows:
        a, b = str(row["a"]), str(row["b"])
        hit = same(a, b, known)
        if hit and not row["hit"]:
            wrong.append((a, b))
        right += hit and bool(row["hit"])
        counts = kinds.setdefault(str(row.get("kind", "hit" if row["hit"] else "no hit")), [0, 0])
        counts[0] += hit
        counts[1] += 1
    good = sum(bool(row["hit"]) for row in rows)
    by_kind = ", ".join(f"{kind} {hits}/{of}" for kind, (hits, of) in sorted(kinds.items()))
    yield Figure(
        f"{name}: wrong hits", len(wrong), f"of {len(rows) - good} that must not: {by_kind}", most=0, wrong=wrong
    )
    if good:
        yield Figure(f"{name}: paraphrases hit", right / good, f"{right} of {good}")


def same(a: str, b: str, known: Corpus) -> bool:
    """Would one be answered with the other's answer?"""
    cosine = known.cosine(a, b)
    return cosine is not None and gate.judge(a, b, cosine).hit


def benchmark(data: Path) -> Iterator[Figure]:
    """AgentMesh's prompts asked in order; what is not answered from the cache is put into it."""
    clusters = json.loads((data / "agentmesh-benchmark" / "prompts.json").read_text())
    prompts = [(text, each["cluster"]) for each in clusters for text in each["phrasings"]]
    known = Corpus.of(text for text, _ in prompts)
    cached: list[tuple[str, str]] = []
    right, wrong = 0, []
    for text, cluster in prompts:
        answer = best(text, [each for each, _ in cached], known) if cached else None
        if answer is None:
            cached.append((text, cluster))
        elif cached[answer][1] == cluster:
            right += 1
        else:
            wrong.append((text, cached[answer][0]))
    yield Figure("agentmesh-benchmark: wrong hits", len(wrong), f"of {len(prompts)}", most=0, wrong=wrong)
    yield Figure("agentmesh-benchmark: correct hits", right, "of 15 possible", least=13)


def best(text: str, cached: Sequence[str], known: Corpus) -> int | None:
    """The place of the nearest cached text that the gate lets answer."""
    (near,) = known.nearest([text], cached)
    return first(text, cached, near)


def first(text: str, cached: Sequence[str], near: Sequence[tuple[int, float]]) -> int | None:
    """The first of the candidates that the gate lets answer."""
    return next((place for place, cosine in near if gate.judge(text, cached[place], cosine).hit), None)


def intents(data: Path) -> Iterator[Figure]:
    """banking77: a hit is right if the intent is the same. By many draws that the gate was not learned from; a draw has
    few hits, so its share alone says little."""
    rows = banking(data)
    known = Corpus.of(text for text, _ in rows)
    hits, wrong, draws, kept = 0, [], [], 0
    for seed in SEEDS:
        answered, missed = draw(rows, known, seed)
        hits, kept = hits + answered, kept + (len(missed) <= 0.010 * answered)
        wrong += missed
        draws.append(f"{len(missed)}/{answered}")
    rate, count = len(wrong) / max(1, hits), len(SEEDS)
    yield Figure("banking77: wrong hits of hits", rate, f"by draw: {', '.join(draws)}", most=0.010, wrong=wrong[:20])
    yield Figure("banking77: draws with at most 1.0% wrong", kept / count, f"{kept} of {count}")
    asked = ASKED * count
    yield Figure("banking77: hit rate", hits / asked, f"{hits} of {asked} asked, {CACHED} cached, {count} draws")
    yield unseen(rows, known)


def draw(rows: Sequence[tuple[str, str]], known: Corpus, seed: int) -> tuple[int, list[tuple[str, str]]]:
    """Some cached, some asked: hits, and those wrong."""
    order = list(rows)
    random.Random(seed).shuffle(order)
    return ask(order[CACHED : CACHED + ASKED], order[:CACHED], known)


def ask(
    asked: Sequence[tuple[str, str]], cached: Sequence[tuple[str, str]], known: Corpus
) -> tuple[int, list[tuple[str, str]]]:
    """How many are answered, and the pairs of another intent."""
    texts = [text for text, _ in cached]
    hits, wrong = 0, []
    for (text, intent), near in zip(asked, known.nearest([text for text, _ in asked], texts), strict=True):
        place = first(text, texts, near)
        if place is not None:
            hits += 1
            if cached[place][1] != intent:
                wrong.append((text, texts[place]))
    return hits, wrong


def unseen(rows: Sequence[tuple[str, str]], known: Corpus) -> Figure:
    """Questions of ten intents of which nothing is cached: every hit is false."""
    asked_in_all, wrong = 0, []
    names = sorted({intent for _, intent in rows})
    for seed in SEEDS:
        chosen = random.Random(seed)
        out = set(chosen.sample(names, 10))
        order = list(rows)
        chosen.shuffle(order)
        asked = [row for row in order if row[1] in out][:ASKED]
        wrong += ask(asked, [row for row in order if row[1] not in out][:CACHED], known)[1]
        asked_in_all += len(asked)
    rate = len(wrong) / max(1, asked_in_all)
    return Figure(
        "banking77: unseen intents hit", rate, f"{len(wrong)} of {asked_in_all} asked", most=0.005, wrong=wrong[:20]
    )


def statements(data: Path) -> Iterator[Figure]:
    """gptcache-mock: each paraphrase asked with all originals cached, and with its own taken out."""
    rows = mock(data)
    known = Corpus.of(text for pair in rows for text in pair)
    origins = sorted({origin for origin, _ in rows})
    right, others, removed = 0, [], []
    for (origin, similar), near in zip(rows, known.nearest([similar for _, similar in rows], origins), strict=True):
        place = first(similar, origins, near)
        if place is not None and origins[place] == origin:
            right += 1
        elif place is not None:
            others.append((similar, origins[place]))
        without = first(similar, origins, [each for each in near if origins[each[0]] != origin][: NEAREST - 1])
        if without is not None:
            removed.append((similar, origins[without]))
    yield Figure(
        "gptcache-mock: others' answers", len(others) / len(rows), f"{len(others)} of {len(rows)}", wrong=others
    )
    yield Figure(
        "gptcache-mock, own entry removed: hits", len(removed) / len(rows), f"{len(removed)} of {len(rows)}", most=0.01,
        wrong=removed,
    )  # fmt: skip
    yield Figure("gptcache-mock: own entry hit", right / len(rows), f"{right} of {len(rows)}")
