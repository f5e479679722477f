"""A cached answer on its way back: judged whole before its first byte, restored for each caller."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from cached import entry
from mitmesh.dialects.base import Framing
from mitmesh.exchange import Action, Exchange, Origin
from mitmesh.house import House
from mitmesh.replaying import replay
from mitmesh.rules import Rules
from mitmesh.stage import Stage
from mitmesh.stages.redact import Redact
from redactions import Finder, exchange

ANN, BOB = "ann@example.com", "bob@example.com"


class Guard(Stage):
    """An output guard that refuses what has a word in it, or fails."""

    name = "guard"

    def __init__(self, word: str = "", fails: str = "") -> None:
        self.word, self.fails = word, fails
        self.saw: list[str] = []

    async def replayed(self, x: Exchange) -> None:
        if self.fails == "replayed":
            raise ValueError("no")
        assert x.answer
        self.saw.append(x.answer.text)
        if self.word and self.word in x.answer.text:
            x.refuse(self.name, "word", "It has the word.")

    def response(self, x: Exchange) -> None:
        if self.fails == "response":
            raise ValueError("no")


@pytest.fixture
async def redact(tmp_path: Path) -> AsyncIterator[Redact]:
    stage = Redact(tmp_path / "data", Finder())
    await stage.start()
    yield stage
    await stage.stop()


def house(*stages: Stage) -> House:
    return House(list(stages), Rules(), cast(Any, None), cast(Any, None))


async def hit(stage: Redact, words: str, *, stream: bool = False, said: str = "I wrote to <EMAIL_1>.") -> Exchange:
    """A call that the cache answers."""
    doc = {"model": "gpt-4o", "messages": [{"role": "user", "content": words}], "stream": stream}
    x = exchange("openai_chat", doc)
    await stage.request(x)
    x.reply_with("cache", "exact", entry(words=said).answer, Origin.CACHE, "")
    return x


def shown(x: Exchange) -> str:
    """What the client reads."""
    assert x.reply and x.reply.shown
    if x.framing is Framing.NONE:
        return str(json.loads(x.reply.shown)["choices"][0]["message"]["content"])
    docs = [json.loads(line[6:]) for line in x.reply.shown.decode().splitlines() if line.startswith("data: {")]
    return "".join(doc["choices"][0]["delta"].get("content") or "" for doc in docs if doc["choices"])


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_each_has_their_own(redact: Redact, stream: bool) -> None:
    """One answer, restored with each caller's values; what is stored of it stays redacted, and so does the guard's."""
    guard = Guard()
    for address in (ANN, BOB):
        x = await hit(redact, f"Write to {address}", stream=stream)
        await replay(x, house(redact, guard))
        assert shown(x) == f"I wrote to {address}."
        assert x.answer and x.answer.text == "I wrote to <EMAIL_1>."
        assert (x.status, x.cost, x.origin) == (200, 0, Origin.CACHE)
    assert guard.saw == ["I wrote to <EMAIL_1>."] * 2


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_a_guard_judges_a_hit(redact: Redact, stream: bool) -> None:
    """A hit is no way round the output guard, and nothing of it is given (aisix 448)."""
    x = await hit(redact, f"Write to {ANN}", stream=stream, said="a bad <EMAIL_1>")
    await replay(x, house(redact, Guard("bad")))
    assert x.refusal and x.refusal.stage == "guard" and x.reply and x.reply.shown is None


@pytest.mark.parametrize("fails", ["replayed", "response"])
async def test_a_closed_guard_that_fails(redact: Redact, fails: str) -> None:
    """The answer is withheld."""
    x = await hit(redact, "hi", said="Paris.")
    await replay(x, house(redact, Guard(fails=fails)))
    assert x.refusal and x.refusal.status == 503 and x.reply and x.reply.shown is None


async def test_a_cached_answer_is_not_changed(redact: Redact) -> None:
    """What a stage does to one caller's answer is not in the next one's."""
    kept = entry(words="I wrote to <EMAIL_1>.").answer
    for address in (ANN, BOB):
        x = await hit(redact, f"Write to {address}")
        assert x.reply
        x.reply.answer = kept
        await replay(x, house(redact))
    assert kept.text == "I wrote to <EMAIL_1>."
    assert not [verdict for verdict in x.verdicts if verdict.action is Action.REFUSE]


async def test_values_are_escaped_in_json(redact: Redact) -> None:
    """A value with a quote in it leaves the answer a JSON document."""
    x = await hit(redact, 'my name is Ann "A" Lee', said='{"name": "<PERSON_1>"}')
    await replay(x, house(redact))
    assert "Ann" in shown(x)
