"""The cache stage over a real file: what is asked, what is waited for, what is kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cached import House, answered, chat, redacted
from mitmesh.caching.database import now_on
from mitmesh.dialects.base import Kind, Part, Usage
from mitmesh.exchange import Billing, Exchange, Layer, Mode, Origin, Outcome
from mitmesh.guard import Guard
from mitmesh.rules import Mesh, Rules
from mitmesh.rules.cache import Cache as CacheRules
from mitmesh.rules.pii import Pii
from mitmesh.stages.cache import policy_of, vendor_saved, wishes
from redactions import exchange


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    house = House(tmp_path)
    house.rule()
    await house.stage.start()
    yield house
    await house.stage.stop()


def layer(x: Exchange) -> Layer:
    assert x.cache
    return x.cache.layer


async def test_a_hit_says_where_it_is_from(house: House) -> None:
    """The exchange, its age and what it had cost; nothing was counted twice."""
    first = house.done(await house.ask())
    hit = await house.ask()
    assert layer(first) is Layer.MISS and layer(hit) is Layer.EXACT
    assert hit.cache and hit.cache.source == first.id and hit.cache.saved == 1500
    assert hit.reply and hit.reply.answer.text == "Paris." and hit.reply.origin is Origin.CACHE
    house.done(hit)
    assert len(house.stage.flights) == 0


async def test_a_call_of_a_tool_that_may_not_be_given_any_more(house: House) -> None:
    """The rule of now decides about what was kept under another."""
    house.rule(tool_calls=True)
    call = [Part(Kind.TOOL_CALL, "{}", "f", "c1")]
    house.done(await house.ask(), parts=call, finish="tool_calls")
    assert layer(await house.ask()) is Layer.EXACT
    house.rule(tool_calls=False)
    assert layer(await house.ask()) is Layer.MISS


async def test_cleared_while_a_call_is_under_way(house: House) -> None:
    """Its answer is not kept: nobody looked at its text when entries were cleared."""
    x = await house.ask()
    house.stage.store.cleared = now_on()
    house.done(x)
    assert layer(await house.ask()) is Layer.MISS


async def test_a_late_answer(house: House) -> None:
    """What was asked for before a new answer was (`no-cache`) does not take its place."""
    first = await house.ask()
    await asyncio.sleep(0.002)  # ids of exchanges are sorted by milliseconds
    house.done(await house.ask(**{"cache-control": "no-cache"}), words="NEW")
    house.done(first, words="OLD")
    hit = await house.ask()
    assert hit.reply and hit.reply.answer.text == "NEW"


@pytest.mark.parametrize("store", [True, False])
async def test_an_id_goes_on_with_the_same_names(house: House, store: bool) -> None:
    """Where the provider keeps the answer, its id is given to those calls alone whose names stand for the same values:
    the conversation goes on under it. Where it does not, the names are put back by each call itself."""

    def call(value: str) -> Exchange:
        doc = {"model": "gpt-4o", "input": "mail <EMAIL_1>", "store": store}
        x = redacted(exchange("openai_responses", doc), EMAIL_1=value)
        x.identity.attest("network", team="red")
        return x

    house.done(await house.ask(call("ann@example.com")))
    assert layer(await house.ask(call("ann@example.com"))) is Layer.EXACT
    assert (layer(await house.ask(call("cat@example.com"))) is Layer.EXACT) is not store


async def test_subscriptions_save_no_dollars(house: House) -> None:
    """A hit saves what would have been billed."""
    house.done(await house.ask())
    x = chat("Capital of France?")
    x.rules, x.billing = house.rules, Billing.SUBSCRIPTION
    await house.stage.request(x)
    assert x.cache and x.cache.saved == 0


@pytest.mark.parametrize(
    ("headers", "answered_again", "kept"),
    [
        ({"x-mesh-cache": "off"}, False, False),
        ({"x-mesh-cache": " OFF "}, False, False),
        ({"cache-control": "no-store"}, False, False),
        ({"cache-control": "max-age=0, No-Cache"}, False, True),
        ({"cache-control": "max-age=0"}, True, True),
        ({"x-mesh-cache": "on"}, True, True),
    ],
)
async def test_what_the_client_asks(house: House, headers: dict[str, str], answered_again: bool, kept: bool) -> None:
    """off and no-store: neither answered nor kept; no-cache: a new answer, that is kept."""
    first = house.done(await house.ask(**headers))
    assert (layer(first) is Layer.OFF) is not kept
    again = await house.ask()
    assert layer(again) is (Layer.EXACT if kept else Layer.MISS)
    house.done(again)
    house.done(await house.ask(chat("other")))
    assert bool((await house.ask(chat("other"), **headers)).reply) is answered_again


async def test_no_cache_replaces(house: House) -> None:
    """The new answer is the one that is given from now on."""
    house.done(await house.ask())
    house.done(await house.ask(**{"cache-control": "no-cache"}), words="Paris, France.")
    hit = await house.ask()
    assert hit.reply and hit.reply.answer.text == "Paris, France."


def test_wishes() -> None:
    """Words, not parts of words."""
    assert wishes({"cache-control": "private, no-store"}) == {"no-store"}
    assert wishes({"cache-control": "no-storefront", "x-mesh-cache": "offer"}) == frozenset()


@pytest.mark.parametrize(
    "skip",
    [
        {"team": "red"},
        {"model": "GPT-*"},
        {"provider": "test"},
        {"team": "red", "model": "gpt-4o"},
    ],
)
async def test_skip(house: House, skip: dict[str, str]) -> None:
    """By rule the cache has no part in it."""
    house.rule(skip=[skip])
    assert layer(await house.ask()) is Layer.OFF
    house.rule(skip=[{**skip, "user": "ann"}])
    assert layer(await house.ask()) is Layer.MISS


async def test_brackets_of_a_model_are_its_name(house: House) -> None:
    """As in every rule, `*` alone stands for other text."""
    house.rule(skip=[{"model": "claude[1m]"}])
    assert layer(await house.ask(chat("hi", model="claude[1M]"))) is Layer.OFF
    assert layer(await house.ask(chat("hi", model="claude1"))) is Layer.MISS


async def test_off_by_rule_and_unknown_callers(house: House) -> None:
    """Each says why."""
    house.rule(exact=False)
    x = await house.ask()
    assert x.cache and x.cache.layer is Layer.OFF and "rules/cache.yaml" in str(x.cache.reason)
    house.rule()
    unknown = redacted(exchange("openai_chat", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}))
    x = await house.ask(unknown)
    assert x.cache and x.cache.layer is Layer.OFF and x.cache.reason == "the caller is not known"


async def test_without_redaction(house: House) -> None:
    """A call that redaction did not see has no part in the cache."""
    x = chat("hi")
    x.notes.clear()
    assert layer(await house.ask(x)) is Layer.OFF


async def test_too_old(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of that age is given no more."""
    house.rule(ttl_seconds=60)
    house.done(await house.ask())
    assert layer(await house.ask()) is Layer.EXACT
    now = time.time()
    monkeypatch.setattr("mitmesh.stages.cache.time.time", lambda: now + 61)
    assert layer(await house.ask()) is Layer.MISS


