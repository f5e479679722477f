"""The quota stage with both kinds of exchange, over a real SQLite ledger."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mitmesh import tokens
from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Answer, Call, Operation, Usage
from mitmesh.dialects.fallbacks import further
from mitmesh.exchange import Billing, Exchange, Identity, Origin, Outcome, Reply, Target
from mitmesh.quotas import in_sqlite
from mitmesh.quotas.in_redis import RedisLedger
from mitmesh.quotas.in_sqlite import FILE, SqliteLedger
from mitmesh.quotas.journal import Journal
from mitmesh.quotas.ledger import ALL, Grant
from mitmesh.quotas.repeats import Repeats
from mitmesh.quotas.share import SharingLedger
from mitmesh.rules import HostRule, Prices, Rules
from mitmesh.rules.models import Price
from mitmesh.rules.quotas import Quotas
from mitmesh.stages.quota import Quota
from mitmesh.wire.jsontext import Body, dumps, parse
from quotas.conftest import Clock

PROMPT = "Say hello, please, to all of them."
SIZE = tokens.count(PROMPT) + 6  # and what the format adds


class House:
    """A quota stage, its clock and its ledger's file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.stage = Quota(lambda rules: SqliteLedger(folder, self.clock), self.clock)
        self.rules = Rules()

    def limit(self, *limits: dict[str, Any], prices: list[Price] | None = None, **rest: Any) -> House:
        quotas = Quotas.model_validate({"limits": list(limits), **rest})
        self.rules = Rules("v", quotas=quotas, prices=Prices(prices=prices or []))
        self.stage.configure(self.rules)
        return self

    def call(self, *, body: dict[str, Any] | None = None, team: str = "red", **fields: Any) -> Exchange:
        doc = body or {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 10}
        raw = dumps(doc).encode()
        call = DIALECTS["openai_chat"].read(parse(raw), "/v1/chat/completions", {})
        call.others = further(doc, call.model)
        x = Exchange(
            dialect=DIALECTS["openai_chat"],
            call=call,
            host=HostRule(id="openai", match=["api.openai.com"], provider="openai"),
            target=Target("https", "api.openai.com", 443),
            path="/v1/chat/completions",
            headers={},
            rules=self.rules,
            body=Body(raw, parse(raw)),
            request_bytes=len(raw),
        )
        x.identity.team, x.billing = team, Billing.METERED
        for name, value in fields.items():
            setattr(x, name, value)
        return x

    async def ask(self, **fields: Any) -> Exchange:
        x = self.call(**fields)
        await self.stage.request(x)
        return x

    async def done(self, x: Exchange, usage: Usage | None = None, cost: int | None = None, status: int = 200) -> None:
        """The call was sent and answered."""
        x.forwarded, x.times.sent, x.status, x.outcome = True, 1.0, status, Outcome.ANSWERED
        x.usage, x.cost = usage, cost
        await self.end(x)

    async def end(self, x: Exchange) -> None:
        self.stage.finish(x)
        await self.settled()

    async def settled(self) -> None:
        books = self.stage._books
        while books and books._tasks:
            await asyncio.wait(set(books._tasks))

    async def counts(self) -> list[tuple[str, str, int, int]]:
        books = self.stage._books
        assert books
        return [(c.key.limit, c.key.subject, c.used, c.reserved) for c in await books.ledger.counts()]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.stage.stop()


TEAM = {"id": "team", "unit": "tokens", "limit": 100, "per": "month", "team": "each"}


async def test_without_limits_nothing_is_opened(house: House) -> None:
    """No file, no header, no verdict."""
    house.limit()
    x = await house.ask()
    assert not x.verdicts and not x.answer_headers and not (house.folder / FILE).exists()
    await house.done(x)


