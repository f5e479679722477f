"""A stream under a limit: what is not reserved is not delivered, however fast it comes and whatever it says."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mitmesh import tokens
from mitmesh.answering import Tap
from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Framing
from mitmesh.exchange import Exchange
from mitmesh.guard import Guard
from mitmesh.quotas import in_sqlite
from mitmesh.rules.models import Price
from mitmesh.stages.meter import estimate
from stages.test_quota import House

LIMIT = 1000
TOKENS = {"id": "tok", "unit": "tokens", "limit": LIMIT, "per": "day", "team": "each"}
_random = random.Random(5)
TEXTS = {
    "english": " ".join(_random.choice(["the", "cat", "sat", "on", "a"]) for _ in range(2000)),
    "dense": " ".join(_random.choice("0123456789+-*/=<>") for _ in range(2000)),
    "chinese": "".join(chr(_random.randint(0x4E00, 0x9FFF)) for _ in range(2000)),
    "emoji": "".join(chr(_random.randint(0x1F300, 0x1F6FF)) for _ in range(1500)),
    "words": " ".join(f"word{number}" for number in range(2000)),
}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.stage.stop()


def pieces(text: str, length: int) -> Iterator[bytes]:
    """A stream of Chat Completions that says a text in pieces of so many characters."""
    for at in range(0, len(text), length):
        choice = {"index": 0, "delta": {"content": text[at : at + length]}}
        yield b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"
    yield b"data: [DONE]\n\n"


class Running:
    """A call whose answer streams, as mitmproxy would pass it."""

    def __init__(self, house: House, x: Exchange) -> None:
        self.house, self.x, self.out, self.cuts, self.holds = house, x, b"", 0, 0
        transform = house.stage.stream(x)
        assert transform
        self.tap = Tap(x, x.framing, "", [(house.stage, transform)], Guard(), self._cut, lambda: b"")

    def _cut(self) -> None:
        self.cuts += 1

    async def say(self, chunk: bytes | None) -> None:
        self.out += b"".join(self.tap(chunk))  # type: ignore[arg-type]
        while self.tap.held is not None:
            self.holds += 1
            await asyncio.wait([asyncio.ensure_future(self.tap.held)])
            self.out += b"".join(self.tap(None))  # type: ignore[arg-type]

    async def all(self, chunks: Iterator[bytes], burst: int = 1) -> None:
        said = list(chunks)
        for at in range(0, len(said), burst):
            await self.say(b"".join(said[at : at + burst]))
        await self.say(b"")

    @property
    def text(self) -> str:
        """What was delivered."""
        docs = [json.loads(line[6:]) for line in self.out.splitlines() if line.startswith(b"data: {")]
        return "".join(c["delta"].get("content", "") for doc in docs for c in doc.get("choices", ()))

    async def finish(self) -> None:
        assert self.x.stop_reading
        self.x.stop_reading()
        self.x.status = 200
        self.x.forwarded, self.x.times.sent = True, 1.0
        self.x.usage = estimate(self.x.call, self.x.answer)
        await self.house.end(self.x)


async def running(house: House, **body: Any) -> Running:
    asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True, **body}
    x = await house.ask(body=asked, framing=Framing.SSE)
    assert x.refusal is None
    return Running(house, x)


@pytest.mark.parametrize("length", [3, 40, 10**6], ids=["pieces", "longer", "whole"])
@pytest.mark.parametrize("burst", [1, 500], ids=["each", "burst"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_no_more_than_the_limit_is_delivered(house: House, text: str, burst: int, length: int) -> None:
    """To the token as we count: an event that does not fit is not delivered, and what was is nearly all there was."""
    house.limit(TOKENS, stream_first=100, output_cap=3000)
    run = await running(house)
    await run.all(pieces(text, length), burst)
    await run.finish()
    ((_, _, used, reserved),) = await house.counts()
    longest = max(tokens.count(text[at : at + length]) for at in range(0, 4000, length))
    assert (reserved, run.cuts) == (0, 1) and text.startswith(run.text)
    assert used <= LIMIT and (used >= LIMIT * 0.98 - longest or length > 1000)
    assert used == run.x.usage.total and b"the answer ends here" in run.out and b"(limit tok)" in run.out  # type: ignore[union-attr]


async def test_what_fits_passes_whole(house: House) -> None:
    """A burst that outruns its first reservation waits for the ledger, and comes as it was sent."""
    house.limit({**TOKENS, "limit": 10000}, stream_first=20, output_cap=8000)
    run = await running(house)
    sent = list(pieces(TEXTS["english"], 12))
    await run.all(iter(sent), burst=len(sent))
    assert run.out == b"".join(sent) and run.holds and not run.cuts


async def test_a_bound_is_not_reserved_twice(house: House) -> None:
    """A call that said how much it wants at most has all of it set aside: more is not asked for while it keeps to
    it."""
    house.limit(TOKENS)
    run = await running(house, max_tokens=600)
    await run.all(pieces(" cat" * 599, 40))
    assert not run.cuts and not run.holds
    ((_, _, used, reserved),) = await house.counts()
    assert used == 0 and reserved < 620


async def test_two_streams_share_what_is_left(house: House) -> None:
    """What one of them took, the other has not, though it was there when it began."""
    house.limit(TOKENS, stream_first=100, output_cap=3000)
    both = [await running(house) for _ in range(2)]
    await asyncio.gather(*(run.all(pieces(TEXTS["dense"], 8)) for run in both))
    for run in both:
        await run.finish()
    ((_, _, used, _),) = await house.counts()
    assert LIMIT * 0.9 < used <= LIMIT and [run.cuts for run in both] == [1, 1]


async def test_many_streams_strand_little(house: House) -> None:
    """None takes all that is left for a need it may never have: those that are cut were cut for want of tokens."""
    house.limit({**TOKENS, "limit": 3000}, stream_first=30)
    runs = [await running(house) for _ in range(24)]

    async def read(run: Running) -> None:
        for piece in pieces(" cat" * 400, 4):
            await run.say(piece)
            await asyncio.sleep(0)
            if run.cuts:
                break
        await run.say(b"")
        await run.finish()

    await asyncio.gather(*map(read, runs))
    ((_, _, used, reserved),) = await house.counts()
    assert 2700 < used <= 3000 and reserved == 0


async def test_the_limit_that_is_full_is_named_as_it_stands(house: House) -> None:
    """Of several the one that has no room, with what was used by this answer, and when it begins anew."""
    dollars = {"id": "usd", "unit": "dollars", "limit": "0.001000", "per": "day", "team": "each"}
    price = Price.model_validate({"model": "gpt-4o-mini", "input": 1, "output": 2})
    house.limit({**TOKENS, "limit": 10000}, dollars, prices=[price], stream_first=100, output_cap=3000)
    run = await running(house)
    await run.all(pieces(TEXTS["words"], 9))
    refusal = run.x.refusal
    assert refusal and refusal.rule_id == "usd" and refusal.retry_after and refusal.retry_after > 3600
    assert refusal.reason.startswith("Quota exceeded: team 'red' used $0.00")
    used = float(refusal.reason.split("$")[1].split("/")[0])
    assert 0.00095 < used <= 0.001 and "reserved" not in refusal.reason


async def test_a_longer_prompt_than_we_thought_counts(house: House) -> None:
    """What the provider says of it at the beginning is heeded before the end."""
    house.limit(TOKENS, stream_first=100, output_cap=3000)
    run = await running(house)
    await run.say(b'data: {"choices": [], "usage": {"prompt_tokens": 400, "completion_tokens": 0}}\n\n')
    await run.all(pieces(TEXTS["words"], 9))
    await run.finish()
    ((_, _, used, _),) = await house.counts()
    assert run.x.usage and run.x.usage.prompt == 400 and LIMIT * 0.93 < used <= LIMIT


async def test_how_it_ended_always_passes(house: House) -> None:
    """The usage at the end may be more than was reserved: it is told, and paid for."""
    house.limit({**TOKENS, "limit": 120}, stream_first=100, output_cap=100)
    run = await running(house)
    last = b'data: {"choices": [], "usage": {"prompt_tokens": 400, "completion_tokens": 90}}\n\n'
    said = [*list(pieces(" cat" * 40, 4))[:-1], last, b"data: [DONE]\n\n"]
    await run.all(iter(said))
    assert run.out == b"".join(said) and not run.cuts


async def test_what_others_hold_is_told_apart(house: House) -> None:
    """A limit that is full of other calls' reservations may have room in a moment."""
    house.limit(TOKENS, stream_first=100, output_cap=3000)
    other = await house.ask(
        body={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}], "max_tokens": 600}
    )
    run = await running(house)
    await run.all(pieces(TEXTS["words"], 9))
    refusal = run.x.refusal
    assert refusal and refusal.retry_after == 5 and "are reserved by other calls" in refusal.reason
    await house.end(other)


