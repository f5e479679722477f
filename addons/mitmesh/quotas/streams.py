"""A stream under a limit: nothing of it goes on that is not reserved. More is asked for in time; what does not fit
waits for the ledger's word, and where there is no more the stream ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from mitmesh import tokens
from mitmesh.quotas import plan, words
from mitmesh.quotas.ledger import LedgerAway, Standing, Want, refused
from mitmesh.quotas.plan import Match, Need
from mitmesh.stage import StreamEnded, StreamHeld

if TYPE_CHECKING:
    from mitmesh.dialects.base import Event, Usage
    from mitmesh.dialects.parts import Parts
    from mitmesh.exchange import Exchange, Verdict
    from mitmesh.quotas.books import Books
    from mitmesh.quotas.plan import Priced

BYTES = 4
"""Bytes of text that are taken for a token, where it is only about asking early. A token is a byte at least."""
LOOK = 2_000
"""Bytes after which it is counted anew, in about two tenths of a millisecond."""
AT_ONCE = 8_000
"""Bytes that are counted on the event loop at most: for a longer text the stream waits for a thread."""
STEP = 1_024
"""Tokens that are asked for at a time, at least, but for where little is left."""
PART = 8
"""Of what is left a stream takes no more than this part at a time, for others have to go on too."""
FEW = 32
"""Tokens that are asked for at a time all the same."""

type Full = tuple[Match | None, Standing | None, int]
"""The limit that has no room for so much more (in its unit), and how it stands with what this call holds used; None:
nobody can say."""


class Held:
    """What one call holds: its limits, what it needs so far, and how the limits stood. `bound`: the most output tokens
    there should be."""

    def __init__(
        self, books: Books, found: Sequence[Match], need: Need, tariff: Priced | None, bound: int | None = None
    ) -> None:
        self.books, self.found, self.need, self.tariff = books, found, need, tariff
        self.bound = need.output if bound is None else bound
        self.asked: Sequence[Want] = ()
        self.standings: Sequence[Standing] = ()
        self.settled = False

    async def take(self, x: Exchange) -> bool:
        """Reserve what the call needs to begin; was it granted? Raises LedgerAway."""
        self.asked = plan.wants(self.found, self.need, self.tariff)
        self.standings = await self.books.reserve(x.id, self.asked)
        return not refused(self.asked, self.standings)

    def settle(self, x: Exchange) -> dict[str, int]:
        """Give back what it did not use; what it used, by the key's text."""
        self.settled = True
        spent = plan.spent(x, self.found, self.need, self.tariff)
        self.books.settle(x.id, spent)
        return spent