async def test_reserves_settles_and_names_who_used_what(house: House) -> None:
    """Prompt and bound before, the real usage after; then the next does not fit, and is told in AgentMesh's words."""
    house.limit(TEAM)
    x = await house.ask()
    assert await house.counts() == [("team", "team=red", 0, SIZE + 10)]
    assert x.answer_headers == {"x-mesh-quota-pct": "0%"}
    await house.done(x, Usage(prompt=70, completion=20))
    assert await house.counts() == [("team", "team=red", 90, 0)]
    x = await house.ask()
    refusal = x.refusal
    assert refusal and (refusal.status, refusal.type, refusal.rule_id) == (429, "quota_exceeded", "team")
    assert refusal.reason.startswith("Quota exceeded: team 'red' used 90/100 tokens this month")
    assert refusal.retry_after and 0 < refusal.retry_after < 31 * 86400
    assert x.answer_headers["x-mesh-quota-pct"] == "90%"
    await house.end(x)
    assert await house.counts() == [("team", "team=red", 90, 0)]
    assert not (await house.ask(team="blue")).refusal


async def test_warns(house: House) -> None:
    """From the warn level on, with a verdict and a header."""
    house.limit({**TEAM, "limit": 1000})
    await house.done(await house.ask(), Usage(prompt=850))
    x = await house.ask()
    assert [(v.action.value, v.rule_id) for v in x.verdicts] == [("warn", "team")]
    assert x.answer_headers["x-mesh-quota-pct"] == "85%"
    assert x.answer_headers["x-mesh-quota-warn"].startswith("team 'red' used 850/1,000 tokens")


async def test_a_hard_stop_is_named(house: House) -> None:
    """A refusal says of how much it is, for that is not the limit; so do a warning, and a grant beyond it."""
    house.limit({"id": "low", "unit": "requests", "limit": 10, "per": "day", "hard_stop_at": 30, "warn_at": 20})
    for _ in range(3):
        x = await house.ask()
        await house.done(x)
    said = "everyone used 2/10 requests today (20%, hard stop at 30%, limit low)"
    assert x.answer_headers["x-mesh-quota-warn"] == said
    refusal = (await house.ask()).refusal
    assert refusal and refusal.reason == (
        "Quota exceeded: everyone used 3/3 requests today (hard stop at 30% of 10); this call may need 1 (limit low)."
    )
    assert house.stage._books
    grant = Grant("g", "low", ALL, 1, int(house.clock()) + 60, "r", "me", "requests")
    await house.stage._books.ledger.grant(grant)
    await house.done(await house.ask())
    refusal = (await house.ask()).refusal
    assert refusal and "used 4/4 requests today (hard stop at 30% of 10, 1 more granted);" in refusal.reason


async def test_observe_lets_through_and_records(house: House) -> None:
    """What would have been refused is in the verdicts, and counted."""
    house.limit({**TEAM, "limit": 1, "mode": "observe"})
    x = await house.ask()
    assert x.refusal is None and [(v.action.value, v.mode.value) for v in x.verdicts] == [("refuse", "observe")]
    await house.done(x, Usage(prompt=5, completion=5))
    assert await house.counts() == [("team", "team=red", 10, 0)]


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"times_sent": None}, 0),  # refused later, or answered from the cache
        ({"forwarded": False, "status": 502}, 0),  # nobody was there
        ({"status": 500}, 0),  # the provider's error
        ({"usage": Usage(prompt=3, completion=4)}, 7),
        ({"status": 200}, SIZE + 10),  # nobody knows: as reserved
        ({"status": None, "outcome": Outcome.CLIENT_GONE, "usage": Usage(prompt=9, estimated=True)}, 9),
    ],
)
async def test_settles_with_what_was_delivered(house: House, fields: dict[str, Any], left: int) -> None:
    """What delivered nothing gives back; what was aborted pays for what came; requests count when they are sent."""
    house.limit(
        TEAM,
        {"id": "calls", "unit": "requests", "limit": 9, "per": "day"},
        {"id": "now", "unit": "concurrent", "limit": 1},
    )
    x = await house.ask()
    x.forwarded, x.status, x.outcome, x.times.sent = True, 200, Outcome.ANSWERED, 1.0
    sent = fields.pop("times_sent", 1.0)
    x.times.sent = sent
    for name, value in fields.items():
        setattr(x, name, value)
    await house.end(x)
    assert await house.counts() == [
        ("calls", "", 1 if sent else 0, 0),
        ("now", "", 0, 0),
        ("team", "team=red", left, 0),
    ]


