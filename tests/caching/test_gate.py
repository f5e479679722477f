from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from matching import corpus, measure
from matching.corpus import Corpus
from mitmesh.caching.embedder import Embedder, EmbedderError
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


async def test_what_is_longer_than_the_model_reads_has_no_vector() -> None:
    embedder = Embedder()
    await embedder.start()
    try:
        assert await embedder.embed("word " * 300) is None
        first = await embedder.embed("How do I reset my password?")
        assert first is not None and len(first.vector) == 384 and embedder.health() == ""
        assert np.linalg.norm(np.frombuffer(first.vector, np.int8).astype(float)) == pytest.approx(127, rel=0.02)
    finally:
        await embedder.stop()
    assert await embedder.embed("x") is None and embedder.health()


async def test_a_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EmbedderError, match="scripts/export-embedder"):
        await Embedder(tmp_path).start()
