"""Which limits a call comes under, and what it would take of each. Pure; the clock is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from mitmesh import prices
from mitmesh.dialects.base import Operation, Usage
from mitmesh.dialects.fallbacks import answered
from mitmesh.exchange import Billing, Mode
from mitmesh.globs import is_model
from mitmesh.quotas import elsewhere
from mitmesh.quotas.ledger import Key, Want
from mitmesh.quotas.windows import NEVER, Window, window
from mitmesh.rules.quotas import Limit
from mitmesh.tariff import Dearest, Tariff

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange

type Priced = Tariff | Dearest
type Candidate = tuple[str | None, Tariff | None]

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
    models: frozenset[str | None] = frozenset()
    """Of a limit that goes by the model: for which of the call's models it is this count."""

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


def matches(x: Exchange, tariff: Priced | None, now: float) -> list[Match]:
    """The limits of the call's rules that it comes under at this moment (seconds since 1970). One that names several
    models comes under those of each, for any may serve it."""
    found = []
    models = _candidates(x, tariff)
    for limit in x.rules.quotas.limits:
        subjects = _subjects(limit, x, models if limit.model else models[:1])
        if not subjects or not _counts(limit, x):
            continue
        unpriced = limit.unit == "dollars" and tariff is None
        kind = f"{'unpriced' if unpriced else limit.unit}/{limit.per or limit.rolling or 'now'}"
        at = NOW if limit.unit == "concurrent" else window(limit, now)
        mode = limit.mode or x.rules.mode(x.identity.team)
        for subject, names in subjects.items():
            by = frozenset(names) if limit.model and len(models) > 1 else frozenset()
            found.append(Match(limit, Key(limit.id, kind, subject), at, mode, unpriced, by))
    return found


def _candidates(x: Exchange, tariff: Priced | None) -> list[Candidate]:
    """The models that may serve a call, each with its own tariff."""
    if len(x.call.models) > 1:
        return [(name, _tariff(x, name)) for name in x.call.models]
    return [(x.call.model, tariff if isinstance(tariff, Tariff) else None)]


def _subjects(limit: Limit, x: Exchange, models: Sequence[Candidate]) -> dict[str, list[str | None]]:
    """Whose counts they are, each with the models that it is for."""
    found: dict[str, list[str | None]] = {}
    for model, tariff in models:
        if (subject := _subject(limit, x, model, tariff)) is not None:
            found.setdefault(subject, []).append(model)
    return found


def _counts(limit: Limit, x: Exchange) -> bool:
    if x.billing not in limit.paid:
        return False
    if limit.unit in ("requests", "concurrent"):
        return True
    if (
        limit.unit == "dollars"
        and x.billing is Billing.UNKNOWN
        and x.operation is Operation.OTHER
        and not x.call.models
    ):
        return False  # nobody pays, and no model is asked: telemetry, a login
    return not (x.operation in FREE or (x.operation is Operation.OTHER and not x.request_bytes) or elsewhere.is_free(x))


def _subject(limit: Limit, x: Exchange, model: str | None, tariff: Tariff | None) -> str | None:
    """Whose count it is, as `team=red,user=ann`; None where the limit is not about this call."""
    parts = []
    for name, wanted in limit.about:
        value = model if name == "model" else _value(name, x)
        if wanted == EACH:
            # A model's name is the caller's to choose: only those of the price list have counts of their own.
            shown = (tariff.name if tariff else "other") if name == "model" else value or UNKNOWN
        elif not _is(name, wanted, value, tariff):
            return None
        else:
            shown = wanted
        parts.append(f"{name}={quoted(shown)}")
    return ",".join(parts)


@lru_cache(maxsize=4096)
def quoted(value: str) -> str:
    """A name as part of a subject: without the comma and sign that part them."""
    return quote(value, safe=" @.:/*-")


def _value(name: str, x: Exchange) -> str | None:
    if name == "provider":
        return x.provider
    value: str | None = getattr(x.identity, name)
    return value


def _is(name: str, wanted: str, value: str | None, tariff: Tariff | None) -> bool:
    if name != "model":
        return wanted == value
    names = [value, tariff.name if tariff else None]
    return any(is_model(name, (wanted,)) for name in names if name)


