"""Long private keys in long texts, and keys whose lines are texts of their own."""

from __future__ import annotations

import json
import random
import string
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mitmesh.redaction import finder as module
from mitmesh.redaction import keylines
from mitmesh.redaction.finder import Finder
from mitmesh.redaction.findings import Finding, Type, to_plain
from mitmesh.redaction.search import Searcher
from mitmesh.stages.redact import Redact
from redactions import Finder as Simple
from redactions import exchange, rules, sent, shipped_pii

SEARCHER = Searcher(shipped_pii())
CHOSEN = random.Random(4)


def armored(characters: int) -> str:
    """A key of so many characters, as PGP writes it."""
    lines = ["".join(CHOSEN.choices(string.ascii_letters + string.digits, k=64)) for _ in range(characters // 65)]
    block = "PGP PRIVATE KEY BLOCK-----"
    return "\n".join([f"-----BEGIN {block}", "", *lines, "=abcd", f"-----END {block}"])


class HerePool:
    """A pool that searches here and now."""

    down = None

    def __init__(self, *_: Any) -> None:
        pass

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def run(self, jobs: Sequence[Sequence[str]]) -> list[Any]:
        return [[to_plain(SEARCHER.find(text)) for text in job] for job in jobs]


@pytest.fixture
async def finder(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Finder]:
    monkeypatch.setattr(module, "Pool", HerePool)
    made = Finder()
    made.configure(rules(patterns=shipped_pii().patterns))
    await made.start()
    yield made
    await made.stop()


@pytest.mark.parametrize("size", [9_000, 40_000])
@pytest.mark.parametrize("before", [23_500, 31_960])
async def test_a_key_across_pieces_is_found_whole(finder: Finder, size: int, before: int) -> None:
    """Wherever a piece ends, and however long the key is: to its last line, and no further."""
    key = armored(size)
    text = ("lorem ipsum dolor " * 2_000)[:before] + "\n" + key + "\nand words behind it " * 900
    [found] = await finder.find([text])
    assert [text[each.start : each.end] for each in found] == [key]


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_a_piece_may_end_anywhere(cut: int) -> None:
    """In the last line of a key too, between its dashes."""
    key = armored(2_000)
    piece = key[:-cut]
    found = [keylines.whole(each, key + "\nmore", len(piece)) for each in SEARCHER.find(piece)]
    assert [each.start for each in found] == [0] and found[0].end >= key.index("-----END")


KEY = [
    "-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj", "AgEAAoIBAQC7VJTUt9Us8cKjMzEfYyjiWA4R4",
    "kX9mQ", "-----END PRIVATE KEY-----",
]  # fmt: skip


class Searching(Simple):
    """The shipped rules, here and now."""

    def find_now(self, text: str) -> list[Finding]:
        return SEARCHER.find(text)


@pytest.mark.parametrize("result", [False, True])
async def test_a_key_given_line_by_line(tmp_path: Path, result: bool) -> None:
    """A list of lines in a tool's input, or one block of a result for each."""
    block: dict[str, Any] = {"type": "tool_use", "id": "t", "name": "f", "input": {"lines": [*KEY, "the end"]}}
    if result:
        blocks = [{"type": "text", "text": line} for line in [*KEY, "the end"]]
        block = {"type": "tool_result", "tool_use_id": "t", "content": blocks}
    call = {"model": "c", "max_tokens": 1, "messages": [{"role": "user", "content": [block]}]}
    stage = Redact(tmp_path / "data", Searching())
    await stage.start()
    x = exchange("anthropic", call)
    await stage.request(x)
    await stage.stop()
    raw = sent(x).decode()
    assert not any(line in raw for line in KEY[1:4]) and '"the end"' in raw and json.loads(raw)


def test_only_what_a_key_is_made_of() -> None:
    """Words after the mere mention of a key's first line stay."""
    read = ["it begins with -----BEGIN PRIVATE KEY-----", "Yes, that is right.", KEY[1]]
    assert keylines.with_lines(read, [[], [], []])[1:] == [[], []]
    assert keylines.with_lines(["nothing", KEY[1]], [[], []]) == [[], []]
    assert keylines.with_lines(KEY[:2], [[], []])[1] == [Finding(0, 40, Type.PRIVATE_KEY, "private-key", 0.9)]
