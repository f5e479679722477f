from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mitmesh.redaction import finder as module
from mitmesh.redaction.finder import Finder
from mitmesh.redaction.findings import FinderFailed, TooMuch, Type
from mitmesh.rules import Pii, PiiPattern, Rules, RulesError
from mitmesh.rules.pii import PiiFinder

ROOT = Path(__file__).parents[2]
RULES = Rules(pii=Pii(patterns=[PiiPattern(id="mark", type="MARK", regex=r"mark-\d+")]))


class FakePool:
    """Finds every `@`, in this process, and remembers what it was asked."""

    made: list[FakePool] = []
    fails: str = ""

    def __init__(self, pii: str, workers: int, seconds: float) -> None:
        self.pii, self.asked, self.down, self.stopped = pii, [], None, False
        self.made.append(self)

    async def start(self) -> None:
        if self.fails:
            raise FinderFailed(self.fails)

    async def stop(self) -> None:
        self.stopped = True

    drain = stop

    async def run(self, jobs: Sequence[Sequence[str]]) -> list[list[Any]]:
        self.asked += [text for job in jobs for text in job]
        return [[[(i, i + 1, "AT", "at", 1.0) for i, c in enumerate(text) if c == "@"] for text in job] for job in jobs]


@pytest.fixture
async def fake(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Finder]:
    monkeypatch.setattr(module, "Pool", FakePool)
    monkeypatch.setattr(FakePool, "made", [])
    finder = Finder()
    finder.configure(RULES)
    await finder.start()
    yield finder
    await finder.stop()


async def test_a_text_is_searched_once(fake: Finder) -> None:
    """The same text again, in the same call or a later one, is answered from memory."""
    first = await fake.find(["a@b", "c@", "a@b"])
    assert [[each.start for each in found] for found in first] == [[1], [1], [1]]
    assert await fake.find(["a@b", "d@"]) == [first[0], [dataclasses.replace(first[0][0], start=1, end=2)]]
    assert FakePool.made[0].asked == ["a@b", "c@", "d@"]


async def test_too_much_is_told_at_once(fake: Finder) -> None:
    """What could not be searched in time goes to no worker: by its size, or by how much of it may be values. What was
    searched before does not count, nor do texts of an ordinary size."""
    limits = PiiFinder(new_characters=400_000, dense_characters=200_000)
    fake._pii = Pii(finder=limits)
    prose = "word and word again, line by line\n" * 11_000
    dense = "ann@example.com, 212-555-0187; " * 9_000
    for texts, limit in (([prose, "x" * 100_000], "new_characters"), ([dense], "dense_characters")):
        with pytest.raises(TooMuch, match=limit):
            await fake.find(texts)
    assert not FakePool.made[0].asked
    assert await fake.find([prose]) == [[]]
    assert await fake.find([prose, "x" * 100_000]) == [[], []]
    assert len(await fake.find([dense[:150_000]])) == 1


