"""The sessions that run or ran lately, with tokens and cost as they stream."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mitmesh import prices
from mitmesh.dialects.base import Usage
from mitmesh.exchange import Billing, Origin
from mitmesh.live.events import who

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange

MOST = 200
"""Sessions that are remembered; the one that was longest without a call is forgotten first."""
CHARS_PER_TOKEN = 4
"""OpenAI's rule of thumb for English; only for what still streams, where counting would cost more than it tells."""
NOTE = "live"


@dataclass(slots=True)
class Sum:
    """What calls used: tokens and micro-dollars; those of plans and of unknown price are counted apart,
    and what a server of one's own would cost elsewhere is no cost."""

    calls: int = 0
    refused: int = 0
    prompt: int = 0
    completion: int = 0
    cost: int = 0
    notional: int = 0
    unpriced: int = 0

    def add(self, usage: Usage | None, cost: int | None, billing: Billing) -> None:
        """Add one call's."""
        if usage is None:
            return
        self.prompt += usage.prompt
        self.completion += usage.completion
        if cost is None:
            self.unpriced += 1
        elif billing is Billing.SUBSCRIPTION:
            self.notional += cost
        elif billing is not Billing.LOCAL:
            self.cost += cost


@dataclass(slots=True)
class Session:
    """One session: what its ended calls used, and who it is."""

    facts: dict[str, Any]
    ended: Sum = field(default_factory=Sum)


class Sessions:
    """Remembers the sums of ended calls; the running ones are asked for when somebody looks."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[object, ...], Session] = OrderedDict()

    def end(self, x: Exchange) -> None:
        """A call ended."""
        session = self._of(x)
        session.ended.calls += 1
        session.ended.refused += x.refusal is not None
        session.ended.add(x.usage, x.cost, x.billing)

    def now(self, running: Iterable[Exchange]) -> list[dict[str, Any]]:
        """All sessions with what has streamed of their running calls, those that run first, then the latest first.

        A running call's numbers are the provider's so far, or estimated from characters."""
        open_sums: dict[tuple[object, ...], Sum] = {}
        for x in running:
            total = open_sums.setdefault(_key(x), Sum())
            total.calls += 1
            usage, cost = so_far(x)
            total.add(usage, cost, x.billing)
            self._of(x)
        rows = [_row(known, open_sums.get(key)) for key, known in reversed(self._known.items())]
        return sorted(rows, key=lambda row: not row["running"])

    def _of(self, x: Exchange) -> Session:
        key = _key(x)
        session = self._known.get(key)
        if session is None:
            session = self._known[key] = Session(who(x))
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
            session.facts["model"] = x.call.model[:200] if x.call.model else session.facts["model"]
        return session


def so_far(x: Exchange) -> tuple[Usage | None, int | None]:
    """Tokens and micro-dollars of a call that still runs; None where nothing was sent, or no price is known."""
    if not x.forwarded:
        return None, None
    said = x.answer.usage if x.answer else None
    prompt: int | None = x.notes.get(NOTE)
    if prompt is None:
        prompt = x.notes[NOTE] = sum(len(text.text) for text in x.call.texts) // CHARS_PER_TOKEN
    usage = Usage(prompt, estimated=True)
    if said:
        usage = Usage(said.prompt, said.completion, said.cache_read, said.cache_write_5m, said.cache_write_1h)
    usage.completion = max(usage.completion, _said(x) // CHARS_PER_TOKEN)
    if x.origin is Origin.PROXY:
        return usage, 0  # an answer of our own
    cost = prices.price(x.call.model, x.provider, usage, x.started, x.rules.prices.prices) if x.call.model else None
    return usage, cost


def _said(x: Exchange) -> int:
    """Characters of the answer so far, by its bytes where it streams: the pieces of a part are joined at its end."""
    if x.reading:
        return x.reading.parts.size
    return sum(len(part.text) for part in x.answer.parts) if x.answer else 0


def _key(x: Exchange) -> tuple[object, ...]:
    """A session: who calls, and what the client calls it. The name alone is a claim: others could make it too. Of a
    credential only this process's hash is kept."""
    who, shown = x.identity, x.credential and hash(x.credential)
    return who.team, who.user, who.tool, who.key, shown, x.client, x.call.session and x.call.session[:200]


def _row(known: Session, running: Sum | None) -> dict[str, Any]:
    now, ended = running or Sum(), known.ended
    return {
        **known.facts,
        "running": now.calls,
        "calls": ended.calls + now.calls,
        "refused": ended.refused,
        "prompt": ended.prompt + now.prompt,
        "completion": ended.completion + now.completion,
        "cost_microusd": ended.cost + now.cost,
        "notional_microusd": ended.notional + now.notional,
        "unpriced": ended.unpriced + now.unpriced,
    }