async def test_a_cache_hit_gives_back(house: House) -> None:
    """Nothing was forwarded."""
    house.limit(TEAM)
    x = await house.ask()
    x.reply, x.origin, x.outcome = Reply(Answer(), Origin.CACHE), Origin.CACHE, Outcome.ANSWERED
    await house.end(x)
    assert await house.counts() == [("team", "team=red", 0, 0)]


async def test_dollars(house: House) -> None:
    """At the price that will apply, in micro-dollars; a plan's calls do not count."""
    price = Price(model="gpt-4o-mini", input="2", output="10")
    house.limit({"id": "usd", "unit": "dollars", "limit": "0.0005", "per": "day"}, prices=[price])
    x = await house.ask()
    assert await house.counts() == [("usd", "", 0, 2 * SIZE + 100)]
    await house.done(x, Usage(prompt=1, completion=1), cost=480)
    refusal = (await house.ask()).refusal
    assert refusal and "everyone used $0.00048/$0.0005 today" in refusal.reason
    assert (await house.ask(billing=Billing.SUBSCRIPTION)).refusal is None


@pytest.mark.parametrize(
    ("control", "times"), [(None, 1), ({"type": "ephemeral"}, 1.25), ({"type": "ephemeral", "ttl": "1h"}, 2)]
)
async def test_what_is_written_to_a_providers_cache(house: House, control: Any, times: float) -> None:
    """It costs more than plain input, as set aside as afterwards."""
    house.limit({"id": "usd", "unit": "dollars", "limit": 5, "per": "day"})
    text = {"type": "text", "text": PROMPT, **({"cache_control": control} if control else {})}
    body = {"model": "claude-sonnet-4", "messages": [{"role": "user", "content": [text]}], "max_tokens": 1}
    x = await house.ask(body=body, host=HostRule(id="a", match=["api.anthropic.com"], provider="anthropic"))
    assert x.refusal is None
    ((_, _, _, reserved),) = await house.counts()
    assert reserved == pytest.approx(3 * times * (await house.stage._prompts.count(x.call)) + 15, abs=1)


async def test_unknown_prices(house: House) -> None:
    """Refused under a limit in dollars, or held to a number of tokens."""
    usd = {"id": "usd", "unit": "dollars", "limit": 5, "per": "day"}
    body = {"model": "nobody-knows", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 10}
    house.limit(usd)
    x = await house.ask(body=body)
    assert x.refusal and x.refusal.type == "quota_unknown_price" and "nobody-knows" in x.refusal.reason
    house.limit({**usd, "unpriced_tokens": 60})
    await house.done(await house.ask(body=body), Usage(prompt=40, completion=10))
    refusal = (await house.ask(body=body)).refusal
    assert refusal and "50/60 tokens" in refusal.reason
    assert (await house.ask()).refusal is None, "known prices are counted in dollars beside it"


async def test_a_call_that_names_no_bound_gets_one(house: House) -> None:
    """The tightest cap, set on the request where the limit refuses, and reserved."""
    house.limit({**TEAM, "limit": 1000, "output_cap": 70}, {**TEAM, "id": "t2", "limit": 1000, "output_cap": 50})
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": PROMPT}]}
    x = await house.ask(body=body)
    assert x.body and x.body.doc["max_completion_tokens"] == 50
    assert [row[3] for row in await house.counts()] == [SIZE + 50] * 2
    await house.end(x)
    x = await house.ask(body=body, headers={"authorization": "AWS4-HMAC-SHA256 Credential=x"})
    assert x.body and not x.body.changed, "a signed body stays as it is"
    await house.end(x)
    x = await house.ask(body={**body, "max_tokens": 5, "n": 3})
    assert [row[3] for row in await house.counts()] == [SIZE + 15] * 2


