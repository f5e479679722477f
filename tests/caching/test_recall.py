"""The index over the file: it proposes, the file decides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cached import entry
from mitmesh.caching import recall as module
from mitmesh.caching.database import File
from mitmesh.caching.entry import Seal
from mitmesh.caching.meaning import Asked
from mitmesh.caching.recall import Recall, cosine

SEAL = Seal(b"k" * 32)
SIZE = 16
TURN, SAME = "How do I reset my password?", "How can I reset my password?"


def near(seed: int, far: float = 0.0) -> bytes:
    """A vector of its own direction, turned aside a little."""
    chance = np.random.default_rng(seed)
    row = chance.normal(0, 40, SIZE) + np.random.default_rng(99).normal(0, far, SIZE)
    return np.clip(np.round(row), -127, 127).astype(np.int8).tobytes()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    file = File(tmp_path, SEAL)
    yield file
    file.close()


def put(file: File, key: str, turn: str = TURN, **fields: Any) -> None:
    """Keep an answer that can be found."""
    known = {"rest": b"r" * 32, "vector": near(1), "exchange": key, "created": 1000, **fields}
    file.write([entry(key, turn=turn, **known)], [])


def learned(tmp_path: Path, most: int = 100, dimensions: int = SIZE) -> Recall:
    recall = Recall(tmp_path, SEAL, most, dimensions)
    while recall.refresh():
        pass
    return recall


def asked(turn: str = SAME, **fields: Any) -> Asked:
    return Asked(turn, **{"vector": near(1, 1), "rest": b"r" * 32, **fields})


def test_the_nearest_that_may_be_given(file: File, tmp_path: Path) -> None:
    """With its own cosine; the next one where a nearer may not."""
    put(file, "opposite", "How do I not reset my password?", vector=near(1, 1))
    put(file, "same")
    recall = learned(tmp_path)
    found = recall.find(asked())
    assert found.entry and found.entry.exchange == "same" and found.entry.answer.text == "Paris."
    assert found.similarity == pytest.approx(cosine(near(1, 1), near(1)))
    recall.close()


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({"rest": b"s" * 32}, None),
        ({"vector": near(2)}, None),
        ({"vector": b"\1" * 3}, None),
        ({"vector": bytes(SIZE)}, None),
        ({"oldest": 1001}, None),
        ({"similarity": 0.9999}, None),
        ({"turn": "How do I not reset my password?"}, "negation"),
        ({"turn": ""}, "length"),
    ],
)
def test_none_that_may_not(file: File, tmp_path: Path, question: dict[str, Any], reason: str | None) -> None:
    """Another call's, another direction, too old, too far, or what the gate forbids: with its word for it."""
    put(file, "same")
    recall = learned(tmp_path)
    found = recall.find(asked(**question))
    assert found.entry is None and found.reason == reason
    assert recall.find(asked()).entry
    recall.close()


def test_the_file_decides(file: File, tmp_path: Path) -> None:
    """What was cleared or replaced is not given, though the index has not heard of it yet; then it forgets it."""
    put(file, "one")
    put(file, "two", rest=b"t" * 32)
    recall = learned(tmp_path)
    put(file, "one", "What is the capital of France?", vector=near(2))
    assert recall.find(asked()).entry is None and len(recall) == 1
    file.clear("1", ())
    assert recall.find(asked(rest=b"t" * 32)).entry is None
    put(file, "three")
    recall.refresh()
    assert len(recall) == 1 and recall.find(asked()).entry
    recall.close()


def test_an_index_that_lies(file: File, tmp_path: Path) -> None:
    """An entry that the index has among another call's, or with another's vector, is not given for it."""
    put(file, "one")
    put(file, "two", "What is the capital of France?", rest=b"t" * 32, vector=near(2))
    recall = learned(tmp_path)
    recall._index.add(2, near(1), (b"r" * 32).hex())
    recall._index.add(1, near(2), (b"t" * 32).hex())
    assert recall.find(asked()).entry is None
    assert recall.find(asked(vector=near(2), rest=b"t" * 32)).entry is None
    recall.close()


def test_bounded_and_in_parts(file: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are in it; what comes later is learned too, a part at a time; other models' vectors are left out."""
    monkeypatch.setattr(module, "CHUNK", 4)
    for n in range(10):
        put(file, f"{n}", f"Question number {n}?", vector=near(n))
    put(file, "other", vector=near(1) + near(2))
    put(file, "none", vector=bytes(SIZE))
    put(file, "unfound", vector=None)
    recall = Recall(tmp_path, SEAL, 5, SIZE)
    parts = 1
    while recall.refresh():
        parts += 1
    assert len(recall) == 5 and parts == 4
    assert not recall.find(asked("Question number 0?", vector=near(0))).entry
    assert recall.find(asked("Question number 9?", vector=near(9))).entry
    put(file, "last", "Question number 77?", vector=near(77))
    assert recall.refresh() is False and len(recall) == 5
    assert recall.find(asked("Question number 77?", vector=near(77))).entry
    recall.close()


def test_vectors_are_sealed(file: File, tmp_path: Path) -> None:
    """What a text was about can be guessed from its vector: the file has neither in clear; with another key there is
    nothing to find."""
    put(file, "same")
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("cache.db*"))
    assert stored and near(1) not in stored and b"password" not in stored
    other = Recall(tmp_path, Seal(b"o" * 32), 100, SIZE)
    assert other.refresh() is False and len(other) == 0 and other.find(asked()).entry is None
    other.close()


def test_cosine() -> None:
    """Of what has no direction or another length: nothing is near it."""
    assert cosine(near(1), near(1)) == pytest.approx(1)
    assert cosine(near(1), bytes(SIZE)) == cosine(near(1), near(1)[:-1]) == -1