async def test_too_large(house: House) -> None:
    """It is not kept."""
    house.rule(entry_bytes=1024)
    house.done(await house.ask(), words="x" * 1025)
    assert layer(await house.ask()) is Layer.MISS


async def test_observe(house: House) -> None:
    """Only recorded: the call goes on, and nobody waits for another."""
    house.done(await house.ask())
    house.rule(mode="observe")
    x = await house.ask()
    assert x.reply is None and layer(x) is Layer.MISS and "only observed" in str(x.cache and x.cache.reason)
    assert x.verdicts[-1].mode is Mode.OBSERVE
    await house.ask(chat("other"))
    assert len(house.stage.flights) == 0


# --- single flight ---


async def waits(house: House, x: Exchange | None = None) -> asyncio.Task[Exchange]:
    """The same call again, that waits."""
    task = asyncio.create_task(house.ask(x))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_one_asks_for_all(house: House) -> None:
    """Those who came meanwhile have its answer."""
    first = await house.ask()
    tasks = [await waits(house) for _ in range(3)]
    house.done(first)
    for x in await asyncio.gather(*tasks):
        assert layer(x) is Layer.EXACT and x.reply and x.reply.answer.text == "Paris."
        assert x.cache and x.cache.source == first.id
    assert len(house.stage.flights) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 500},
        {"outcome": Outcome.UPSTREAM_CUT, "complete": False},
        {"outcome": Outcome.CLIENT_GONE, "complete": False},
        {"finish": "length"},
        {"answer": None, "outcome": Outcome.UPSTREAM_FAILED},
    ],
)
async def test_released_where_there_is_no_answer(house: House, fields: dict[str, Any]) -> None:
    """An error, a cut, a client that goes: whoever waits asks for itself, and has none of it."""
    first = await house.ask()
    task = await waits(house)
    house.done(first, **fields)
    x = await task
    assert x.reply is None and layer(x) is Layer.MISS
    assert len(house.stage.flights) == 0