@pytest.mark.parametrize(
    ("dialect", "path", "body"),
    [
        ("openai_embeddings", "/v1/embeddings", {"model": "text-embedding-3-small", "input": [[1] * 600]}),
        ("openai_chat", "/v1/completions", {"model": "davinci-002", "max_tokens": 5, "prompt": [5] * 600}),
    ],
)
async def test_prompts_of_token_ids(house: House, dialect: str, path: str, body: dict[str, Any]) -> None:
    """The count is exact, and a limit holds for it."""
    house.limit({**TEAM, "limit": 500})
    call = DIALECTS[dialect].read(body, path, {})
    x = await house.ask(dialect=DIALECTS[dialect], path=path, call=call)
    assert x.refusal and x.refusal.status == 429


async def test_nothing_resets(house: House) -> None:
    """402 where waiting is of no use."""
    house.limit({"id": "trial", "unit": "requests", "limit": 1, "per": "total"})
    await house.done(await house.ask())
    refusal = (await house.ask()).refusal
    assert refusal and (refusal.status, refusal.retry_after) == (402, None)


async def test_concurrent_calls(house: House) -> None:
    """One more than may be is told to come back soon; when one ends there is room."""
    house.limit({"id": "now", "unit": "concurrent", "limit": 2, "user": "each"})
    first, _ = await house.ask(), await house.ask()
    refusal = (await house.ask()).refusal
    assert refusal and "user 'unknown' used 2/2 concurrent calls" in refusal.reason and refusal.retry_after == 5
    await house.done(first)
    assert (await house.ask()).refusal is None


async def test_the_most_restrictive_is_named(house: House) -> None:
    """Of several that do not fit the fullest; what would only be observed never stands before it."""
    house.limit(
        {"id": "loose", "unit": "requests", "limit": 2, "per": "day"},
        {"id": "tight", "unit": "requests", "limit": 2, "per": "day", "team": "each", "hard_stop_at": 50},
        {"id": "seen", "unit": "requests", "limit": 1, "per": "hour", "mode": "observe"},
    )
    await house.done(await house.ask())
    x = await house.ask()
    assert x.refusal and x.refusal.rule_id == "tight"
    assert [v.rule_id for v in x.verdicts] == ["tight", "seen"]


DIMENSIONS = {
    "team": "red",
    "user": "ann",
    "tool": "codex",
    "namespace": "prod",
    "key": "k1",
    "provider": "openai",
    "model": "gpt-4o-mini",
}


@pytest.mark.parametrize("name", DIMENSIONS)
async def test_every_dimension(house: House, name: str) -> None:
    """Fixed or `each`, and of nobody else."""
    value = DIMENSIONS[name]
    identity = Identity(team="red", user="ann", tool="codex", namespace="prod", key="k1")
    fixed = {"id": "a", "unit": "requests", "limit": 5, "per": "day", name: value}
    house.limit(fixed, {**fixed, "id": "b", name: "each"}, {**fixed, "id": "c", name: "else"})
    await house.done(await house.ask(identity=identity))
    assert await house.counts() == [("a", f"{name}={value}", 1, 0), ("b", f"{name}={value}", 1, 0)]


async def test_models(house: House) -> None:
    """By pattern; names that callers make up share one count."""
    limit = {"unit": "requests", "limit": 5, "per": "day"}
    house.limit({**limit, "id": "a", "model": "GPT-4o-*"}, {**limit, "id": "b", "model": "each"})
    for model in ("gpt-4o-mini", "junk-1", "junk-2"):
        body = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
        await house.done(await house.ask(body=body))
    assert await house.counts() == [
        ("a", "model=GPT-4o-*", 1, 0),
        ("b", "model=gpt-4o-mini", 1, 0),
        ("b", "model=other", 2, 0),
    ]


SEVERAL = {
    "model": "gpt-4o-mini",
    "models": ["gpt-4o-mini", "o3"],
    "messages": [{"role": "user", "content": PROMPT}],
    "max_tokens": 10,
}
"""OpenRouter's: o3 may serve it as well."""


