"""What a node may spend while Redis is away: a share of each limit, set aside in Redis while it is there.

What is spent from a share was reserved before, so all nodes together never get more through than the limit. A share
ends with its lease (by our own monotonic clock, a minute early): by then Redis has charged it as spent, and corrects
that when we are back, or when another worker finds in the journal what we spent. Places of concurrent calls are given
back: a worker that is no more runs none.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from mitmesh.quotas.journal import Journal, Spent
from mitmesh.quotas.ledger import Count, Grant, Ledger, LedgerAway, Standing, Want, refused

log = logging.getLogger(__name__)

SHARE_SECONDS = 900
"""How long a node may go on without Redis."""
MARGIN = 60
"""Seconds before the end of its lease from which on a share is not spent."""
MOST_SHARES = 1_000
"""Counts of which a share is kept, the latest used."""
MOST_RESTS = 10_000
"""Calls that may wait to be settled, as in Books."""
CONCURRENT = "concurrent"
AWAY_SECONDS = 5.0
"""How long Redis is not asked again for a call, when it has just not answered."""


@dataclass(slots=True)
class _Share:
    """Set aside under the call `name`: `open` is held by calls that run here, `spent` was used by those that ended."""

    name: str
    want: Want
    seen: Standing
    until: float
    open: int = 0
    spent: int = 0

    @property
    def amount(self) -> int:
        return self.want.sunk + self.want.rest

    @property
    def left(self) -> int:
        return self.amount - self.open - self.spent

    @property
    def told(self) -> Spent:
        """What it spends, if all ends now: of places for concurrent calls nothing."""
        places = self.want.key.unit == CONCURRENT
        return Spent(self.name, self.want.key.text, 0 if places else self.open + self.spent)


@dataclass(slots=True)
class _Local:
    """What a call holds of shares, by key; `whole`: it holds nothing in Redis."""

    parts: dict[str, tuple[_Share, int]]
    whole: bool


class SharingLedger:
    """A ledger that goes on with its shares while `inner` is away. `percent` of what is left is set aside; `node` names
    this process; what is spent is in the `journal` before it is; `clock` is monotonic."""

    meanwhile = "calls go on with this node's share of each limit, and are refused beyond it"

    def __init__(
        self, inner: Ledger, percent: int, node: str, journal: Journal, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._inner, self._percent, self._node, self._clock = inner, percent, node, clock
        self._journal, self._mute = journal, False
        self._numbers = itertools.count()
        self._seen: OrderedDict[str, tuple[Want, Standing]] = OrderedDict()
        self._shares: dict[str, _Share] = {}
        self._retired: list[_Share] = []
        self._calls: dict[str, _Local] = {}
        self._held: set[str] = set()
        self._rest: dict[str, Mapping[str, int]] = {}
        self._away_until = 0.0

    async def reserve(self, call: str, wants: Sequence[Want], lease: int) -> list[Standing]:
        """See Ledger. Where Redis is away, or has no more, from the shares; LedgerAway where there is none."""
        try:
            standings = await self._ask(call, wants, lease)
        except LedgerAway:
            return await self._take(call, wants)
        self._note(wants, standings)
        if refused(wants, standings):
            return await self._take(call, wants) if self._fits(wants) else standings
        self._held.add(call)
        if call in self._calls:
            self._calls[call].whole = False
        return standings

    async def settle(self, call: str, spent: Mapping[str, int]) -> None:
        """See Ledger. Of what a call took from shares as much is booked there; tried again, nothing is booked twice."""
        local = self._calls.pop(call, None)
        self._held.discard(call)
        if local:
            self._rest[call] = self._book(local, spent)
            while len(self._rest) > MOST_RESTS:
                self._rest.pop(next(iter(self._rest)))
        rest = self._rest.get(call, spent)
        await self._inner.settle(call, rest)
        self._rest.pop(call, None)

    async def beat(self, calls: Sequence[str], lease: int) -> list[str]:
        """See Ledger. Also keeps the shares, and makes new ones of those that were touched."""
        began = self._clock()
        lapsed = await self._inner.beat(calls, lease)
        names = {share.name: share for share in (*self._shares.values(), *self._retired)}
        gone = set(await self._inner.beat(list(names), SHARE_SECONDS))
        for name, share in names.items():
            share.until = 0.0 if name in gone else began + SHARE_SECONDS - MARGIN
        self._away_until = 0.0
        await self._renew()
        await self._adopt()
        return [call for call in lapsed if not self.holds(call)]

    def holds(self, call: str) -> bool:
        """Where it is held by shares alone, which go on."""
        local = self._calls.get(call)
        return (
            local is not None and local.whole and all(self._clock() < share.until for share, _ in local.parts.values())
        )

    async def counts(self) -> list[Count]:
        """See Ledger."""
        return await self._inner.counts()

    async def grants(self) -> list[Grant]:
        """See Ledger."""
        return await self._inner.grants()

    async def grant(self, grant: Grant) -> None:
        """See Ledger."""
        await self._inner.grant(grant)

    async def revoke(self, grant: str) -> bool:
        """See Ledger."""
        return await self._inner.revoke(grant)

    async def defer(self, answer: str, told: str) -> None:
        """See Ledger."""
        await self._inner.defer(answer, told)

    async def due(self, answer: str) -> str | None:
        """See Ledger."""
        return await self._inner.due(answer)

    async def close(self) -> None:
        """Give the shares back, and close."""
        try:
            for share in (*self._shares.values(), *self._retired):
                await self._give_back(share.told)
        except LedgerAway:
            pass  # their lease's end charges them, and what is in the journal corrects that
        await asyncio.gather(self._inner.close(), self._journal.close())

    async def _ask(self, call: str, wants: Sequence[Want], lease: int) -> list[Standing]:
        if self._clock() < self._away_until:
            raise LedgerAway("Redis did not answer just now")
        try:
            return await self._inner.reserve(call, wants, lease)
        except LedgerAway:
            self._away_until = self._clock() + AWAY_SECONDS
            raise

    def _note(self, wants: Sequence[Want], standings: Sequence[Standing]) -> None:
        for want, standing in zip(wants, standings, strict=True):
            if want.binding:
                self._seen[want.key.text] = want, standing
                self._seen.move_to_end(want.key.text)
        while len(self._seen) > MOST_SHARES:
            self._seen.popitem(last=False)

    # --- spending ---

    def _share(self, want: Want) -> _Share | None:
        """The share that this want can be taken from: of its count, in its window, and held still."""
        share = self._shares.get(want.key.text)
        good = share and want.first <= share.want.slot <= want.last and self._clock() < share.until
        return share if good else None

    def _fits(self, wants: Sequence[Want]) -> bool:
        shares = [(want, self._share(want)) for want in wants if want.binding]
        return all(share and want.sunk + want.rest <= share.left for want, share in shares)

    async def _take(self, call: str, wants: Sequence[Want]) -> list[Standing]:
        shares = {want.key.text: self._share(want) for want in wants if want.binding}
        if None in shares.values():
            raise LedgerAway("Redis is away, and this node has no share of the limit")
        fits = self._fits(wants)
        local = self._calls.get(call) or _Local({}, whole=call not in self._held)
        standings = []
        for want in wants:
            share, amount = shares.get(want.key.text), want.sunk + want.rest
            if share is None:
                standings.append(Standing(0, 0, 0, over=False))
                continue
            standings.append(replace(share.seen, over=amount > max(share.left, 0)))
            if fits:
                share.open += amount
                of, before = local.parts.get(want.key.text, (share, 0))
                local.parts[want.key.text] = of, before + amount
                if of is not share:  # a share that was retired meanwhile takes the top-up too
                    share.open, of.open = share.open - amount, of.open + amount
        if fits:
            self._calls[call] = local
            await self._journal.keep([share.told for share in shares.values() if share])
        return standings

    def _book(self, local: _Local, spent: Mapping[str, int]) -> dict[str, int]:
        """Book what a call took from shares; what is left to settle in Redis."""
        rest = {} if local.whole else dict(spent)
        for key, (share, amount) in local.parts.items():
            used = spent.get(key, 0)
            mine = used if local.whole else min(used, amount)
            share.open -= amount
            share.spent += mine
            if not local.whole:
                rest[key] = used - mine
        return rest

    # --- keeping ---

    async def _renew(self) -> None:
        """Settle shares that were touched or whose window is over, and set new ones aside."""
        for key, share in list(self._shares.items()):
            want, _ = self._seen.get(key, (None, None))
            in_window = want is not None and want.first <= share.want.slot <= want.last
            if share.spent or share.until <= self._clock() or not in_window:
                del self._shares[key]
                self._retired.append(share)
        for share in [share for share in self._retired if not share.open]:
            await self._give_back(share.told)
            self._retired.remove(share)
        if not await self._put_down([*self._shares.values(), *self._retired]):
            return
        for key, (want, standing) in list(self._seen.items()):
            left = want.most + standing.granted - standing.used - standing.reserved
            if key not in self._shares and (amount := left * self._percent // 100) > 0:
                sunk, rest = (0, amount) if want.key.unit == CONCURRENT else (amount, 0)
                await self._set_aside(key, replace(want, sunk=sunk, rest=rest), standing)

    async def _set_aside(self, key: str, want: Want, seen: Standing) -> None:
        name = f"share:{self._node}:{next(self._numbers)}"
        share = _Share(name, want, seen, self._clock() + SHARE_SECONDS - MARGIN)
        if not await self._put_down([share]):
            return
        self._retired.append(share)  # so that it is given back where its answer is lost
        standings = await self._inner.reserve(name, [want], SHARE_SECONDS)
        self._seen[key] = want, standings[0]
        if not refused([want], standings):
            self._retired.remove(share)
            self._shares[key] = share

    async def _adopt(self) -> None:
        """Tell Redis what workers spent that are no more."""
        try:
            left = await self._journal.left(SHARE_SECONDS + MARGIN)
        except LedgerAway:
            return  # it was said
        for spent in left:
            await self._give_back(spent)

    async def _put_down(self, shares: Sequence[_Share]) -> bool:
        """Keep how they stand; could it be? Where it cannot, Redis goes on, and nothing is set aside."""
        try:
            await self._journal.keep([share.told for share in shares])
        except LedgerAway as away:
            if not self._mute:
                log.warning("quota: nothing more is set aside for a time without Redis: %s", away)
            self._mute = True
            return False
        self._mute = False
        return True

    async def _give_back(self, spent: Spent) -> None:
        """End a share's reservation: what was not spent of it is free again."""
        await self._inner.settle(spent.name, {spent.key: spent.amount})
        with suppress(LedgerAway):  # to be told again does no harm: there is nothing of that name any more
            await self._journal.forget([spent.name])
