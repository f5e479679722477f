"""May they still: every limit that a call comes under is asked before it leaves, and told after it what it used."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mitmesh.caching.prompt_cache import may_set
from mitmesh.dialects.base import Framing, Operation
from mitmesh.exchange import Action, Mode
from mitmesh.quotas import elsewhere, later, plan, words
from mitmesh.quotas.books import Books
from mitmesh.quotas.estimate import Prompts, written
from mitmesh.quotas.ledger import REFUSED, Ledger, LedgerAway, Standing
from mitmesh.quotas.loops import Watch, session, step
from mitmesh.quotas.plan import Match, Need
from mitmesh.quotas.repeats import Repeats, Took
from mitmesh.quotas.rows import Row, rows
from mitmesh.quotas.streams import Held, Stream
from mitmesh.quotas.windows import NEVER
from mitmesh.redaction.signing import is_signed
from mitmesh.stage import Stage

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange, Verdict
    from mitmesh.quotas.elsewhere import Batch
    from mitmesh.rules import Rules
    from mitmesh.rules.quotas import Limit, Loops, Quotas
    from mitmesh.stage import Transform

UNCAPPED = "/backend-api/"
"""ChatGPT's own paths, as Codex calls them, take no limit of tokens."""


class Quota(Stage):
    """Reserves before a call, tops up while it streams, settles after it. `opened` makes the ledger that rules name;
    without limits in the rules none is made, and nothing is done. `clock` gives seconds since 1970. `repeats` makes
    what tells other workers of loops; without it they are counted here alone."""

    name = "quota"

    def __init__(
        self,
        opened: Callable[[Quotas], Ledger],
        clock: Callable[[], float] = time.time,
        repeats: Callable[[], Repeats] | None = None,
    ) -> None:
        self._opened, self._clock = opened, clock
        self._share = repeats
        self._repeats: Repeats | None = None
        self._books: Books | None = None
        self._source: tuple[Any, ...] | None = None
        self._retired: list[Books] = []
        self._prompts, self._loops = Prompts(), Watch()
        self._limits: Sequence[Limit] = ()

    def configure(self, rules: Rules) -> None:
        """Open the ledger that the rules name; counts stay where they are. Raises RulesError for one without an
        address."""
        wanted = rules.quotas
        source = (wanted.redis, wanted.redis_away, wanted.share, wanted.lease_seconds)
        if wanted.limits and source != self._source:
            books = Books(self._opened(wanted), wanted.lease_seconds)
            if self._books:
                self._retired.append(self._books)  # calls that began with it settle there
            self._books, self._source = books, source
        self._limits = wanted.limits

    async def start(self) -> None:
        """See how full the limits are, for who asks before the first call."""
        if self._books and self._limits:
            self._books.begin()

    async def stop(self) -> None:
        """Settle what is open."""
        books, self._books, self._retired = [*self._retired, self._books], None, []
        for each in books:
            if each:
                await each.stop()
        repeats, self._repeats = self._repeats, None
        if repeats:
            await repeats.close()

    async def request(self, x: Exchange) -> None:
        """Refuse with 429 what does not fit, with 503 where nobody can say, and set aside the rest."""
        rules = x.rules.quotas
        if (rules.loops.warn or rules.loops.stop) and await self._loop(x):
            return
        if not rules.limits or self._books is None:
            return
        is_batch = elsewhere.is_batch(x)
        batch = await self._batch(x) if is_batch else None
        tariff = plan.tariff_of(x)
        found = plan.matches(x, tariff, self._clock())
        if is_batch and self._unmeasured(x, found, batch):
            return
        if self._unpriced(x, found) or not found:
            return
        need, bound = (Need(batch.prompt, batch.output), 0) if batch else await self._need(x, found)
        held = Held(self._books, found, need, tariff, bound)
        x.notes[self.name] = held  # before it is asked: whoever is cancelled while asking must still settle
        try:
            fits = await held.take(x)
        except LedgerAway:
            self._away(x, found)
            return
        self._judge(x, held, fits)
        if fits and _binding(found) and (x.framing is not Framing.NONE or not x.dialect.native):
            x.edits_stream = True  # what no dialect is for may stream unasked

    def stream(self, x: Exchange) -> Transform | None:
        """Watches a stream that a limit binds."""
        held: Held | None = x.notes.get(self.name)
        if held is None or not x.edits_stream or not _binding(held.found):
            return None
        return Stream(x, held, lambda full: self._used_up(x, *full))

    def finish(self, x: Exchange) -> None:
        """Settle, in the background."""
        held: Held | None = x.notes.pop(self.name, None)
        if held:
            self._overran(x, held, held.settle(x))
            if elsewhere.is_background(x):
                later.wait(x, held)
        if x.operation is Operation.OTHER and self._books and self._limits:
            later.see(x, self._books, self._clock())

    def health(self) -> dict[str, Any]:
        """How many limits there are, and why they cannot be counted: a `problem` where calls are refused meanwhile, a
        `warning` where they go on with what was set aside."""
        books = self._books
        said: dict[str, Any] = {"limits": len(self._limits)}
        if books and books.problem and self._limits:
            said["problem" if books.ledger.meanwhile == REFUSED else "warning"] = books.problem
        return said

    def rows(self) -> list[Row]:
        """How full the limits were, when it was last looked (seconds ago)."""
        return list(rows(self._limits, self._books.counts, (), self._clock())) if self._books else []

    def lost(self) -> int:
        """Calls that could not be settled, because the ledger was away for too long."""
        return sum(books.lost for books in (*self._retired, self._books) if books)

    # --- before the call ---

    async def _need(self, x: Exchange, found: list[Match]) -> tuple[Need, int]:
        """Prompt and output to set aside, and the most output there can be; the request gets the cap that holds for it
        where it names none."""
        if not any(match.measures for match in found):
            return Need(0, 0), 0
        prompt = await self._prompts.count(x.call)
        if x.operation is not Operation.CHAT:
            return Need(prompt, 0), 0
        rules, doc = x.rules.quotas, x.body.doc if x.body else None
        output = x.call.max_tokens
        if output is None:
            caps = [match.limit.output_cap for match in found if match.limit.output_cap]
            output = min(caps, default=rules.output_cap)
            self._cap(x, output, found)
        bound = output = output * x.dialect.choices(doc)
        if x.framing is not Framing.NONE and rules.stream_first and not elsewhere.is_background(x):
            output = min(output, rules.stream_first)  # what is made in the background runs on, whoever listens
        kept = written(x.body.raw) if x.body else 0
        if kept > 300:
            return Need(prompt, output, written_1h=prompt), bound
        return Need(prompt, output, prompt if kept or may_set(x) else 0), bound

    def _cap(self, x: Exchange, most: int, found: list[Match]) -> None:
        if not x.body or not _binding(found) or is_signed(x.headers, x.path) or UNCAPPED in x.path:
            return
        if edit := x.dialect.cap_output(x.body.doc, most, x.provider, x.path):
            x.body.set(*edit)
            x.call.max_tokens = most

    async def _batch(self, x: Exchange) -> Batch | None:
        """What a batch asks for, and whose model it is; None where that is not in its body."""
        doc, cap = x.body.doc if x.body else None, x.rules.quotas.output_cap
        batch = await asyncio.to_thread(elsewhere.measured, doc, x.path, cap)
        if batch and len(batch.models) == 1:
            (x.call.model,) = batch.models
        return batch

    def _unmeasured(self, x: Exchange, found: list[Match], batch: Batch | None) -> bool:
        """Refuse a batch that nobody can measure, or that the rules do not want; was it?"""
        rule = x.rules.quotas.batches
        if rule == "free":
            found[:] = [match for match in found if not match.measures]
        for match in found:
            if not match.measures or (rule == "charge" and batch and len(batch.models) == 1):
                continue
            why = (
                "the rules refuse batches under a limit"
                if rule == "refuse"
                else "its requests are of several models: send a batch for each"
                if batch
                else "its requests lie in a file, so nobody can say what it will use"
            )
            said = (
                f"Quota: this batch comes under limit {match.limit.id} and is not sent, for {why}. The operator "
                "decides with `batches` in rules/quotas.yaml."
            )
            x.refuse(self.name, match.limit.id, said, mode=match.mode, status=402, type="quota_batch")
        return x.refusal is not None

    def _unpriced(self, x: Exchange, found: list[Match]) -> bool:
        """Refuse a call that a limit in dollars cannot measure; was it?"""
        for match in found:
            if match.priceless:
                unknown = plan.unpriced(x)
                name = f"the model {unknown[:60]!r}" if unknown else "this call"
                said = (
                    f"Quota: the price of {name} is not known, and limit {match.limit.id} counts dollars. Have the "
                    "operator add a price to rules/prices.yaml, or unpriced_tokens to the limit."
                )
                x.refuse(self.name, match.limit.id, said, mode=match.mode, status=402, type="quota_unknown_price")
        found[:] = [match for match in found if not match.priceless]
        return x.refusal is not None

    async def _loop(self, x: Exchange) -> bool:
        """Warn of, or refuse, a session that goes round in circles; was it refused?"""
        rules = x.rules.quotas.loops
        if x.operation is not Operation.CHAT:
            return False
        times = await self._times(x, rules)
        said = f"Loop: this session has sent the same step {times} times in {rules.minutes} minutes."
        mode = rules.mode or x.rules.mode(x.identity.team)
        warns, stops = (bool(level and times >= level) for level in (rules.warn, rules.stop))
        if stops:
            wait = rules.minutes * 60
            x.refuse(self.name, "loops", said, mode=mode, status=429, type="loop_detected", retry_after=wait)
            if mode is Mode.ENFORCE:
                return True
        elif warns:
            x.decide(self.name, Action.WARN, "loops", said)
        if warns:  # one that is only observed goes on
            x.answer_headers["x-mesh-quota-warn"] = said
        return False

    async def _times(self, x: Exchange, rules: Loops) -> int:
        """How often the session took this step: here, and where it was more than once by other workers."""
        name, ages = self._loops.seen(x, rules, time.monotonic())
        if len(ages) < 2 or self._share is None:
            return len(ages)
        self._repeats = self._repeats or self._share()
        took = Took(repr(session(x)), f"{name:x}", step(x.call), ages)
        return len(ages) + await self._repeats.elsewhere(took, rules)

    # --- what it means ---

    def _judge(self, x: Exchange, held: Held, fits: bool) -> None:
        """Record what each limit says; the fullest one is named first, and its percentage told on the answer."""
        full = [(words.percent(*pair), *pair) for pair in zip(held.found, held.standings, strict=True)]
        full.sort(key=_first, reverse=True)
        asked = {want.key: want.sunk + want.rest for want in held.asked}
        x.answer_headers["x-mesh-quota-pct"] = f"{full[0][0]}%"
        for percent, match, standing in full:
            if standing.over and (match.mode is Mode.OBSERVE or not fits):
                self._refuse(x, match, standing, asked[match.key])
            elif fits and percent >= match.limit.warn_at:
                warning = words.warning(match, standing)
                x.decide(self.name, Action.WARN, match.limit.id, warning, mode=match.mode)
                x.answer_headers.setdefault("x-mesh-quota-warn", warning)

    def _refuse(self, x: Exchange, match: Match, standing: Standing, asked: int, why: str | None = None) -> Verdict:
        wait, status = _wait(match, standing, asked, self._clock())
        return x.refuse(
            self.name,
            match.limit.id,
            why or words.exceeded(match, standing, asked),
            mode=match.mode,
            status=status,
            type="quota_exceeded",
            retry_after=wait,
        )

    def _overran(self, x: Exchange, held: Held, spent: Mapping[str, int]) -> None:
        """Record of limits that only observe which of them this call went beyond: there one that enforces ends a
        stream, and meets the next call after an answer that came whole."""
        for match, standing in zip(held.found, held.standings, strict=False):
            used = standing.used + standing.reserved + spent.get(match.key.text, 0)
            if match.mode is Mode.ENFORCE or not match.measures or standing.over:
                continue
            if used > match.most + standing.granted:
                self._refuse(x, match, standing, 0, words.overran(match, replace(standing, used=used, reserved=0)))

    def _used_up(self, x: Exchange, match: Match | None, standing: Standing | None, short: int) -> Verdict:
        """A stream ends: its limit is used up, or nobody can say."""
        if match is None or standing is None:
            return self._away(x)
        return self._refuse(x, match, standing, short, words.ended(match, standing, short))

    def _away(self, x: Exchange, found: Sequence[Match] = ()) -> Verdict:
        """Nobody can say whether it fits: that only refuses a call if one of its limits would."""
        said = "The ledger of quotas cannot be asked, so nobody can say whether this call fits. Try again."
        rule, observed = f"{self.name}.ledger", found and all(match.mode is Mode.OBSERVE for match in found)
        mode = Mode.OBSERVE if observed else Mode.ENFORCE
        return x.refuse(self.name, rule, said, mode=mode, status=503, type="quota_unavailable", retry_after=5)


def _binding(found: list[Match] | Any) -> bool:
    """Is one of them a limit on output that refuses?"""
    return any(match.mode is Mode.ENFORCE and match.measures for match in found)


def _first(full: tuple[int, Match, Standing]) -> tuple[bool, int, int]:
    """Who is named first: one that refuses, then the fullest, then the one that takes longest to begin anew."""
    percent, match, standing = full
    return match.mode is Mode.ENFORCE and standing.over, percent, match.window.resets


def _wait(match: Match, standing: Standing, asked: int, now: float) -> tuple[int | None, int]:
    """When it is worth trying again, in seconds, and the status: 402 where waiting is of no use.

    What other calls have set aside may come back soon, but for requests, which are used once they are sent; what was
    used comes back when the window does."""
    used = standing.used + (standing.reserved if match.unit == "requests" else 0)
    if used + asked <= match.most + standing.granted:
        return 5, 429
    if match.window.resets == NEVER:
        return None, 402
    return max(1, math.ceil(match.frees(standing.leaves) - now)), 429
