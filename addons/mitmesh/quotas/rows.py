"""How full each limit is: what scripts/quota and the metrics show. Pure; the clock is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mitmesh.quotas.ledger import ALL, Count, Grant
from mitmesh.quotas.plan import quoted
from mitmesh.quotas.windows import NEVER, window
from mitmesh.rules.quotas import Limit


@dataclass(frozen=True)
class Row:
    """How one limit stands for one subject. Amounts in the limit's smallest unit. `resets`, in seconds since 1970: when
    its window ends, or the oldest of what is in a rolling one leaves it (with nothing in it, what would be used now);
    None where nothing does."""

    limit: str
    unit: str
    subject: str
    used: int
    reserved: int
    granted: int
    of: int
    resets: int | None

    @property
    def left(self) -> int:
        """What may still be used."""
        return self.of + self.granted - self.used - self.reserved


def rows(limits: Sequence[Limit], counts: Sequence[Count], grants: Sequence[Grant], now: float) -> Iterator[Row]:
    """Each limit with every subject that has used any of it; one that nobody has used is there all the same."""
    for limit in limits:
        kinds = {limit.unit: limit.amount, "unpriced": limit.unpriced_tokens or 0}
        seen = False
        for unit, amount in kinds.items():
            for subject, (used, reserved, oldest) in _sums(limit, unit, counts, now).items():
                seen = True
                yield _row(limit, unit, subject, used, reserved, amount, grants, _resets(limit, oldest, now))
        if not seen:
            given = (f"{name}={quoted(wanted)}" for name, wanted in limit.about)
            resets = _resets(limit, None, now)
            yield _row(limit, limit.unit, ",".join(given), 0, 0, limit.amount, grants, resets)


def _sums(limit: Limit, unit: str, counts: Sequence[Count], now: float) -> dict[str, tuple[int, int, int | None]]:
    """Used, reserved, and the oldest slot with any of it, by subject."""
    at = None if limit.unit == "concurrent" else window(limit, now)
    kind = f"{unit}/{limit.per or limit.rolling or 'now'}"
    found: dict[str, tuple[int, int, int | None]] = {}
    for count in counts:
        if (count.key.limit, count.key.kind) == (limit.id, kind) and (at is None or at.first <= count.slot <= at.last):
            used, reserved, oldest = found.get(count.key.subject, (0, 0, None))
            if count.used + count.reserved > 0:
                oldest = count.slot if oldest is None else min(oldest, count.slot)
            found[count.key.subject] = (used + count.used, reserved + count.reserved, oldest)
    return found


def _resets(limit: Limit, oldest: int | None, now: float) -> int | None:
    if limit.unit == "concurrent":
        return None
    at = window(limit, now)
    if limit.rolling and oldest is not None:
        return oldest + at.width
    return None if at.resets == NEVER else at.resets


def _row(
    limit: Limit,
    unit: str,
    subject: str,
    used: int,
    reserved: int,
    amount: int,
    grants: Sequence[Grant],
    resets: int | None,
) -> Row:
    mine = (
        grant.amount
        for grant in grants
        if grant.limit == limit.id and grant.subject in (subject, ALL) and grant.unit in (unit, "")
    )
    return Row(limit.id, unit, subject, used, reserved, sum(mine), amount * limit.hard_stop_at // 100, resets)