async def test_several_models_in_dollars(house: House) -> None:
    """What may be served by several is reserved at the dearest; one of unknown price makes it unknown."""
    prices = [Price(model="gpt-4o-mini", input="2", output="10"), Price(model="o3", input="1", output="100")]
    house.limit({"id": "usd", "unit": "dollars", "limit": "1", "per": "day"}, prices=prices)
    x = await house.ask(body=SEVERAL)
    assert await house.counts() == [("usd", "", 0, SIZE + 1000)]
    await house.done(x, Usage(prompt=1, completion=1), cost=12)
    assert await house.counts() == [("usd", "", 12, 0)]
    refusal = (await house.ask(body={**SEVERAL, "models": ["no-such-model"]})).refusal
    assert refusal and refusal.status == 402 and "'no-such-model'" in refusal.reason


@pytest.mark.parametrize(
    ("served", "used"), [("gpt-4o-mini-2024-07-18", (2, 2, 0, 0)), ("openai/o3", (0, 0, 2, 2)), (None, (2, 2, 2, 2))]
)
async def test_several_models(house: House, served: str | None, used: tuple[int, ...]) -> None:
    """It comes under the limits of each, and is charged to that which answered, as far as that is told."""
    limit = {"unit": "tokens", "limit": 5000, "per": "day"}
    house.limit({**limit, "id": "a", "model": "o3"}, {**limit, "id": "b", "model": "each"})
    x = await house.ask(body=SEVERAL)
    held = [(name, subject) for name, subject, _, reserved in await house.counts() if reserved == SIZE + 10]
    assert held == [("a", "model=o3"), ("b", "model=gpt-4o-mini"), ("b", "model=o3")]
    x.answer = Answer(model=served)
    await house.done(x, Usage(prompt=1, completion=1))
    mini, o3 = used[0], used[2]
    assert [(name, count) for name, _, count, _ in await house.counts()] == [("a", o3), ("b", mini), ("b", o3)]


async def test_operations_that_use_no_tokens(house: House) -> None:
    """Lists of models and counts of tokens take none; as requests they count."""
    house.limit({**TEAM, "limit": 0}, {"id": "calls", "unit": "requests", "limit": 9, "per": "day"})
    x = await house.ask(call=Call(Operation.MODELS))
    assert x.refusal is None
    await house.done(x)
    assert await house.counts() == [("calls", "", 1, 0)]


async def test_the_window_of_the_moment(house: House) -> None:
    """A new day begins at nothing; what was reserved before midnight is booked before midnight."""
    house.limit({"id": "day", "unit": "requests", "limit": 1, "per": "day"})
    await house.done(await house.ask())
    assert (await house.ask()).refusal
    house.clock.now += 86400
    assert (await house.ask()).refusal is None


async def test_a_request_that_runs_does_not_come_back(house: House) -> None:
    """Retry-After is the window's end from the first; tokens that are only set aside may be back in seconds."""
    house.limit({"id": "r", "unit": "requests", "limit": 1, "per": "day"}, {**TEAM, "team": "blue", "limit": SIZE + 15})
    first = await house.ask()
    refusal = (await house.ask()).refusal
    assert refusal and refusal.retry_after and refusal.retry_after > 5
    left = refusal.retry_after
    await house.done(first)
    again = (await house.ask()).refusal
    assert again and again.retry_after == left
    house.clock.now += 86400
    await house.ask(team="blue")
    house.limit({**TEAM, "team": "blue", "limit": SIZE + 15})
    held = (await house.ask(team="blue")).refusal
    assert held and held.retry_after == 5


async def test_observed_limits_never_refuse(house: House) -> None:
    """Whatever they cannot tell: a price, what the ledger says. It is recorded."""
    body = {"model": "nobody-knows", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 10}
    usd = {"id": "usd", "unit": "dollars", "limit": 5, "per": "day", "mode": "observe"}
    house.limit(usd)
    x = await house.ask(body=body)
    assert [(v.rule_id, v.mode.value, v.refuses) for v in x.verdicts] == [("usd", "observe", False)]
    await house.done(x, Usage(prompt=5))
    house.limit({**TEAM, "mode": "observe"})
    path = house.folder / FILE
    path.write_bytes(b"this is no database, whatever else it is" * 100)
    x = await house.ask()
    assert [(v.rule_id, v.mode.value, v.refuses) for v in x.verdicts] == [("quota.ledger", "observe", False)]
    await house.done(x, Usage(prompt=5))
    house.limit({**TEAM, "mode": "observe"}, {**TEAM, "id": "binds"})
    assert (await house.ask()).refusal