async def test_what_is_clear_goes_to_no_worker(fake: Finder) -> None:
    """A short text with nothing in it is cleared where it is; of long ones, workers take what is beyond the limit."""
    assert [len(found) for found in await fake.find(["c", "d", "a@b"])] == [0, 0, 1]
    long = [f"{number} ".ljust(module.CLEARED // 2, "c") for number in range(3)]
    assert await fake.find(long) == [[], [], []]
    assert FakePool.made[0].asked == ["a@b", long[2]]


async def test_a_long_text_is_cut_and_put_together(fake: Finder) -> None:
    """Findings of a text longer than a piece have their places in the whole, each once, those in overlaps too."""
    places = [0, 23_999, 24_001, 31_999, 32_000, 50_000, 79_999]
    text = "".join("@" if i in places else "." for i in range(80_000))
    (found,) = await fake.find([text])
    assert [each.start for each in found] == places
    assert all(len(piece) <= module.LONGEST for piece in FakePool.made[0].asked)


async def test_half_a_surrogate_pair_is_a_text_like_others(fake: Finder) -> None:
    """What JSON may hold does not crash the memory."""
    assert len((await fake.find(["\ud83d @"]))[0]) == 1


async def test_new_rules_forget_and_replace(fake: Finder) -> None:
    """Other patterns mean other workers and an empty memory; the old workers serve until the new ones run."""
    await fake.find(["a@b"])
    fake.configure(Rules(pii=RULES.pii.model_copy(update={"never": ["x"]})))
    assert await fake.find(["a@b"]) and len(FakePool.made) == 1
    await asyncio.sleep(0.01)
    await fake.find(["a@b"])
    assert FakePool.made[0].stopped and FakePool.made[1].asked == ["a@b"]


async def test_calls_while_rules_change_find_or_fail(fake: Finder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever moment of a renewal a call comes in, it has the findings of the old rules or the new, or fails."""

    async def run(self: FakePool, jobs: Sequence[Sequence[str]]) -> list[list[Any]]:
        await asyncio.sleep(0.001)
        if self.stopped:
            raise FinderFailed("the pool was stopped")
        return [[[(0, 1, "AT", "at", 1.0)] for _ in job] for job in jobs]

    monkeypatch.setattr(FakePool, "run", run)

    async def calls() -> list[list[Any]]:
        found: list[list[Any]] = []
        for _ in range(100):
            try:
                found += await fake.find([f"@{len(found)}"])
            except FinderFailed:
                continue
        return found

    async def changes() -> None:
        for n in range(40):
            fake.configure(Rules(pii=RULES.pii.model_copy(update={"never": [str(n)]})))
            await asyncio.sleep(0.002)

    *all_found, _ = await asyncio.gather(calls(), calls(), changes())
    assert all(found for each in all_found for found in each) and all_found[0]
    assert len(FakePool.made) > 5


async def test_other_actions_are_no_other_search(fake: Finder) -> None:
    """Changing what is done with findings starts no process and forgets nothing."""
    fake.configure(Rules(pii=RULES.pii.model_copy(update={"action": "mask"})))
    await asyncio.sleep(0.01)
    assert len(FakePool.made) == 1


async def test_rules_whose_workers_do_not_start_leave_the_old_ones(
    fake: Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that is missing is said in health; the rules before go on."""
    monkeypatch.setattr(FakePool, "fails", "models: names: not installed")
    fake.configure(Rules(pii=RULES.pii.model_copy(update={"never": ["x"]})))
    await asyncio.sleep(0.01)
    assert await fake.find(["@"])
    assert fake.health().ready and "not installed" in fake.health().detail
    fake.configure(RULES)
    await asyncio.sleep(0.01)
    assert not fake.health().detail  # it is taken back


async def test_it_says_whether_names_are_found(fake: Finder, caplog: pytest.LogCaptureFixture) -> None:
    """At start and when the rules change the log says plainly whether a model for names is loaded, as health does."""
    assert not fake.health().persons
    caplog.set_level("INFO")
    model = {"id": "m", "kind": "spacy", "name": "some_model"}
    fake.configure(Rules(pii=Pii.model_validate({**RULES.pii.model_dump(mode="json"), "models": [model]})))
    await asyncio.sleep(0.01)
    assert "names are found, by some_model" in caplog.text and fake.health().persons
    fake.configure(RULES)
    await asyncio.sleep(0.01)
    assert "no model for names is loaded" in caplog.text and not fake.health().persons


def test_without_patterns_there_is_nothing_to_start() -> None:
    """A missing rules/pii.yaml must not mean that secrets leave."""
    with pytest.raises(RulesError, match="no patterns"):
        Finder().configure(Rules())


async def test_what_was_not_started_finds_nothing_and_says_so() -> None:
    """find raises before start, health is not ready."""
    finder = Finder()
    finder.configure(RULES)
    assert not finder.health().ready
    with pytest.raises(FinderFailed):
        await finder.find(["a@b.example"])


def test_the_proxy_loads_no_analyzer() -> None:
    """Importing the finder imports neither Presidio nor spaCy nor torch: they live in the workers."""
    code = "import mitmesh.redaction.finder, sys; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT / "addons")}
    )
    assert not {"presidio_analyzer", "spacy", "torch", "numpy"} & set(loaded.stdout.split())


async def test_the_real_thing() -> None:
    """Real workers find, a pattern that never ends is stopped and fails its call, and the next call is served."""
    endless = PiiPattern(id="endless", type="X", regex=r"(?:a|aa)+(?=\bq)", keywords=["aaaa"])
    pii = Pii(patterns=[*RULES.pii.patterns, endless]).model_copy(update={})
    pii = pii.model_copy(update={"finder": pii.finder.model_copy(update={"workers": 1, "seconds": 1})})
    finder = Finder()
    finder.configure(Rules(pii=pii))
    await finder.start()
    try:
        assert finder.health().ready and not finder.health().persons
        (found,) = await finder.find(["mark-7 is bob@example.com, call +1 212 555 0123"])
        assert [each.type for each in found] == ["MARK", Type.EMAIL, Type.PHONE]
        began = time.monotonic()
        with pytest.raises(FinderFailed, match="longer"):
            await finder.find(["a" * 200])
        assert time.monotonic() - began < 5
        assert await finder.find(["mark-7"]) == [[dataclasses.replace(found[0])]]
    finally:
        await finder.stop()