async def test_one_event_that_is_too_much(house: House) -> None:
    """Nothing of it is delivered or paid for, and the reason says so."""
    house.limit(TOKENS, stream_first=100, output_cap=3000)
    run = await running(house)
    await run.all(pieces(TEXTS["chinese"], 10**6))
    assert run.x.refusal and "used 7/1,000 tokens today" in run.x.refusal.reason
    assert f"needs {tokens.count(TEXTS['chinese']):,} more" in run.x.refusal.reason
    assert run.x.refusal.retry_after and run.x.refusal.retry_after > 3600


async def test_the_ledger_goes_away(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reserved arrives; then nobody can say, and the stream ends."""
    monkeypatch.setattr(in_sqlite, "BUSY_MS", 50)
    house.limit(TOKENS, stream_first=100, output_cap=3000)
    run = await running(house, max_tokens=100)  # so that it is asked once
    other = sqlite3.connect(house.folder / "quota.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await run.all(pieces(TEXTS["words"], 9))
    other.close()
    assert run.x.refusal and run.x.refusal.status == 503
    assert 50 < tokens.count(run.text) <= 100


async def test_a_long_text_is_counted_in_a_thread(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One event of a hundred thousand characters does not hold up the others' calls."""
    where: list[tuple[int, str]] = []
    count = tokens.count

    def counted(text: str, model: str | None = None) -> int:
        where.append((len(text), threading.current_thread().name))
        return count(text, model)

    house.limit({**TOKENS, "limit": 100000}, stream_first=100, output_cap=90000)
    run = await running(house)
    monkeypatch.setattr(tokens, "count", counted)
    await run.all(pieces(TEXTS["words"], 10**6))
    assert run.text == TEXTS["words"] and not run.cuts
    assert all(length <= 8000 or "MainThread" not in name for length, name in where)
    assert max(length for length, _ in where) == len(TEXTS["words"])


async def test_the_finish_tells_what_was_delivered(house: House) -> None:
    """Anthropic says 1 at the beginning; where we end the stream its last word is our count."""
    house.limit(TOKENS, stream_first=100, output_cap=3000)
    body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 3000}
    x = await house.ask(body=body, framing=Framing.SSE, dialect=DIALECTS["anthropic"])
    run = Running(house, x)
    message = {"id": "m", "model": "claude-sonnet-4-5", "usage": {"input_tokens": 9, "output_tokens": 1}}
    block = {"type": "text", "text": ""}
    events = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f" cat{n}"}}
            for n in range(2000)
        ),
    ]
    await run.all(b"event: x\ndata: " + json.dumps(event).encode() + b"\n\n" for event in events)
    docs = [json.loads(line[6:]) for line in run.out.splitlines() if line.startswith(b"data: ")]
    told = next(doc for doc in docs if doc["type"] == "message_delta")["usage"]["output_tokens"]
    text = "".join(doc["delta"]["text"] for doc in docs if doc["type"] == "content_block_delta")
    assert 900 < told < LIMIT and abs(told - tokens.count(text)) < 10