class Stream:
    """The transform of a stream under a limit that binds: changes nothing, holds what is not reserved, ends it where
    nothing is left. `refuse` records why, and returns the verdict."""

    def __init__(self, x: Exchange, held: Held, refuse: Callable[[Full], Verdict]) -> None:
        self._x, self._held, self._refuse = x, held, refuse
        self._step = max(STEP, held.need.output)
        self._allowed = held.need.output
        self._counted, self._at = 0, 0  # tokens counted, of so many bytes
        self._before, self._text = 0, ""  # of them those before this text
        self._passed, self._delivered = 0, 0  # bytes, tokens
        self._told = 0  # tokens of output, as the provider last told
        self._prompt = 0  # tokens of the prompt beyond the estimate: they are taken from the output's share
        begun = zip(held.found, zip(held.asked, held.standings, strict=True), strict=True)
        self._left = _room((each for match, each in begun if match.measures), held.need.output)  # when last asked
        self._asking: asyncio.Task[None] | None = None
        self._early = True
        self._full: Full | None = None

    def event(self, event: Event, doc: Any) -> Sequence[Event] | None:
        """Passes it. Raises StreamHeld until it is known to fit, StreamEnded when it does not."""
        if self._x.reading is None:
            return None
        parts = self._x.reading.parts
        if parts.size == self._passed:
            return None  # it says nothing, or only how it ended
        if self._held.books.lapsed(self._x.id):
            self._wait_for(self._again)
        self._heed(self._x.reading.answer.usage, parts)
        new = parts.size - self._at
        if self._counted + new > self._allowed and new > AT_ONCE:
            raise StreamHeld(self._do(self._count()))
        if LOOK <= new <= AT_ONCE or self._counted + new > self._allowed:
            self._add(parts.news())
            self._at, new = parts.size, 0
        if self._counted > self._allowed:
            self._wait_for(lambda: self._ask(self._counted - self._allowed))
        if self._is_time(self._counted + new // BYTES):
            self._do(self._ask(0))
        self._passed, self._delivered = parts.size, self._counted + new // BYTES
        return None

    def _wait_for(self, more: Callable[[], Coroutine[Any, Any, None]]) -> NoReturn:
        """Hold the stream until there is more, or end it where it is known that there is none."""
        if self._full:
            raise StreamEnded(self._refuse(self._full), self._delivered)
        raise StreamHeld(self._do(more()))

    def end(self) -> Sequence[Event]:
        """Nothing is held back."""
        return ()

    def _add(self, text: str) -> None:
        """Count more text. Pieces are more tokens than the whole: where they seem too many, what came lately is counted
        as one."""
        model = self._x.call.model
        self._text += text
        self._counted += tokens.count(text, model)
        if self._counted > self._allowed and len(self._text) > len(text):
            self._counted = self._before + tokens.count(self._text, model)
        if len(self._text) >= LOOK:
            self._before, self._text = self._counted, ""

    def _heed(self, told: Usage | None, parts: Parts) -> None:
        """What the provider says it used so far, if that is more than we see: a longer prompt, hidden reasoning. It
        may have counted what is said beside it."""
        if told is None:
            return
        beyond = max(0, told.prompt - self._held.need.prompt - self._prompt)
        self._prompt += beyond
        self._allowed -= beyond
        new = parts.size - self._at
        if told.completion <= self._told or new > AT_ONCE:
            return
        self._told = told.completion
        if new and told.completion > self._counted:
            self._add(parts.news())
            self._at = parts.size
        if told.completion > self._counted:
            self._counted = self._before = told.completion
            self._text = ""

    def _is_time(self, used: int) -> bool:
        """To ask for more in the background: three quarters are used, and there will be more than is reserved."""
        if self._asking and not self._asking.done():
            return False
        return self._early and self._allowed < self._held.bound and used * 4 >= self._allowed * 3

    def _do(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """The one task at a time; where one runs, that."""
        if self._asking and not self._asking.done():
            work.close()
            return self._asking
        self._asking = asyncio.create_task(work)
        self._asking.add_done_callback(self._failed)
        return self._asking

    def _failed(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._full = (None, None, 0)

    async def _count(self) -> None:
        assert self._x.reading
        parts, model = self._x.reading.parts, self._x.call.model
        size, text = parts.size, parts.news()
        self._counted += await asyncio.to_thread(tokens.count, text, model)
        self._before, self._text, self._at = self._counted, "", size

    async def _ask(self, short: int) -> None:
        """Have more set aside, for so many tokens at least. `short` 0: it is only early."""
        held, step = self._held, max(short, min(self._step, self._held.bound - self._held.need.output), 0) or STEP
        step = min(step, self._fair(short))
        prompt = self._prompt  # the first time it is asked for as what it is
        while step > 0 and not held.settled and not held.books.lapsed(self._x.id):
            then = replace(held.need, prompt=held.need.prompt + prompt, output=held.need.output + step)
            asked = plan.more(held.found, held.need, then, held.tariff)
            try:
                standings = await held.books.reserve(self._x.id, asked)
            except LedgerAway:
                self._full = (None, None, short) if short else None
                return
            if not refused(asked, standings):
                self._left = _room(zip(asked, standings, strict=True), step + prompt)
                self._allowed += step + prompt
                self._prompt -= prompt
                held.need = then
                return
            self._left, match, standing = self._fullest(asked, standings, step + prompt)
            if self._left < max(short, 1):
                self._early = False
                self._full = self._end(match, standing) if short else None
                return
            step, prompt = min(step if prompt else step - 1, self._left, self._fair(short)), 0

    async def _again(self) -> None:
        """Take again what was lost, because nothing was heard of us for too long: others may have it by now. (What the
        prompt took was charged.)"""
        held = self._held
        asked = plan.again(held.asked, held.found, held.need, held.tariff)
        try:
            standings = await held.books.again(self._x.id, asked)
        except LedgerAway:
            self._full = (None, None, 0)
            return
        if standings and refused(asked, standings):
            _, match, standing = self._fullest(asked, standings, held.need.output)
            (want,) = (want for want in asked if want.key == match.key)
            self._full = match, standing, want.rest

    def _fair(self, short: int) -> int:
        """The most tokens to take at once: a part of what was left, but at least what is needed now."""
        return max(short, FEW, self._left // PART)

    def _fullest(self, asked: Sequence[Want], standings: Sequence[Standing], step: int) -> tuple[int, Match, Standing]:
        """Of the limits that bind, the one of which the fewest of `step` tokens are left."""
        by_key = {match.key: match for match in self._held.found}
        found = []
        for want, standing in zip(asked, standings, strict=True):
            if want.binding and standing.over:
                found.append((max(0, _free(want, standing)) * step // want.rest, by_key[want.key], standing))
        return min(found, key=lambda each: (each[0], -words.percent(*each[1:]), -each[1].window.resets))

    def _end(self, match: Match, standing: Standing) -> Full:
        """As it stands when what was delivered is used, and what the part that does not fit would take."""
        held = self._held
        delivered = replace(held.need, output=self._delivered)
        wanted = replace(held.need, output=max(self._counted, self._delivered + 1))
        own, reserved = (sum(plan.amounts(match.unit, need, held.tariff)) for need in (delivered, held.need))
        (more,) = plan.more([match], delivered, wanted, held.tariff)
        others = max(0, standing.reserved - reserved)
        return match, replace(standing, used=standing.used + own, reserved=others), more.rest


def _free(want: Want, standing: Standing) -> int:
    """What was left before, in the limit's unit."""
    return want.most + standing.granted - standing.used - standing.reserved


def _room(taken: Iterable[tuple[Want, Standing]], step: int) -> int:
    """Tokens that are left of the limit that has the fewest; of what was taken the rest was `step` tokens."""
    found = (
        (_free(want, standing) - want.sunk - want.rest) * step // want.rest
        for want, standing in taken
        if want.binding and want.rest
    )
    return max(0, min(found, default=0))
