from __future__ import annotations

import pytest

from matching import corpus, measure
from matching.corpus import Corpus
from mitmesh.caching.gate import judge


def test_no_minimal_pair_hits() -> None:
    """Negation, numbers, units, direction, opposites, names, identifiers, languages, placeholders: no wrong answer."""
    rows = corpus.pairs()
    assert sum(not row["hit"] for row in rows) >= 300
    known = Corpus.of(str(row[side]) for row in rows for side in ("a", "b"))
    wrong, hits = measure.by_pairs(rows, known)
    assert wrong.wrong == [] and hits.value >= 0.8


@pytest.mark.parametrize("cosine", [1.0, 0.9, float("nan")])
def test_facts_forbid_whatever_the_cosine(cosine: float) -> None:
    """Cosine alone never decides, in neither direction."""
    a, b = "Delete the staging database", "Do not delete the staging database"
    assert judge(a, b, cosine).hit is judge(b, a, cosine).hit is False
    if cosine == 1.0:
        assert judge(a, b, cosine).reason == "negation" and judge(a, a, cosine).hit


@pytest.mark.parametrize(
    "text", ["", " ", "x" * 5000, "\x00", "```", "<EMAIL_1>" * 300, "'" * 4000, "a/" * 2000, "1," * 2000]
)
def test_any_text_is_judged(text: str) -> None:
    """No input raises; what is too long is no hit."""
    assert judge(text, "What is it?", 1.0).hit is False