async def test_an_observed_limit_tells_what_went_beyond_it(house: House) -> None:
    """Of a call that began within it: an enforced one would have ended its stream."""
    house.limit({**TEAM, "limit": SIZE + 20, "mode": "observe"})
    x = await house.ask()
    assert not x.verdicts
    await house.done(x, Usage(prompt=SIZE, completion=21))
    ((rule, mode, reason),) = [(v.rule_id, v.mode.value, v.reason) for v in x.verdicts]
    assert (rule, mode) == (
        "team",
        "observe",
    ) and f"used {SIZE + 21}/{SIZE + 20} tokens this month, when this call" in reason
    x = await house.ask()
    await house.done(x, Usage(prompt=1))
    assert len(x.verdicts) == 1, "that it was full before is said once"


async def test_dollars_count_where_nobody_knows_who_pays(house: House) -> None:
    """Unknown is never free."""
    house.limit({"id": "usd", "unit": "dollars", "limit": 0, "per": "day"})
    assert (await house.ask(billing=Billing.UNKNOWN)).refusal
    assert (await house.ask(billing=Billing.LOCAL)).refusal is None
    nothing = Call(Operation.OTHER)
    assert (await house.ask(billing=Billing.UNKNOWN, call=nothing)).refusal is None, "telemetry, a login"
    assert (await house.ask(billing=Billing.METERED, call=nothing)).refusal


@pytest.mark.parametrize("unit", ["tokens", "requests", "concurrent"])
async def test_billing_holds_for_every_unit(house: House, unit: str) -> None:
    """A limit for plans counts their calls alone."""
    limit = {"id": "plan", "unit": unit, "limit": 0, "billing": ["subscription"]}
    house.limit(limit if unit == "concurrent" else {**limit, "per": "day"})
    assert (await house.ask()).refusal is None
    assert (await house.ask(billing=Billing.SUBSCRIPTION)).refusal


async def test_when_a_rolling_window_has_room(house: House) -> None:
    """Retry-After is when enough has left, not when the next sixtieth begins."""
    house.limit({"id": "r", "unit": "requests", "limit": 2, "rolling": "10m", "team": "each"})
    for _ in range(2):
        await house.done(await house.ask())
        house.clock.now += 200
    late = await house.ask()
    assert late.refusal and late.refusal.retry_after == 600 + 10 - 400
    house.clock.now += 209
    assert (await house.ask()).refusal
    house.clock.now += 1
    assert (await house.ask()).refusal is None


async def test_a_changed_file_keeps_the_counts(house: House) -> None:
    """A raised limit goes on from what was used; a call keeps the rules it began with."""
    house.limit({**TEAM, "limit": 100})
    first = await house.ask()
    house.limit({**TEAM, "limit": 1000})
    await house.done(first, Usage(prompt=95))
    x = await house.ask()
    assert x.refusal is None and x.answer_headers["x-mesh-quota-pct"] == "9%"


async def test_who_is_cancelled_while_asking_leaves_nothing(house: House) -> None:
    """The ledger may have done it: finish() gives it back."""
    house.limit(TEAM)
    for _ in range(5):
        x = house.call()
        task = asyncio.create_task(house.stage.request(x))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await house.end(x)
    assert [row[2:] for row in await house.counts()] in ([], [(0, 0)])


@pytest.mark.parametrize(("shares", "said"), [(False, "problem"), (True, "warning")])
async def test_health_while_redis_is_away(tmp_path: Path, shares: bool, said: str) -> None:
    """Not ready where calls are refused; where they go on with a share, it is a warning."""
    inner = RedisLedger(f"unix://{tmp_path}/nobody.sock")
    stage = Quota(lambda _: SharingLedger(inner, 10, "n", Journal(tmp_path)) if shares else inner)
    stage.configure(Rules(quotas=Quotas.model_validate({"limits": [TEAM]})))
    await stage.start()
    async with asyncio.timeout(10):
        while len(stage.health()) == 1:  # until it has looked
            await asyncio.sleep(0.01)
    assert set(stage.health()) == {"limits", said}
    await stage.stop()