def tariff_of(x: Exchange) -> Priced | None:
    """What the call's tokens will cost, at most where one of several models will serve it; None where the price of any
    is not known."""
    found = [tariff for name in x.call.models if (tariff := _tariff(x, name))]
    if not found or len(found) < len(x.call.models):
        return None
    return found[0] if len(found) == 1 else Dearest(tuple(found))


def unpriced(x: Exchange) -> str | None:
    """The first of the call's models whose price is not known."""
    return next((name for name in x.call.models if _tariff(x, name) is None), None)


def _tariff(x: Exchange, model: str) -> Tariff | None:
    """A model's. Of a deployment whose name has no price that of the model which the body claims it to be: what it was
    is told by the answer, and settled."""
    names = (model, x.call.claimed) if model == x.call.model and x.call.claimed else (model,)
    found = (prices.find(name, x.provider, x.started, x.rules.prices.prices) for name in names)
    return next(filter(None, found), None)


@dataclass(slots=True, frozen=True)
class Need:
    """Tokens: of the prompt, of the output that is set aside, and of those of the prompt that may be written to the
    provider's own cache, for five minutes or for an hour, which costs more than plain input."""

    prompt: int
    output: int
    written: int = 0
    written_1h: int = 0


def wants(found: Sequence[Match], need: Need, tariff: Priced | None) -> list[Want]:
    """What the call takes of each limit before it is sent."""
    return [_want(match, *amounts(match.unit, need, tariff)) for match in found]


def more(found: Sequence[Match], need: Need, then: Need, tariff: Priced | None) -> list[Want]:
    """What a larger need takes, after `need`, of the limits that go by tokens."""
    made = []
    for match in found:
        if match.measures:
            before = sum(amounts(match.unit, need, tariff))
            after = sum(amounts(match.unit, then, tariff))
            made.append(_want(match, 0, after - before))
    return made


def again(asked: Sequence[Want], found: Sequence[Match], need: Need, tariff: Priced | None) -> list[Want]:
    """What a call that runs takes once more of the limits that it `asked` of, when it lost all but its prompt."""
    return [
        replace(want, sunk=0, rest=amounts(match.unit, need, tariff)[1])
        for want, match in zip(asked, found, strict=True)
    ]


def _want(match: Match, sunk: int, rest: int) -> Want:
    at, binding = match.window, match.mode is Mode.ENFORCE
    return Want(match.key, at.slot, at.first, at.last, at.expires, match.most, sunk, rest, binding)


def amounts(unit: str, need: Need, tariff: Priced | None) -> tuple[int, int]:
    """What a need is in a unit's smallest: of the prompt, and of the output."""
    if unit == "tokens":
        return need.prompt, need.output
    if unit == "requests":
        return 1, 0
    if unit == "concurrent":
        return 0, 1
    assert tariff  # without one the tokens are counted
    asked = Usage(prompt=need.prompt, cache_write_5m=need.written, cache_write_1h=need.written_1h)
    prompt = tariff.cost(asked)
    return prompt, max(0, tariff.cost(replace(asked, completion=need.output)) - prompt)


def spent(x: Exchange, found: Sequence[Match], need: Need, tariff: Priced | None) -> dict[str, int]:
    """What a finished call used of each limit, by the key's text; what is unknown is as it was reserved.

    A call that was never sent gives everything back. One that was sent counts as a request, whatever became of it."""
    if x.times.sent is None:
        return {}
    return {key: amount for key, amount in _spent(x, found, need, tariff) if amount}


def _spent(x: Exchange, found: Sequence[Match], need: Need, tariff: Priced | None) -> Iterator[tuple[str, int]]:
    failed = x.refusal is None and x.status is not None and x.status >= 400  # by a provider, who charges nothing
    nothing = x.usage is None and (failed or not x.forwarded)
    # What was delivered of an answer that is made later, or only begins a batch, says nothing of what it will use.
    later = x.usage is not None and x.usage.estimated and elsewhere.is_background(x)
    served = answered(x.call, x.answer.model) if x.answer and x.answer.model else None
    for match in found:
        if match.models and served in x.call.models and served not in match.models:
            continue  # another model's count, which did not serve it
        if match.unit == "requests":
            yield match.key.text, 1
        elif match.unit == "concurrent" or nothing:
            continue
        else:
            told = x.cost if match.unit == "dollars" else x.usage.total if x.usage else None
            told = None if later else told
            yield match.key.text, sum(amounts(match.unit, need, tariff)) if told is None else told
