"""Keeps a process's reservations: asks the ledger, beats for calls that run, and settles without anybody waiting."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mitmesh.quotas.ledger import Count, Ledger, LedgerAway, Standing, Want, refused

if TYPE_CHECKING:
    from collections.abc import Coroutine

log = logging.getLogger(__name__)

UNSETTLED = 10_000
"""Calls that may wait for a ledger that is away. Of those beyond it the lease's end charges the prompt."""
STOP_SECONDS = 5.0
"""How long a stopping process tries to settle."""
LOOK_SECONDS = 5
"""How often it is looked how full the limits are, and whether a ledger that was away is back."""


class Books:
    """One ledger, and what this process holds in it. `lease` in seconds."""

    def __init__(self, ledger: Ledger, lease: int) -> None:
        self.ledger, self.lease = ledger, lease
        self.problem: str | None = None
        """Why the ledger cannot be asked; None while it can."""
        self.counts: list[Count] = []
        """How full things were when it was last looked."""
        self.lost = 0
        """Settlements that were dropped."""
        self._running: dict[str, asyncio.Future[list[Standing]]] = {}
        self._until: dict[str, float] = {}
        """Until when what a call holds is its own, if nothing more is heard of us (the event loop's clock)."""
        self._lapsed: set[str] = set()
        self._unsettled: dict[str, Mapping[str, int]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turning: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look at the ledger from now on, in the background; whoever reserves begins it too."""
        if self._turning is None:
            self._turning = asyncio.create_task(self._turns())

    async def reserve(self, call: str, wants: Sequence[Want]) -> list[Standing]:
        """Ask for a call, or for more of it. Raises LedgerAway. Whoever is cancelled here has to `settle` all the same:
        the ledger may have done it."""
        self.begin()
        until = asyncio.get_running_loop().time() + self.lease
        if self.lapsed(call):
            self._lapsed.add(call)  # and it stays so: more is not all
        asked = self.ledger.reserve(call, wants, self.lease)
        task = self._running[call] = asyncio.ensure_future(asked)
        task.add_done_callback(self._note)
        standings = await (task if task is asked else asyncio.shield(task))
        if not refused(wants, standings) and call in self._running:
            self._until[call] = until
        return standings

    async def again(self, call: str, wants: Sequence[Want]) -> list[Standing]:
        """Ask for all that a call held and has lost; no standings where it turns out that it holds it still. Raises
        LedgerAway."""
        if call not in self._lapsed:
            await self._beat([call])
            if not self.lapsed(call):
                return []
        standings = await self.reserve(call, wants)
        if not refused(wants, standings):
            self._lapsed.discard(call)
        return standings

    def settle(self, call: str, spent: Mapping[str, int]) -> None:
        """End a call, in the background: `spent` by key, what is not in it is given back."""
        self._until.pop(call, None)
        self.keep(self._settle(call, self._running.pop(call, None), spent))

    def correct(self, call: str, wants: Sequence[Want], by: Mapping[str, int]) -> None:
        """Change what is used, in the background: `wants` of nothing say in which windows, `by` how much by key (it
        may be negative). `call` is a name of its own."""
        self.keep(self._correct(call, wants, by))

    def lapsed(self, call: str) -> bool:
        """Did this call lose what it held, because nothing was heard of us for too long?"""
        if call in self._lapsed:
            return True
        until = self._until.get(call)
        late = until is not None and asyncio.get_running_loop().time() >= until
        return late and not self.ledger.holds(call)

    async def stop(self) -> None:
        """Settle what is to be settled, and let go of the ledger."""
        if self._turning:
            self._turning.cancel()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
                await self._retry()
        except (TimeoutError, LedgerAway):
            pass
        if self._unsettled:
            log.error("quota: %d calls could not be settled: %s", len(self._unsettled), self.problem)
        await self.ledger.close()

    async def _settle(self, call: str, asked: asyncio.Future[list[Standing]] | None, spent: Mapping[str, int]) -> None:
        self._lapsed.discard(call)
        if asked:
            await asyncio.wait({asked})
        try:
            await self.ledger.settle(call, spent)
        except LedgerAway as away:
            self.problem = str(away)
            if len(self._unsettled) < UNSETTLED:
                self._unsettled[call] = spent
            else:
                self.lost += 1

    async def _correct(self, call: str, wants: Sequence[Want], by: Mapping[str, int]) -> None:
        try:
            await self.reserve(call, wants)
        except LedgerAway:
            self.lost += 1
        self.settle(call, by)

    async def _retry(self) -> None:
        for call, spent in list(self._unsettled.items()):
            await self.ledger.settle(call, spent)
            del self._unsettled[call]

    async def _turns(self) -> None:
        """Beats at a quarter of the lease, and looks at the ledger."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self.lease / 4
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self.lease / 4))
            try:
                if loop.time() >= due or self.problem:
                    due = loop.time() + self.lease / 4
                    await self._beat(list(self._running))
                self.counts = await self.ledger.counts()
                await self._retry()
                self.problem = None
            except LedgerAway as away:
                self._away(away)

    async def _beat(self, calls: list[str]) -> None:
        until = asyncio.get_running_loop().time() + self.lease
        lapsed = set(await self.ledger.beat(calls, self.lease))
        self._lapsed |= lapsed & self._running.keys()
        self._until |= dict.fromkeys((self._until.keys() & calls) - lapsed, until)

    def _note(self, task: asyncio.Future[list[Standing]]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, LedgerAway):
            self._away(error)
        elif error is None:
            self.problem = None

    def _away(self, away: LedgerAway) -> None:
        if self.problem is None:
            # No error: while it starts, mitmproxy would end the process for one, and the ledger may come up after us.
            log.warning("quota: the ledger cannot be asked (%s); %s", away, self.ledger.meanwhile)
        self.problem = str(away)

    def keep(self, work: Coroutine[None, None, None]) -> None:
        """Have it done in the background, before `stop` is over."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
