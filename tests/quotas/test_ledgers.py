"""What every ledger promises: the same tests for SQLite and Redis."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mitmesh.quotas.in_redis import RedisLedger
from mitmesh.quotas.ledger import ALL, Grant, Key, Ledger, Standing, Want, refused
from quotas.conftest import NOON, Clock

LEASE = 60
KEY = Key("team-month", "tokens/month", "team=red")


def want(most: int, sunk: int, rest: int = 0, **rest_: Any) -> Want:
    fields = {"key": KEY, "slot": NOON, "first": NOON, "last": NOON, "expires": NOON + 10**6, "binding": True} | rest_
    return Want(most=most, sunk=sunk, rest=rest, **fields)


async def stands(ledger: Ledger, key: Key = KEY) -> tuple[int, int]:
    """Used and reserved of a key, over all slots."""
    mine = [count for count in await ledger.counts() if count.key == key]
    return sum(count.used for count in mine), sum(count.reserved for count in mine)


async def test_what_fits_is_taken_and_settled(ledger: Ledger) -> None:
    """A reservation counts at once; settled, what was used counts and the rest is free."""
    assert await ledger.reserve("a", [want(100, 30, 40)], LEASE) == [Standing(0, 0, 0, False)]
    assert await stands(ledger) == (0, 70)
    assert await ledger.reserve("b", [want(100, 30)], LEASE) == [Standing(0, 70, 0, False)]
    assert await ledger.reserve("c", [want(100, 1)], LEASE) == [Standing(0, 100, 0, True)]
    await ledger.settle("a", {KEY.text: 45})
    assert await stands(ledger) == (45, 30)
    await ledger.settle("a", {KEY.text: 45})
    assert await stands(ledger) == (45, 30), "a second time changes nothing"
    await ledger.settle("b", {})
    assert await stands(ledger) == (45, 0)


async def test_all_or_nothing(ledger: Ledger) -> None:
    """Where one of several does not fit, none is taken, and each says how it stands."""
    other = Key("global", "requests/day", "")
    first = [want(100, 60), want(1, 1, key=other)]
    assert not refused(first, await ledger.reserve("a", first, LEASE))
    standings = await ledger.reserve("b", first, LEASE)
    assert [each.over for each in standings] == [True, True]
    assert [each.over for each in await ledger.reserve("c", [want(100, 40), want(1, 1, key=other)], LEASE)] == [
        False,
        True,
    ]
    assert await stands(ledger) == (0, 60)


async def test_what_does_not_bind_is_taken_all_the_same(ledger: Ledger) -> None:
    """An observed limit says that it is over, and goes on counting."""
    one = [want(10, 20, binding=False)]
    standings = await ledger.reserve("a", one, LEASE)
    assert standings[0].over and not refused(one, standings)
    assert await stands(ledger) == (0, 20)


async def test_more_for_a_call_that_runs(ledger: Ledger) -> None:
    """A top-up is held on top, and settled with the rest."""
    await ledger.reserve("a", [want(100, 10, 20)], LEASE)
    await ledger.reserve("a", [want(100, 0, 60)], LEASE)
    assert (await ledger.reserve("a", [want(100, 0, 20)], LEASE))[0].over
    assert await stands(ledger) == (0, 90)
    await ledger.settle("a", {KEY.text: 88})
    assert await stands(ledger) == (88, 0)


async def test_of_a_crashed_worker_the_prompt_is_spent_and_the_output_free(ledger: Ledger, clock: Clock) -> None:
    """Once the lease has ended; a call that beats keeps what it holds."""
    await ledger.reserve("dead", [want(100, 10, 20)], LEASE)
    await ledger.reserve("alive", [want(100, 5, 20)], LEASE)
    clock.now += LEASE - 1
    assert await ledger.beat(["alive"], LEASE) == []
    assert await stands(ledger) == (0, 55)
    clock.now += 2
    assert await stands(ledger) == (10, 25)
    assert (await ledger.reserve("next", [want(100, 66)], LEASE))[0].over
    assert not (await ledger.reserve("next", [want(100, 65)], LEASE))[0].over


async def test_a_call_thought_dead_is_settled_right(ledger: Ledger, clock: Clock) -> None:
    """Its prompt was charged when its lease ended: at settling only what is beyond that is added."""
    await ledger.reserve("a", [want(100, 10, 20)], LEASE)
    clock.now += LEASE + 1
    assert await stands(ledger) == (10, 0)
    assert await ledger.beat(["a"], LEASE) == ["a"], "it is told"
    await ledger.reserve("a", [want(100, 0, 15)], LEASE)
    assert await stands(ledger) == (10, 15)
    assert await ledger.beat(["a"], LEASE) == []
    await ledger.settle("a", {KEY.text: 24})
    assert await stands(ledger) == (24, 0)


async def test_a_call_thought_dead_gives_back_what_it_did_not_use(ledger: Ledger, clock: Clock) -> None:
    """Also below what was charged."""
    await ledger.reserve("a", [want(100, 10, 20)], LEASE)
    clock.now += LEASE + 1
    assert await stands(ledger) == (10, 0)
    await ledger.settle("a", {})
    assert await stands(ledger) == (0, 0)


async def test_slots_of_a_rolling_window(ledger: Ledger) -> None:
    """Counted is what lies in the window; what was booked in it stays under its own slot."""
    for slot in (10, 20, 30):
        await ledger.reserve(f"c{slot}", [want(1000, 10, slot=NOON + slot, first=NOON, last=NOON + 60)], LEASE)
        await ledger.settle(f"c{slot}", {KEY.text: 10})
    seen = await ledger.reserve("x", [want(29, 10, slot=NOON + 40, first=NOON + 20, last=NOON + 80)], LEASE)
    assert seen == [Standing(20, 0, 0, True, NOON + 20)]
    seen = await ledger.reserve("x", [want(29, 9, slot=NOON + 40, first=NOON + 20, last=NOON + 80)], LEASE)
    assert seen == [Standing(20, 0, 0, False)]


@pytest.mark.parametrize(
    ("asked", "leaves"), [(10, 10), (20, 10), (21, 20), (40, 20), (41, 30), (100, 30), (101, 30), (500, 30)]
)
async def test_what_has_to_leave_a_rolling_window(ledger: Ledger, asked: int, leaves: int) -> None:
    """Of a limit for 100 with 20, 20 and 60 in it, the last reserved: the slot after which so much fits, or the last
    where it never will. A calendar window has none."""
    window = {"first": NOON, "last": NOON + 60}
    for slot, amount in ((10, 20), (20, 20), (30, 60)):
        await ledger.reserve(f"c{slot}", [want(1000, 0, amount, slot=NOON + slot, **window)], LEASE)
        if slot < 30:
            await ledger.settle(f"c{slot}", {KEY.text: amount})
    (seen,) = await ledger.reserve("x", [want(100, asked, slot=NOON + 40, **window)], LEASE)
    assert (seen.over, seen.leaves) == (True, NOON + leaves)
    (seen,) = await ledger.reserve("x", [want(5, 100, slot=NOON + 10, first=NOON + 10, last=NOON + 10)], LEASE)
    assert (seen.over, seen.leaves) == (True, None)


async def test_what_is_long_over_is_forgotten(ledger: Ledger, clock: Clock) -> None:
    """A count's rows go when its window is well past."""
    await ledger.reserve("a", [want(100, 10, expires=NOON + 100)], LEASE)
    await ledger.settle("a", {KEY.text: 10})
    clock.now += 101
    await ledger.beat([], LEASE)
    assert await stands(ledger) == (0, 0)