async def test_a_damaged_ledger_refuses_and_recovers(house: House) -> None:
    """503 while the file is no database, and at once again when it is mended."""
    house.limit(TEAM)
    path = house.folder / FILE
    path.write_bytes(b"this is no database, whatever else it is" * 100)
    x = await house.ask()
    assert x.refusal and (x.refusal.status, x.refusal.type) == (503, "quota_unavailable")
    assert "problem" in house.stage.health()
    await house.end(x)
    path.unlink()
    assert (await house.ask()).refusal is None
    assert "problem" not in house.stage.health()


async def test_a_removed_ledger_is_noticed(house: House) -> None:
    """Counting goes on in a file that is there, and others see: not in one that was deleted."""
    house.limit(TEAM)
    await house.done(await house.ask(), Usage(prompt=20))
    for path in house.folder.glob(f"{FILE}*"):
        path.unlink()
    x = await house.ask()
    assert x.refusal and x.refusal.status == 503 and "removed" in house.stage.health()["problem"]
    await house.end(x)
    assert (await house.ask()).refusal is None
    assert (house.folder / FILE).exists() and "problem" not in house.stage.health()


async def test_a_locked_ledger_refuses_and_recovers(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody holds the file: 503; what ended meanwhile is settled when it is free."""
    monkeypatch.setattr(in_sqlite, "BUSY_MS", 50)
    house.limit(TEAM)
    x = await house.ask()
    other = sqlite3.connect(house.folder / FILE, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    late = await house.ask()
    assert late.refusal and late.refusal.status == 503
    await house.done(x, Usage(prompt=21))
    await house.end(late)
    other.execute("ROLLBACK")
    other.close()
    books = house.stage._books
    assert books and books.problem and "locked" in books.problem
    await house.stage.stop()
    ledger = SqliteLedger(house.folder, house.clock)
    assert [(c.used, c.reserved) for c in await ledger.counts()] == [(21, 0)]
    await ledger.close()


async def test_a_full_disk_refuses(house: House) -> None:
    """What cannot be written down does not pass."""
    house.limit(TEAM)
    x = await house.ask()
    books = house.stage._books
    assert books and isinstance(books.ledger, SqliteLedger) and books.ledger._conn
    pages = books.ledger._conn.execute("PRAGMA page_count").fetchone()[0]
    books.ledger._conn.execute(f"PRAGMA max_page_count={pages}")
    seen = []
    for number in range(200):
        seen.append((await house.ask(team=f"a-team-of-a-rather-long-name-{number}")).refusal)
        if seen[-1]:
            break
    assert seen[-1] and seen[-1].status == 503
    assert (await house.ask(team="later")).refusal is None, "opened anew, there is room again"
    await house.done(x)


async def test_stop_settles(house: House) -> None:
    """What finish() began is done before the process ends."""
    house.limit(TEAM)
    x = await house.ask()
    x.forwarded, x.times.sent, x.usage = True, 1.0, Usage(prompt=33)
    house.stage.finish(x)
    await house.stage.stop()
    ledger = SqliteLedger(house.folder, house.clock)
    assert [(c.used, c.reserved) for c in await ledger.counts()] == [(33, 0)]
    await ledger.close()


async def test_loops(house: House) -> None:
    """Warned, then stopped; another session, or another step, goes on."""
    house.limit(loops={"warn": 3, "stop": 5})

    def turn(step: str, session: str = "s1") -> dict[str, Any]:
        history = [{"role": "user", "content": "Fix the tests"}, {"role": "assistant", "content": "ok"}]
        return {"model": "m", "session_id": session, "messages": [*history, {"role": "user", "content": step}]}

    seen = []
    for number in range(6):
        x = await house.ask(body=turn(f"pytest failed at 12:0{number}: 3 failed, 7 passed in the module of the parser"))
        seen.append(x.refusal.type if x.refusal else x.answer_headers.get("x-mesh-quota-warn", "")[:5])
    assert seen == ["", "", "Loop:", "Loop:", "loop_detected", "loop_detected"]
    assert (await house.ask(body=turn("All of them pass now, what is next on the list of things?"))).refusal is None
    assert not (await house.ask(body=turn("pytest failed", "s2"))).verdicts


async def test_a_loop_that_is_observed_stays_warned(house: House) -> None:
    """It goes on, so its answers go on to say it; where no warning is wanted none is given."""
    for warn, told in ((2, ["", "Loop:", "Loop:", "Loop:"]), (None, [""] * 4)):
        house.limit(loops={"warn": warn, "stop": 3, "mode": "observe"})
        asked = [await house.ask(body=said("pytest failed in the parser", f"session-{warn}")) for _ in range(4)]
        assert [x.answer_headers.get("x-mesh-quota-warn", "")[:5] for x in asked] == told
        assert [v.action.value for x in asked[2:] for v in x.verdicts] == ["refuse"] * 2
        assert not any(x.refusal for x in asked)


LOOPS = {"warn": 3, "stop": 5, "alike": 60}
FAILED = "pytest failed at 12:0{}: 3 failed, 7 passed in the module of the parser, which reads the header of {}"


def said(text: str, session: str = "session-one") -> dict[str, Any]:
    """A turn of a session."""
    return {"model": "m", "session_id": session, "messages": [{"role": "user", "content": text}]}


async def refused(workers: list[House], texts: list[str]) -> list[bool]:
    """Were they, one after the other, each by the next worker?"""
    asked = [await workers[n % len(workers)].ask(body=said(text)) for n, text in enumerate(texts)]
    return [x.refusal is not None for x in asked]


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[list[House]]:
    """Three of one folder, without any limit."""
    made = [House(tmp_path) for _ in range(3)]
    for house in made:
        repeats = partial(Repeats, tmp_path, house.clock)
        house.stage = Quota(house.stage._opened, house.clock, repeats)
        house.limit(loops=LOOPS)
    yield made
    for house in made:
        await house.stage.stop()


async def test_workers_tell_each_other_of_loops(workers: list[House], tmp_path: Path) -> None:
    """What each saw twice the others know: with three the sixth step is stopped, not the thirteenth; in other words,
    nearly, too; another session, or another step, goes on."""
    texts = [FAILED.format(n, "files" if n % 2 else "the files") for n in range(8)]
    assert await refused(workers, texts) == [False] * 5 + [True] * 3
    assert (await workers[0].ask(body=said(texts[0], "s2"))).refusal is None
    assert not any(await refused(workers, [f"{word} is what comes next, and is done with care" for word in "abcde"]))
    told = (tmp_path / FILE).read_bytes() + (tmp_path / f"{FILE}-wal").read_bytes()
    assert b"steps" in told and b"pytest" not in told and b"session-one" not in told


async def test_a_step_that_varies_is_told_once(workers: list[House]) -> None:
    """All that one worker takes for the same step is one row of it: nothing is counted twice."""
    one, two = (house.limit(loops={**LOOPS, "stop": 6}) for house in workers[:2])
    assert not any(await refused([one], [FAILED.format(n, "files" if n % 2 else "the files") for n in range(3)]))
    assert await refused([two] * 2, [FAILED.format(7, "files")] * 3) == [False, False, True]  # 3 there, 3 here


async def test_old_steps_are_no_loop(workers: list[House], monkeypatch: pytest.MonkeyPatch) -> None:
    """What another worker saw before the rules' minutes does not count."""
    assert not any(await refused(workers[:1], [FAILED] * 4))
    for house in workers:
        house.clock.now += 601
    assert not any(await refused(workers[1:2], [FAILED] * 4))


async def test_loops_without_the_file(workers: list[House], tmp_path: Path) -> None:
    """Each worker counts by itself."""
    (tmp_path / FILE).mkdir()
    assert await refused(workers[:1], [FAILED] * 5) == [False] * 4 + [True]
