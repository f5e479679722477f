"""What people read of a limit: refusals, warnings, tables."""

from __future__ import annotations

from urllib.parse import unquote

from mitmesh.quotas.ledger import Standing
from mitmesh.quotas.plan import Match
from mitmesh.rules.quotas import Limit

_SPANS = {"minute": "this minute", "hour": "this hour", "day": "today", "month": "this month", "total": "in all"}


def whose(subject: str) -> str:
    """`team=red,user=ann` as `team 'red', user 'ann'`."""
    pairs = [part.partition("=") for part in subject.split(",") if part]
    return ", ".join(f"{name} '{unquote(value)}'" for name, _, value in pairs) or "everyone"


def number(unit: str, amount: int) -> str:
    """An amount in its smallest unit, without the unit's name."""
    if unit != "dollars":
        return f"{amount:,}"
    whole, micro = divmod(abs(amount), 1_000_000)
    part = f"{micro:06d}".rstrip("0")
    return f"{'-' if amount < 0 else ''}${whole:,}.{part:0<2}"


def of(unit: str, used: int, most: int) -> str:
    """`2,040,000/2,000,000 tokens`."""
    name = {"dollars": "", "concurrent": " concurrent calls"}.get(unit, f" {unit}")
    return f"{number(unit, used)}/{number(unit, most)}{name}"


def span(limit: Limit) -> str:
    """In which time."""
    if limit.rolling:
        return f"in the last {limit.rolling}"
    return _SPANS[limit.per] if limit.per else "at this moment"


def percent(match: Match, standing: Standing) -> int:
    """How full a limit is, grants included, in percent, rounded down; 100 for one of nothing."""
    most = match.amount + standing.granted
    return (standing.used + standing.reserved) * 100 // most if most > 0 else 100


def full(match: Match, standing: Standing) -> str:
    """How full it is up to where it refuses, in a sentence's beginning."""
    said, stop = _used(match, standing, match.most), match.limit.hard_stop_at
    if stop == 100:
        return said
    granted = f", {number(match.unit, standing.granted)} more granted" if standing.granted else ""
    return f"{said} (hard stop at {stop}% of {number(match.unit, match.amount)}{granted})"


def _used(match: Match, standing: Standing, most: int) -> str:
    """Who used how much of `most`, and of what is granted."""
    counted = standing.used + (standing.reserved if match.unit == "concurrent" else 0)
    said = f"{whose(match.key.subject)} used {of(match.unit, counted, most + standing.granted)}"
    return f"{said} {span(match.limit)}"


def exceeded(match: Match, standing: Standing, asked: int) -> str:
    """Why a call is refused: who used how much of what, and what else there is to know."""
    more = []
    if match.unit != "concurrent":
        if standing.reserved:
            more.append(f"{number(match.unit, standing.reserved)} are reserved by calls that run")
        more.append(f"this call may need {number(match.unit, asked)}")
    notes = "".join(f"; {each}" for each in more)
    return f"Quota exceeded: {full(match, standing)}{notes} (limit {match.limit.id})."


def ended(match: Match, standing: Standing, more: int) -> str:
    """Why an answer ends before its time: what follows needs so much more."""
    others = f"; {number(match.unit, standing.reserved)} are reserved by other calls" if standing.reserved else ""
    needs = f"the answer ends here, for its next part needs {number(match.unit, more)} more"
    return f"Quota exceeded: {full(match, standing)}{others}; {needs} (limit {match.limit.id})."


def overran(match: Match, standing: Standing) -> str:
    """That a call which has ended went beyond a limit that only observes."""
    return f"Quota exceeded: {full(match, standing)}, when this call ended (limit {match.limit.id})."


def warning(match: Match, standing: Standing) -> str:
    """That a limit is nearly used up."""
    stop = match.limit.hard_stop_at
    stops = f"hard stop at {stop}%, " if stop != 100 else ""
    return f"{_used(match, standing, match.amount)} ({percent(match, standing)}%, {stops}limit {match.limit.id})"
