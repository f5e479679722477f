"""Which limits a call comes under, and what it would take of each. Pure; the clock is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from mitmesh import prices
from mitmesh.dialects.base import Operation, Usage
from mitmesh.exchange import Mode
from mitmesh.globs import glob
from mitmesh.quotas import elsewhere
from mitmesh.quotas.ledger import Key, Want
from mitmesh.quotas.windows import NEVER, Window, window
from mitmesh.rules.quotas import Limit

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange
    from mitmesh.tariff import Tariff

FREE = (Operation.COUNT_TOKENS, Operation.MODELS)
"""Operations that use no tokens."""
EACH = "each"
UNKNOWN = "unknown"
"""Whoever has no name shares one count."""
NOW = Window(0, 0, 0, NEVER, NEVER)
"""The window of concurrent calls."""


@dataclass(slots=True)
class Match:
    """A limit that a call comes under: its count, its window, and whether it refuses. `unpriced`: it is in dollars, the
    call has no price, and its tokens are counted instead."""

    limit: Limit
    key: Key
    window: Window
    mode: Mode
    unpriced: bool = False

    @property
    def unit(self) -> str:
        """What is counted."""
        return "tokens" if self.unpriced else self.limit.unit

    @property
    def measures(self) -> bool:
        """Does it go by what a call uses, and not by the call?"""
        return self.unit in ("tokens", "dollars")

    @property
    def amount(self) -> int:
        """The limit, in its smallest unit."""
        return (self.limit.unpriced_tokens or 0) if self.unpriced else self.limit.amount

    @property
    def most(self) -> int:
        """The hard stop."""
        return self.amount * self.limit.hard_stop_at // 100

    def frees(self, leaves: int | None) -> int:
        """When there is room again (seconds since 1970; NEVER where there is not): a calendar window's end, or of a
        rolling one when that slot has left it."""
        return self.window.resets if leaves is None else leaves + self.window.width

    @property
    def priceless(self) -> bool:
        """Is this a limit in dollars that cannot tell what the call costs, and has no other measure for it?"""
        return self.unpriced and self.limit.unpriced_tokens is None


def matches(x: Exchange, tariff: Tariff | None, now: float) -> list[Match]:
    """The limits of the call's rules that it comes under at this moment (seconds since 1970)."""
    found = []
    for limit in x.rules.quotas.limits:
        subject = _subject(limit, x, tariff)
        if subject is None or not _counts(limit, x):
            continue
        unpriced = limit.unit == "dollars" and tariff is None
        kind = f"{'unpriced' if unpriced else limit.unit}/{limit.per or limit.rolling or 'now'}"
        at = NOW if limit.unit == "concurrent" else window(limit, now)
        mode = limit.mode or x.rules.mode(x.identity.team)
        found.append(Match(limit, Key(limit.id, kind, subject), at, mode, unpriced))
    return found


def _counts(limit: Limit, x: Exchange) -> bool:
    if limit.unit in ("requests", "concurrent"):
        return True
    if x.operation in FREE or (x.operation is Operation.OTHER and not x.request_bytes) or elsewhere.is_free(x):
        return False
    return limit.unit == "tokens" or x.billing in limit.billing


def _subject(limit: Limit, x: Exchange, tariff: Tariff | None) -> str | None:
    """Whose count it is, as `team=red,user=ann`; None where the limit is not about this call."""
    parts = []
    for name, wanted in limit.about:
        value = _value(name, x)
        if wanted == EACH:
            # A model's name is the caller's to choose: only those of the price list have counts of their own.
            shown = (tariff.name if tariff else "other") if name == "model" else value or UNKNOWN
        elif not _is(name, wanted, value, tariff):
            return None
        else:
            shown = wanted
        parts.append(f"{name}={_quoted(shown)}")
    return ",".join(parts)


@lru_cache(maxsize=4096)
def _quoted(value: str) -> str:
    """A name as part of a subject: without the comma and sign that part them."""
    return quote(value, safe=" @.:/*-")


def _value(name: str, x: Exchange) -> str | None:
    if name == "model":
        return x.call.model
    if name == "provider":
        return x.provider
    value: str | None = getattr(x.identity, name)
    return value


def _is(name: str, wanted: str, value: str | None, tariff: Tariff | None) -> bool:
    if name != "model":
        return wanted == value
    names = [value, tariff.name if tariff else None]
    return any(glob(wanted).fullmatch(name) for name in names if name)


def tariff_of(x: Exchange) -> Tariff | None:
    """What the call's tokens will cost; None where no price is known."""
    return prices.find(x.call.model, x.provider, x.started, x.rules.prices.prices) if x.call.model else None


@dataclass(slots=True, frozen=True)
class Need:
    """Tokens: of the prompt, of the output that is set aside, and of those of the prompt that may be written to the
    provider's own cache, which costs more than plain input."""

    prompt: int
    output: int
    written: int = 0


def wants(found: Sequence[Match], need: Need, tariff: Tariff | None) -> list[Want]:
    """What the call takes of each limit before it is sent."""
    return [_want(match, *amounts(match.unit, need, tariff)) for match in found]


def more(found: Sequence[Match], need: Need, then: Need, tariff: Tariff | None) -> list[Want]:
    """What a larger need takes, after `need`, of the limits that go by tokens."""
    made = []
    for match in found:
        if match.measures:
            before = sum(amounts(match.unit, need, tariff))
            after = sum(amounts(match.unit, then, tariff))
            made.append(_want(match, 0, after - before))
    return made


def _want(match: Match, sunk: int, rest: int) -> Want:
    at, binding = match.window, match.mode is Mode.ENFORCE
    return Want(match.key, at.slot, at.first, at.last, at.expires, match.most, sunk, rest, binding)


def amounts(unit: str, need: Need, tariff: Tariff | None) -> tuple[int, int]:
    """What a need is in a unit's smallest: of the prompt, and of the output."""
    if unit == "tokens":
        return need.prompt, need.output
    if unit == "requests":
        return 1, 0
    if unit == "concurrent":
        return 0, 1
    assert tariff  # without one the tokens are counted
    asked = Usage(prompt=need.prompt, cache_write_5m=need.written)
    prompt = tariff.cost(asked)
    return prompt, max(0, tariff.cost(replace(asked, completion=need.output)) - prompt)


def spent(x: Exchange, found: Sequence[Match], need: Need, tariff: Tariff | None) -> dict[str, int]:
    """What a finished call used of each limit, by the key's text; what is unknown is as it was reserved.

    A call that was never sent gives everything back. One that was sent counts as a request, whatever became of it."""
    if x.times.sent is None:
        return {}
    return {key: amount for key, amount in _spent(x, found, need, tariff) if amount}


def _spent(x: Exchange, found: Sequence[Match], need: Need, tariff: Tariff | None) -> Iterator[tuple[str, int]]:
    failed = x.refusal is None and x.status is not None and x.status >= 400  # by a provider, who charges nothing
    nothing = x.usage is None and (failed or not x.forwarded)
    # What was delivered of an answer that is made later, or only begins a batch, says nothing of what it will use.
    later = x.usage is not None and x.usage.estimated and elsewhere.is_background(x)
    for match in found:
        if match.unit == "requests":
            yield match.key.text, 1
        elif match.unit == "concurrent" or nothing:
            continue
        else:
            told = x.cost if match.unit == "dollars" else x.usage.total if x.usage else None
            told = None if later else told
            yield match.key.text, sum(amounts(match.unit, need, tariff)) if told is None else told