async def test_refused_after_the_cache(house: House) -> None:
    """A later stage's refusal of the one who leads is none of the others'."""
    first = await house.ask()
    task = await waits(house)
    first.refuse("quota", "q", "no")
    first.status, first.outcome = 429, Outcome.REFUSED
    house.stage.finish(first)
    assert (await task).reply is None


async def test_who_waits_is_bounded(house: House) -> None:
    """In number, and none at all where the rule says so."""
    house.rule(wait={"calls": 1})
    first = await house.ask()
    task = await waits(house)
    assert (await house.ask()).reply is None
    house.done(first)
    assert (await task).reply
    house.rule(wait={"seconds": 0})
    await house.ask(chat("other"))
    assert (await house.ask(chat("other"))).reply is None and len(house.stage.flights) == 0


async def test_waiting_is_not_the_stage_that_takes_long(house: House) -> None:
    """Answers take longer than a stage may: who waits for one gets it, and is no stage that hangs."""
    house.rules = Rules("v", mesh=Mesh.model_validate({"limits": {"stage_seconds": 1}}))
    first, guard, second = await house.ask(), Guard(), chat("Capital of France?")
    second.rules, second.billing = house.rules, Billing.METERED
    task = asyncio.create_task(guard.request(house.stage, second))
    await asyncio.sleep(1.3)
    assert not task.done()
    house.done(first)
    await task
    assert layer(second) is Layer.EXACT and not guard.failures


async def test_no_store_leads_nobody(house: House) -> None:
    """Its answer is its own."""
    await house.ask(**{"cache-control": "no-store"})
    assert len(house.stage.flights) == 0


async def test_client_gone_while_it_waits(house: House) -> None:
    """It leaves nothing behind."""
    first = await house.ask()
    task = await waits(house)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    house.done(first)
    assert len(house.stage.flights) == 0


# --- rules ---


def test_policy() -> None:
    """Rules that change what is sent or given back make answers new; prices and quotas do not."""
    plain = Rules()
    assert policy_of(plain) == policy_of(Rules("other"))
    assert policy_of(replace(plain, cache=CacheRules(ttl_seconds=5))) == policy_of(plain)
    assert policy_of(replace(plain, pii=Pii(skip=["EMAIL"]))) != policy_of(plain)
    assert policy_of(replace(plain, mesh=Mesh(mode=Mode.OBSERVE))) != policy_of(plain)


def test_answers_are_new_where_texts_are_normalised_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer kept for `colour` as `color` is not found by who asks about `color`."""
    before = policy_of(Rules())
    monkeypatch.setattr("mitmesh.stages.cache.VERSION", 0)
    policy_of.cache_clear()
    after = policy_of(Rules())
    policy_of.cache_clear()
    assert before != after


def test_vendor_saved() -> None:
    """What reads from a provider's prompt cache saved, and what writes to it cost more."""
    x = answered(chat("hi", dialect="anthropic", model="claude-sonnet-4-5"))
    x.rules = Rules()
    x.host = x.host.model_copy(update={"provider": "anthropic"})
    x.usage, x.cost = Usage(prompt=1_000_000, cache_read=1_000_000), 300_000
    assert vendor_saved(x) == 5_700_000  # a million tokens at $6 (above 200,000), of which $0.30 was paid
    x.usage, x.cost = Usage(prompt=100_000, cache_write_5m=100_000), 375_000
    assert (vendor_saved(x) or 0) < 0
    x.billing = Billing.SUBSCRIPTION
    assert vendor_saved(x) is None
    x.billing = Billing.METERED
    x.usage = Usage(prompt=10)
    assert vendor_saved(x) is None
