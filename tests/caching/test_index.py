from __future__ import annotations

import numpy as np
import pytest

from mitmesh.caching import index
from mitmesh.caching.index import Index


def vectors(n: int) -> list[bytes]:
    rows = np.random.default_rng(1).normal(size=(n, 384))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return [row.tobytes() for row in np.round(rows * 127).astype(np.int8)]


@pytest.mark.parametrize("small", [2, 10_000])
def test_nearest_first_within_the_partition(monkeypatch: pytest.MonkeyPatch, small: int) -> None:
    """Both kinds of partition give the same: the vector itself first, nothing of another partition, nothing removed."""
    monkeypatch.setattr(index, "SMALL", small)
    found, rows = Index(), vectors(60)
    for n, row in enumerate(rows):
        found.add(n, row, "ab"[n % 2])
    (first, cosine), *others = found.search(rows[4], 5, "a")
    assert first == 4 and cosine == pytest.approx(1, abs=1e-3)
    assert len(others) == 4 and all(each % 2 == 0 for each, _ in others)
    assert [cosine for _, cosine in others] == sorted((cosine for _, cosine in others), reverse=True)
    found.remove(4)
    found.remove(4)
    assert 4 not in [each for each, _ in found.search(rows[4], 30, "a")]
    assert found.search(rows[4], 5, "none") == []


def test_it_is_bounded() -> None:
    """The one added first goes; a partition without vectors is forgotten."""
    found, rows = Index(most=3), vectors(5)
    for n, row in enumerate(rows):
        found.add(n, row, str(n))
    assert len(found) == 3 and not found.search(rows[0], 1, "0") and found.search(rows[4], 1, "4")
    assert len(found._parts) == 3


def test_another_models_vector_is_refused() -> None:
    with pytest.raises(ValueError, match="another model"):
        Index().add(1, b"123", "a")
