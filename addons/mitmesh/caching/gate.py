"""May the answer to one prompt be given to another? Cosine alone never decides."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judgement:
    """`reason` is one word for metrics and audit (`numbers`, `negation` ... or `meaning`); `score` the probability, 0 to 1."""

    hit: bool
    reason: str
    score: float


def judge(asked: str, cached: str, cosine: float) -> Judgement:
    """Both are texts of last user turns (raw or normalised); `cosine` of their embeddings."""
    return Judgement(hit=False, reason="meaning", score=0.0)