@pytest.mark.parametrize("unit", [KEY.unit, ""])
@pytest.mark.parametrize("subject", [KEY.subject, ALL])
async def test_grants(ledger: Ledger, clock: Clock, subject: str, unit: str) -> None:
    """More until it expires, for one subject or for each; revoked it ends at once."""
    grant = Grant("g1", KEY.limit, subject, 10**12, NOON + 3600, "a launch", "ann", unit)
    await ledger.grant(grant)
    assert await ledger.grants() == [grant]
    large = [want(100, 500)]
    assert await ledger.reserve("a", large, LEASE) == [Standing(0, 0, 10**12, False)]
    await ledger.settle("a", {KEY.text: 500})
    assert await ledger.revoke("g1") and not await ledger.revoke("g1")
    assert (await ledger.reserve("b", [want(100, 1)], LEASE))[0].over
    await ledger.grant(grant)
    clock.now += 3600
    assert (await ledger.reserve("c", [want(100, 1)], LEASE))[0].over
    assert await ledger.grants() == []


async def test_a_grant_is_for_its_limit_and_subject_alone(ledger: Ledger) -> None:
    """Another team, another limit, or the same one in another unit, has nothing of it."""
    await ledger.grant(Grant("g1", KEY.limit, "team=blue", 1000, NOON + 3600, "", "ann"))
    await ledger.grant(Grant("g2", "other", ALL, 1000, NOON + 3600, "", "ann"))
    await ledger.grant(Grant("g3", KEY.limit, ALL, 1000, NOON + 3600, "", "ann", "dollars"))
    assert (await ledger.reserve("a", [want(10, 11)], LEASE))[0].over


async def test_large_amounts_are_exact(ledger: Ledger) -> None:
    """A million dollars in micro-dollars, a thousand times, to the last one."""
    million = 10**12
    for number in range(1000):
        await ledger.reserve(f"c{number}", [want(2**52, million, 1)], LEASE)
        await ledger.settle(f"c{number}", {KEY.text: million + 1})
    assert await stands(ledger) == (1000 * million + 1000, 0)


async def test_many_at_once_let_through_what_fits(ledger: Ledger) -> None:
    """200 at the same moment against a limit for 50."""
    seen = await asyncio.gather(*(ledger.reserve(f"c{number}", [want(500, 4, 6)], LEASE) for number in range(200)))
    assert sum(not each[0].over for each in seen) == 50
    assert await stands(ledger) == (0, 500)


@pytest.mark.parametrize("expires", [1_000, NOON + 100], ids=["long ago", "sooner"])
async def test_an_old_slot_does_not_end_the_others(ledger: Ledger, expires: int) -> None:
    """What is set right in a window that is over leaves the count of this one, for as long as it is needed."""
    await ledger.reserve("a", [want(100, 30)], LEASE)
    await ledger.settle("a", {KEY.text: 30})
    old = want(0, 0, slot=0, first=0, last=0, expires=expires, binding=False)
    await ledger.reserve("late", [old], LEASE)
    await ledger.settle("late", {KEY.text: -5})
    if isinstance(ledger, RedisLedger):
        lasts = await ledger._redis.expiretime(f"{ledger._prefix}c:{KEY.text}")
        assert lasts == NOON + 10**6
    (standing,) = await ledger.reserve("b", [want(100, 1)], LEASE)
    assert (standing.used, standing.reserved) == (30, 0)


async def test_what_is_told_of_an_answer_is_told_once(ledger: Ledger) -> None:
    """By its name; the last word holds; of what was not told there is nothing."""
    assert await ledger.due("a") is None
    await ledger.defer("a", "[1]")
    await ledger.defer("a", '["\u00fc", 2]')
    await ledger.defer("b", "[3]")
    assert [await ledger.due(name) for name in ("a", "a", "b")] == ['["\u00fc", 2]', None, "[3]"]
