"""Windows: in which count a moment falls, and when that begins anew. Pure; the clock is given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitmesh.rules.quotas import Limit

SLOTS = 60
"""Parts of a rolling window: what was used leaves it at most a sixtieth late, never early."""
NEVER = 2**53
"""The end of what has none, in seconds since 1970."""
_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_FIXED = {"minute": 60, "hour": 3600, "day": 86400}


@dataclass(slots=True, frozen=True)
class Window:
    """A moment's place in the counts: what is booked now goes under `slot`, all of `first`..`last` counts.

    Times are whole seconds since 1970: `resets` is when what is booked now has left the window (NEVER where nothing
    does), `width` how long a slot stays in it after its beginning."""

    slot: int
    first: int
    last: int
    width: int
    resets: int

    @property
    def expires(self) -> int:
        """When the slot's count may be forgotten: a day after it left the window, in case a clock steps back."""
        return NEVER if self.width == NEVER else self.slot + self.width + 86400


def window(limit: Limit, now: float) -> Window:
    """The window of a limit at a moment (seconds since 1970, UTC)."""
    if limit.rolling:
        return _rolling(int(limit.rolling[:-1]) * _SECONDS[limit.rolling[-1]], int(now))
    return _calendar(limit.per or "total", int(now) // 60)


@lru_cache(maxsize=64)
def _rolling(length: int, now: int) -> Window:
    step = max(1, length // SLOTS)
    slot = now - now % step
    # Slots ahead of us are of a worker whose clock is ahead; what it booked counts.
    return Window(slot, slot - length, slot + length, length + step, slot + length + step)


@lru_cache(maxsize=64)
def _calendar(per: str, minute: int) -> Window:
    now = minute * 60
    if per == "total":
        return Window(0, 0, 0, NEVER, NEVER)
    if per == "month":
        at = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0)
        start, end = int(at.timestamp()), int((at + timedelta(days=32)).replace(day=1).timestamp())
    else:
        start = now - now % _FIXED[per]
        end = start + _FIXED[per]
    return Window(start, start, start, end - start, end)