@pytest.mark.parametrize("others", [0, 100, 900])
async def test_what_was_lost_is_taken_again(house: House, others: int) -> None:
    """A worker that was not heard of for longer than its lease, and goes on: what its streams held may be another's by
    then. Where it is, they end."""
    house.limit(TOKENS, lease_seconds=60)
    run = await running(house, max_tokens=600)
    said = list(pieces(" cat" * 590, 40))
    for piece in said[:20]:
        await run.say(piece)
    house.clock.now += 62
    books = house.stage._books
    assert books and not books.lapsed(run.x.id)
    books._until[run.x.id] = 0.0
    assert books.lapsed(run.x.id)
    if others:
        other = await house.ask(
            body={"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}], "max_tokens": others}
        )
        assert other.refusal is None, "it was free"
    await run.all(iter(said[20:]))
    await run.finish()
    if others == 900:
        assert run.x.refusal and run.x.refusal.status == 429 and len(run.text) == 20 * 40 and run.cuts
        ((_, _, used, reserved),) = await house.counts()
        assert used < 220 and reserved > 900
    else:
        assert run.x.refusal is None and run.out == b"".join(said)
        ((_, _, used, reserved),) = await house.counts()
        assert 590 < used < 620 and (reserved > 0) is bool(others)


async def test_what_was_lost_and_nobody_can_say(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream ends: another may have it."""
    monkeypatch.setattr(in_sqlite, "BUSY_MS", 50)
    house.limit(TOKENS)
    run = await running(house, max_tokens=600)
    said = list(pieces(" cat" * 100, 40))
    await run.say(said[0])
    books = house.stage._books
    assert books
    books._until[run.x.id] = 0.0
    other = sqlite3.connect(house.folder / "quota.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await run.all(iter(said[1:]))
    other.close()
    assert run.x.refusal and run.x.refusal.status == 503 and len(run.text) == 40


async def test_more_is_not_all(house: House) -> None:
    """A top-up does not bring back what was lost before it."""
    house.limit(TOKENS, stream_first=20, output_cap=600)
    run = await running(house)
    books, held = house.stage._books, run.x.notes["quota"]
    assert books
    books._until[run.x.id] = 0.0
    await books.reserve(run.x.id, held.asked)
    assert books.lapsed(run.x.id)


async def test_usage_that_is_told_with_every_event(house: House) -> None:
    """Gemini's streams do: what is said beside it is in it, and counts once."""
    house.limit({**TOKENS, "limit": 1100}, output_cap=1000)
    run = await running(house)
    said = []
    for number in range(197):
        usage = {"prompt_tokens": 10, "completion_tokens": 5 * number + 5}
        choice = {"index": 0, "delta": {"content": " cat" * 5}}
        said.append(b"data: " + json.dumps({"choices": [choice], "usage": usage}).encode() + b"\n\n")
    await run.all(iter(said))
    assert run.out == b"".join(said) and run.x.refusal is None


async def test_hidden_reasoning_counts_with_what_is_seen(house: House) -> None:
    """Told once, it is more than we saw; what is said after it comes on top."""
    house.limit(TOKENS, stream_first=100, output_cap=3000)
    run = await running(house)
    await run.say(b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 0}}\n\n')
    choice = {"index": 0, "delta": {"content": " cat"}}
    told = {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 700}}
    await run.say(b"data: " + json.dumps(told).encode() + b"\n\n")
    await run.all(pieces(TEXTS["english"], 12))
    assert run.x.refusal and 200 < tokens.count(run.text) < 300


async def test_a_free_model_under_a_full_limit(house: House) -> None:
    """It takes nothing of a limit that others overran, before its stream and within it."""
    usd = {"id": "usd", "unit": "dollars", "limit": "0.001", "per": "day"}
    house.limit(usd, TOKENS, prices=[Price(model="free", input="0", output="0")], stream_first=20, output_cap=500)
    await house.done(await house.ask(), cost=5_000)
    assert (await house.ask()).refusal
    run = await running(house, model="free")
    said = list(pieces(" cat" * 400, 40))
    await run.all(iter(said))
    assert run.out == b"".join(said) and run.x.refusal is None
