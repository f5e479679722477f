"""Random interleavings against a simple model: reservations never over the limit, nothing leaked."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mitmesh.quotas.ledger import ALL, Grant, Key, Ledger, Want, refused
from mitmesh.quotas.windows import window
from mitmesh.rules.quotas import Limit
from quotas.conftest import NOON, Clock, make

LEASE = 60
LIMITS = [
    (Limit(id="minute", unit="tokens", limit="100", per="minute"), 100),
    (Limit(id="rolling", unit="tokens", limit="150", rolling="5m"), 150),
    (Limit(id="total", unit="requests", limit="12", per="total"), 12),
]
_numbers = itertools.count()

amounts = st.integers(0, 60)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), amounts, amounts),
        st.tuples(st.just("top_up"), st.integers(0, 9), amounts),
        st.tuples(st.just("settle"), st.integers(0, 9), amounts),
        st.tuples(st.just("abort"), st.integers(0, 9)),
        st.tuples(st.just("crash"), st.integers(0, 9)),
        st.tuples(st.just("beat")),
        st.tuples(st.just("grant"), st.sampled_from([limit.id for limit, _ in LIMITS]), amounts),
        st.tuples(st.just("revoke")),
        st.tuples(st.just("clock"), st.sampled_from([1, 7, 45, 61, 130, -1, -50])),
    ),
    max_size=40,
)


@dataclass
class Hold:
    slot: int
    sunk: int
    rest: int
    charged: int = 0


@dataclass
class Open:
    wants: list[Want]
    lease: int
    holds: dict[Key, Hold]
    lapsed: bool = False
    dead: bool = False


@dataclass
class Model:
    """What a ledger should say, written as plainly as can be."""

    clock: Clock
    used: dict[tuple[Key, int], int] = field(default_factory=dict)
    calls: dict[str, Open] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)

    def reap(self) -> None:
        for call in self.calls.values():
            if not call.lapsed and call.lease < self.clock.now:
                call.lapsed = True
                for key, hold in call.holds.items():
                    self.book(key, hold.slot, hold.sunk)
                    hold.charged += hold.sunk
                    hold.sunk = hold.rest = 0

    def book(self, key: Key, slot: int, amount: int) -> None:
        self.used[key, slot] = self.used.get((key, slot), 0) + amount

    def reserved(self, key: Key, first: int, last: int) -> int:
        return sum(
            hold.sunk + hold.rest
            for call in self.calls.values()
            for own, hold in call.holds.items()
            if own == key and first <= hold.slot <= last
        )

    def total(self, want: Want) -> int:
        used = sum(n for (key, slot), n in self.used.items() if key == want.key and want.first <= slot <= want.last)
        return used + self.reserved(want.key, want.first, want.last)

    def granted(self, key: Key) -> int:
        return sum(g.amount for g in self.grants.values() if g.limit == key.limit and g.expires > self.clock.now)

    def reserve(self, name: str, wants: list[Want]) -> bool:
        self.reap()
        if any(self.total(w) + w.sunk + w.rest > w.most + self.granted(w.key) for w in wants):
            return False
        call = self.calls.setdefault(name, Open(wants, 0, {}))
        call.lease, call.lapsed = self.clock.now + LEASE, False
        for w in wants:
            hold = call.holds.setdefault(w.key, Hold(w.slot, 0, 0))
            hold.sunk, hold.rest = hold.sunk + w.sunk, hold.rest + w.rest
        return True

    def settle(self, name: str, spent: dict[str, int]) -> None:
        for key, hold in self.calls.pop(name).holds.items():
            self.book(key, hold.slot, spent.get(key.text, 0) - hold.charged)

    def rows(self) -> dict[tuple[str, int], tuple[int, int]]:
        keys = set(self.used) | {(key, hold.slot) for call in self.calls.values() for key, hold in call.holds.items()}
        found = {
            (key.text, slot): (self.used.get((key, slot), 0), self.reserved(key, slot, slot)) for key, slot in keys
        }
        return {place: row for place, row in found.items() if row != (0, 0)}


class Run:
    """One sequence of steps, put to a ledger and to the model."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger, self.clock, self.model = ledger, clock, Model(clock)
        self.names = itertools.count()

    def wants(self, sunk: int, rest: int) -> list[Want]:
        made = []
        for limit, most in LIMITS:
            at = window(limit, self.clock.now)
            key = Key(limit.id, f"{limit.unit}/{limit.per or limit.rolling}", "")
            took = (1, 0) if limit.unit == "requests" else (sunk, rest)
            made.append(Want(key, at.slot, at.first, at.last, at.expires, most, *took))
        return made

    def pick(self, index: int) -> str | None:
        alive = [name for name, call in self.model.calls.items() if not call.dead]
        return alive[index % len(alive)] if alive else None

    async def step(self, what: str, *rest: Any) -> None:
        await getattr(self, what)(*rest)
        await self.check()

    async def reserve(self, sunk: int, rest: int) -> None:
        name, wants = f"call{next(self.names)}", self.wants(sunk, rest)
        fits = not refused(wants, await self.ledger.reserve(name, wants, LEASE))
        assert fits == self.model.reserve(name, wants)

    async def top_up(self, index: int, rest: int) -> None:
        if name := self.pick(index):
            # A call's later reservations lie in the window it began in.
            wants = [
                Want(w.key, w.slot, w.first, w.last, w.expires, w.most, 0, rest)
                for w in self.model.calls[name].wants
                if w.key.limit != "total"
            ]
            fits = not refused(wants, await self.ledger.reserve(name, wants, LEASE))
            assert fits == self.model.reserve(name, wants)

    async def settle(self, index: int, amount: int) -> None:
        if name := self.pick(index):
            held = self.model.calls[name].holds
            spent = {key.text: min(amount, hold.charged + hold.sunk + hold.rest) for key, hold in held.items()}
            await self.ledger.settle(name, spent)
            self.model.settle(name, spent)

    async def abort(self, index: int) -> None:
        if name := self.pick(index):
            await self.ledger.settle(name, {})
            self.model.settle(name, {})

    async def crash(self, index: int) -> None:
        if name := self.pick(index):
            self.model.calls[name].dead = True

    async def beat(self) -> None:
        alive = [name for name, call in self.model.calls.items() if not call.dead]
        lapsed = await self.ledger.beat(alive, LEASE)
        assert set(lapsed) == {name for name in alive if self.model.calls[name].lapsed}
        for name in set(alive) - set(lapsed):
            self.model.calls[name].lease = self.clock.now + LEASE

    async def grant(self, limit: str, amount: int) -> None:
        grant = Grant(f"g{next(self.names)}", limit, ALL, amount, self.clock.now + 100, "", "ann")
        await self.ledger.grant(grant)
        self.model.grants[grant.id] = grant

    async def revoke(self) -> None:
        if self.model.grants:
            name = next(iter(self.model.grants))
            del self.model.grants[name]
            await self.ledger.revoke(name)

    async def clock_step(self, seconds: int) -> None:
        self.clock.now += seconds

    async def check(self) -> None:
        """The ledger says what the model says."""
        self.model.reap()
        rows = {(c.key.text, c.slot): (c.used, c.reserved) for c in await self.ledger.counts()}
        rows = {place: row for place, row in rows.items() if row != (0, 0)}
        assert rows == self.model.rows()

    async def end(self) -> None:
        """All that lives is settled, all that died has lapsed: nothing is reserved any more."""
        for name in [name for name, call in self.model.calls.items() if not call.dead]:
            await self.ledger.settle(name, {})
            self.model.settle(name, {})
        self.clock.now = NOON + 20_000  # it may have been set back, and leases are by it
        await self.check()
        assert all(count.reserved == 0 for count in await self.ledger.counts())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_interleavings(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Reserve, top up, settle, abort, crash, grant, revoke, and a clock that steps forth and back."""
    url = request.getfixturevalue("redis_url") if kind == "redis" else None

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(steps)
    def holds(sequence: list[tuple[Any, ...]]) -> None:
        async def run() -> None:
            clock = Clock()
            folder = tmp_path / str(next(_numbers))
            ledger = make(kind, folder, url, clock)
            one = Run(ledger, clock)
            try:
                for what, *rest in sequence:
                    await one.step("clock_step" if what == "clock" else what, *rest)
                await one.end()
            finally:
                await ledger.close()

        asyncio.run(run())

    holds()


def test_the_model_is_no_tautology() -> None:
    """A ledger that forgot to reserve would be found: the model refuses what the limit does not hold."""
    clock = Clock()
    model = Model(clock)
    want = Want(Key("a", "b", ""), NOON, NOON, NOON, NOON, 10, 6, 0)
    assert model.reserve("x", [want]) and not model.reserve("y", [want])
