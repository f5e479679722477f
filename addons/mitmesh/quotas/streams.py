"""A stream under a limit: sees how much of its reservation is used, asks for more in time, and ends it where there is
none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mitmesh import tokens
from mitmesh.exchange import Mode
from mitmesh.quotas import plan
from mitmesh.quotas.ledger import LedgerAway, Standing, Want, refused
from mitmesh.quotas.plan import Match, Need
from mitmesh.stage import StreamEnded

if TYPE_CHECKING:
    from mitmesh.dialects.base import Event
    from mitmesh.exchange import Exchange, Verdict
    from mitmesh.quotas.books import Books
    from mitmesh.tariff import Tariff

BYTES = 4
"""Bytes of text that are taken for a token until they are counted."""
LONGEST = 6
"""Bytes of a token at most, on the whole: who sent six times as many has certainly used so many tokens."""
STEP = 1_024
"""Tokens that are asked for at a time, at least."""


class Held:
    """What one call holds: its limits, what it needs so far, and how the limits stood."""

    def __init__(self, books: Books, found: Sequence[Match], need: Need, tariff: Tariff | None) -> None:
        self.books, self.found, self.need, self.tariff = books, found, need, tariff
        self.asked: Sequence[Want] = ()
        self.standings: Sequence[Standing] = ()
        self.settled = False

    async def take(self, x: Exchange) -> bool:
        """Reserve what the call needs to begin; was it granted? Raises LedgerAway."""
        self.asked = plan.wants(self.found, self.need, self.tariff)
        self.standings = await self.books.reserve(x.id, self.asked)
        return not refused(self.asked, self.standings)

    def settle(self, x: Exchange) -> None:
        """Give back what it did not use."""
        self.settled = True
        self.books.settle(x.id, plan.spent(x, self.found, self.need, self.tariff))


class Stream:
    """The transform of a stream under a limit that binds: changes nothing, and ends it in time.

    `refuse` records why, and returns the verdict."""

    def __init__(self, x: Exchange, held: Held, refuse: Callable[[Match | None, Standing | None], Verdict]) -> None:
        self._x, self._held, self._refuse = x, held, refuse
        self._binding = [
            match for match in held.found if match.mode is Mode.ENFORCE and match.unit in ("tokens", "dollars")
        ]
        self._step = max(STEP, held.need.output)
        self._allowed = held.need.output
        self._counted, self._at = 0, 0  # tokens counted, of so many bytes
        self._look = self._next(0)
        self._asking: asyncio.Task[None] | None = None
        self._full: tuple[Match | None, Standing | None] | None = None
        self._ceiling, self._lowest = self._room()

    def event(self, event: Event, doc: Any) -> Sequence[Event] | None:
        """Passes it. Raises StreamEnded when the reservation is used up and there is no more."""
        size = self._x.reading.parts.size if self._x.reading else 0
        if size < self._look:
            return None
        delivered = self._counted + (size - self._at) // BYTES
        if self._full and delivered >= self._allowed:
            raise StreamEnded(self._refuse(*self._full))
        if self._counted + (size - self._at) // LONGEST > max(self._ceiling, self._allowed):
            raise StreamEnded(self._refuse(*self._lowest))  # it comes faster than we can ask
        if delivered * 4 >= self._allowed * 3 and not self._full and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        self._look = self._next(delivered, size)
        return None

    def end(self) -> Sequence[Event]:
        """Nothing is held back."""
        return ()

    def _next(self, delivered: int, size: int = 0) -> int:
        """At how many bytes to look again: when half of what is left may have come."""
        return size + max(16, (self._allowed - delivered) * BYTES // 2)

    def _asked(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._full = (None, None)
        self._look = 0

    def _room(self) -> tuple[int, tuple[Match | None, Standing | None]]:
        """How much output there could be at most, as the limits stood when the call began, and which is the lowest."""
        held, most = self._held, 10**9
        more = {want.key: want for want in plan.more(held.found, held.need, STEP, held.tariff)}
        lowest: tuple[Match | None, Standing | None] = (None, None)
        for match, want, standing in zip(held.found, held.asked, held.standings, strict=False):
            rate = more[match.key].rest if match in self._binding else 0
            left = want.most + standing.granted - standing.used - standing.reserved - want.sunk - want.rest
            if rate and held.need.output + left * STEP // rate < most:
                most, lowest = held.need.output + left * STEP // rate, (match, standing)
        return most, lowest

    async def _ask(self) -> None:
        """Count what was delivered, and have more set aside where it is nearly as much as was."""
        reading = self._x.reading
        assert reading
        size, texts, model = reading.parts.size, reading.parts.texts(), self._x.call.model
        self._counted = await asyncio.to_thread(lambda: sum(tokens.count(text, model) for text in texts))
        self._at = size
        if self._counted * 4 >= self._allowed * 3 or self._held.books.lapsed(self._x.id):
            await self._more(self._step)

    async def _more(self, step: int) -> None:
        held = self._held
        while step > 0 and not held.settled:
            asked = plan.more(held.found, held.need, step, held.tariff)
            try:
                standings = await held.books.reserve(self._x.id, asked)
            except LedgerAway:
                self._full = (None, None)
                return
            if not refused(asked, standings):
                self._allowed += step
                held.need = replace(held.need, output=held.need.output + step)
                return
            self._full = self._tightest(asked, standings)
            step = min(step - 1, self._left(asked, standings, step))

    def _left(self, asked: Sequence[Want], standings: Sequence[Standing], step: int) -> int:
        """How many of `step` tokens fit."""
        fits = step
        for want, standing in zip(asked, standings, strict=True):
            if want.binding and want.rest:
                left = want.most + standing.granted - standing.used - standing.reserved
                fits = min(fits, max(0, left) * step // want.rest)
        return fits

    def _tightest(self, asked: Sequence[Want], standings: Sequence[Standing]) -> tuple[Match, Standing]:
        by_key = {match.key: match for match in self._binding}
        return next(
            (by_key[want.key], standing)
            for want, standing in zip(asked, standings, strict=True)
            if want.binding and standing.over
        )
