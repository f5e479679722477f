"""How full each limit is: what scripts/quota and the metrics show. Pure; the clock is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mitmesh.quotas.ledger import ALL, Count, Grant
from mitmesh.quotas.windows import NEVER, window
from mitmesh.rules.quotas import DIMENSIONS, Limit


@dataclass(frozen=True)
class Row:
    """How one limit stands for one subject. Amounts in the limit's smallest unit, `resets` in seconds since 1970."""

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
            for subject, (used, reserved) in _sums(limit, unit, counts, now).items():
                seen = True
                yield _row(limit, unit, subject, used, reserved, amount, grants, now)
        if not seen:
            given = (f"{name}={getattr(limit, name)}" for name in DIMENSIONS if getattr(limit, name))
            yield _row(limit, limit.unit, ",".join(given), 0, 0, limit.amount, grants, now)


def _sums(limit: Limit, unit: str, counts: Sequence[Count], now: float) -> dict[str, tuple[int, int]]:
    at = None if limit.unit == "concurrent" else window(limit, now)
    kind = f"{unit}/{limit.per or limit.rolling or 'now'}"
    found: dict[str, tuple[int, int]] = {}
    for count in counts:
        if (count.key.limit, count.key.kind) == (limit.id, kind) and (at is None or at.first <= count.slot <= at.last):
            used, reserved = found.get(count.key.subject, (0, 0))
            found[count.key.subject] = (used + count.used, reserved + count.reserved)
    return found


def _row(
    limit: Limit, unit: str, subject: str, used: int, reserved: int, amount: int, grants: Sequence[Grant], now: float
) -> Row:
    mine = (grant.amount for grant in grants if grant.limit == limit.id and grant.subject in (subject, ALL))
    resets = NEVER if limit.unit == "concurrent" else window(limit, now).resets
    most = amount * limit.hard_stop_at // 100
    return Row(limit.id, unit, subject, used, reserved, sum(mine), most, None if resets == NEVER else resets)
