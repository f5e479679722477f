from __future__ import annotations

import os
from dataclasses import asdict

import pytest
from cryptography.exceptions import InvalidTag

from mitmesh.caching.entry import Entry, Seal, _plain
from mitmesh.dialects.base import Answer, Kind, Part, Usage

SEAL = Seal(b"k" * 32)
ANSWERS = {
    "short": Answer("a1", "m", [Part(Kind.TEXT, "forty-two")], "stop", Usage(9, 2, 3), complete=True),
    "long": Answer("a2", "m", [Part(Kind.TEXT, "ünï \ud83d " * 400)], "stop", None, complete=True, stopped_by="END"),
    "tool": Answer("a3", None, [Part(Kind.TOOL_CALL, '{"x": 1}', "look", "call_1")], "tool_calls", Usage(1, 1)),
    "nothing": Answer(),
}


def entry(answer: Answer, **rest: object) -> Entry:
    """An entry with this answer."""
    return Entry(b"\x01" * 32, answer, "01A", 1, "team:red", "openai", "m", **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_sealed_comes_back(name: str) -> None:
    """Answer, body and turn, whether they are compressed or too short for it."""
    kept = entry(ANSWERS[name], turn="what is it?", body=b'{"v": [1]}')
    assert SEAL.open(kept.key, SEAL.close(kept)) == (ANSWERS[name], b'{"v": [1]}', "what is it?")


def test_nothing_of_it_is_readable_and_a_long_one_is_compressed() -> None:
    """Neither under another key."""
    kept = entry(ANSWERS["long"])
    sealed = SEAL.close(kept)
    assert b"forty" not in SEAL.close(entry(ANSWERS["short"]))
    assert len(sealed) < 500 < len(ANSWERS["long"].text)
    with pytest.raises(InvalidTag):
        SEAL.open(b"\x02" * 32, sealed)
    with pytest.raises(InvalidTag):
        Seal(os.urandom(32)).open(kept.key, sealed)


@pytest.mark.parametrize("name", ANSWERS)
def test_as_plain_as_dataclasses_make_it(name: str) -> None:
    """No field is forgotten, but for what an answer has only until it is whole."""
    whole = asdict(ANSWERS[name])
    assert [part.pop("item") for part in whole["parts"]] == [None] * len(whole["parts"])
    assert _plain(ANSWERS[name]) == whole
