"""The index against a plain comparison with every vector."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mitmesh.caching import index as module
from mitmesh.caching.index import Index

DIMENSIONS = 16


def vectors(count: int, seed: int = 1) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((count, DIMENSIONS))
    return np.round(found / np.linalg.norm(found, axis=1, keepdims=True) * 127).astype(np.int8)


def cosines(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    a, b = rows.astype(float), wanted.astype(float)
    return (a @ b) / np.linalg.norm(a, axis=1) / np.linalg.norm(b)


@pytest.fixture(params=["matrix", "exact", "graph"])
def form(request, monkeypatch):
    """Each of the three ways to search, at a size a test can afford."""
    monkeypatch.setattr(module, "SMALL", 10_000 if request.param == "matrix" else 4)
    monkeypatch.setattr(module, "EXACT", 0 if request.param == "graph" else 10_000)


def test_finds_what_a_plain_comparison_finds(form):
    rows, asked = vectors(300), vectors(20, seed=2)
    index = Index(dimensions=DIMENSIONS)
    for id, row in enumerate(rows):
        index.add(id, row.tobytes(), "a")
    for each in asked:
        true = cosines(rows, each)
        found = index.search(each.tobytes(), 3, "a")
        assert found[0][0] == int(np.argmax(true))
        assert [cosine for _, cosine in found] == pytest.approx([true[id] for id, _ in found], abs=0.01)
        assert [cosine for _, cosine in found] == sorted((cosine for _, cosine in found), reverse=True)


def test_partitions_never_see_each_other(form):
    rows, index = vectors(40), Index(dimensions=DIMENSIONS)
    for id, row in enumerate(rows):
        index.add(id, row.tobytes(), "ab"[id % 2])
    assert {id % 2 for row in rows for id, _ in index.search(row.tobytes(), 30, "a")} == {0}
    assert {id % 2 for row in rows for id, _ in index.search(row.tobytes(), 30, "b")} == {1}
    assert index.search(rows[0].tobytes(), 3, "c") == []


def test_removed_and_replaced_entries_are_gone(form):
    rows, index = vectors(40), Index(dimensions=DIMENSIONS)
    for id, row in enumerate(rows):
        index.add(id, row.tobytes(), "a")
    for id in range(0, 40, 2):
        index.remove(id)
    index.remove(999)
    assert {id for row in rows for id, _ in index.search(row.tobytes(), 40, "a")} == set(range(1, 40, 2))
    index.add(1, rows[0].tobytes(), "b")
    assert index.search(rows[0].tobytes(), 1, "b")[0][0] == 1
    assert 1 not in {id for id, _ in index.search(rows[1].tobytes(), 40, "a")}
    for id in range(40):
        index.remove(id)
    assert len(index) == 0
    assert index.search(rows[0].tobytes(), 1, "a") == []


def test_bounded_the_first_goes_first(form):
    rows, index = vectors(30), Index(most=10, dimensions=DIMENSIONS)
    for id, row in enumerate(rows):
        index.add(id, row.tobytes(), "ab"[id % 2])
        assert len(index) == min(id + 1, 10)
    found = {id for among in "ab" for id, _ in index.search(rows[0].tobytes(), 30, among)}
    assert found == set(range(20, 30))


def test_many_turns_of_adding_and_removing_stay_right(form):
    """Against a dict, by a fixed seed."""
    chance, rows, index, known = np.random.default_rng(5), vectors(50), Index(dimensions=DIMENSIONS), {}
    for _ in range(400):
        id = int(chance.integers(0, 50))
        if id in known and chance.random() < 0.5:
            index.remove(id)
            del known[id]
        else:
            known[id] = rows[id]
            index.add(id, rows[id].tobytes(), "a")
        assert len(index) == len(known)
    assert {id for id, _ in index.search(rows[0].tobytes(), 60, "a")} == set(known)


def test_another_models_vector_is_an_error_not_a_match():
    index = Index(dimensions=DIMENSIONS)
    with pytest.raises(ValueError, match="another model"):
        index.add(1, b"\1" * 8, "a")
    assert len(index) == 0


def test_a_vector_without_direction_matches_nothing(form):
    """usearch finds it equal to every other."""
    rows, index = vectors(10), Index(dimensions=DIMENSIONS)
    for id, row in enumerate(rows):
        index.add(id, row.tobytes(), "a")
    with pytest.raises(ValueError, match="no direction"):
        index.add(99, bytes(DIMENSIONS), "a")
    assert len(index) == 10
    assert index.search(bytes(DIMENSIONS), 20, "a") == []


def test_the_model_can_be_loaded_after_the_index() -> None:
    """A rule may name another model at first and the shipped one later: onnxruntime comes after usearch then."""
    code = "import mitmesh.caching.index, mitmesh.caching.embedder, onnxruntime"
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "addons")}
    assert subprocess.run([sys.executable, "-c", code], env=environ, timeout=60, check=False).returncode == 0
