from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.quotas.windows import NEVER, window
from mitmesh.rules.quotas import Limit


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def limit(**fields: str) -> Limit:
    return Limit.model_validate({"id": "a", "unit": "tokens", "limit": 1, **fields})


@pytest.mark.parametrize(
    ("per", "now", "begins", "resets"),
    [
        ("minute", "2026-02-28T23:59:59", "2026-02-28T23:59:00", "2026-03-01T00:00:00"),
        ("hour", "2026-02-28T23:59:59", "2026-02-28T23:00:00", "2026-03-01T00:00:00"),
        ("day", "2026-03-01T00:00:00", "2026-03-01T00:00:00", "2026-03-02T00:00:00"),
        ("month", "2024-02-29T12:00:00", "2024-02-01T00:00:00", "2024-03-01T00:00:00"),
        ("month", "2026-12-31T23:59:59", "2026-12-01T00:00:00", "2027-01-01T00:00:00"),
    ],
)
def test_calendar(per: str, now: str, begins: str, resets: str) -> None:
    """Calendar windows are UTC's, whatever the year."""
    found = window(limit(per=per), at(now) + 0.5)
    assert (found.slot, found.first, found.last) == (at(begins),) * 3
    assert found.resets == at(resets) and found.expires > found.resets


def test_total() -> None:
    """Never begins anew, and is never forgotten."""
    found = window(limit(per="total"), 5e9)
    assert (found.slot, found.resets, found.expires) == (0, NEVER, NEVER)


@given(st.integers(1, 400), st.sampled_from("mhd"), st.integers(10**9, 2 * 10**9), st.integers(0, 10**8))
def test_rolling(number: int, unit: str, then: int, later: int) -> None:
    """What was booked counts for at least the window's length, and at most a sixtieth longer."""
    one = limit(rolling=f"{number}{unit}")
    length = number * {"m": 60, "h": 3600, "d": 86400}[unit]
    slot, now = window(one, then).slot, window(one, then + later)
    counts = now.first <= slot <= now.last
    if later <= length:
        assert counts
    if later > length + 2 * (length // 60) + 2:
        assert not counts
