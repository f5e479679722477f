"""The arithmetic of prices, by hand-made tariffs."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.dialects.base import Usage
from mitmesh.tariff import Rate, Tariff

FIELDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")


def tariff(*dollars: str, tiers: tuple[tuple[int, Decimal], ...] = ()) -> Tariff:
    """A tariff of these dollars per million tokens, in the order of FIELDS."""
    rates: dict[str, Rate] = {name: (Decimal(each), tiers) for name, each in zip(FIELDS, dollars, strict=True)}
    return Tariff("test", **rates)


CLAUDE = tariff("3", "15", "0.3", "3.75", "6", "15")


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(), 0),
        (Usage(prompt=1_000_000), 3_000_000),
        (Usage(prompt=1000, completion=100), 3000 + 1500),
        (Usage(prompt=1000, cache_read=900), 300 + 270),
        (Usage(prompt=1000, cache_write_5m=1000), 3750),  # once: not as input too (litellm 9812)
        (Usage(prompt=1000, cache_write_1h=1000), 6000),  # not at the five-minute rate (litellm 18988)
        (Usage(prompt=1000, cache_read=500, cache_write_5m=300, cache_write_1h=100), 300 + 150 + 1125 + 600),
        (Usage(completion=100, reasoning=60), 1500),  # reasoning is in the completion
        (Usage(prompt=10, cache_read=50), 15),  # contradicts itself: not negative
        (Usage(completion=10, reasoning=50), 150),
    ],
)
def test_cost(usage: Usage, cost: int) -> None:
    """Every token is paid once, at its own rate."""
    assert CLAUDE.cost(usage) == cost


@pytest.mark.parametrize(("tokens", "cost"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)])
def test_rounding_is_half_up_and_once(tokens: int, cost: int) -> None:
    """Half a micro-dollar rounds up, and only the sum is rounded."""
    half = tariff("0.5", "0", "0", "0", "0", "0")
    assert half.cost(Usage(prompt=tokens)) == cost
    thirds = tariff("0.25", "0.25", "0", "0", "0", "0.25")
    assert thirds.cost(Usage(prompt=1, completion=1)) == 1


@pytest.mark.parametrize(("prompt", "cost"), [(200_000, 200_000), (200_001, 400_002), (600_000, 1_800_000)])
def test_tiers(prompt: int, cost: int) -> None:
    """Above a tier's limit all tokens cost more, not only those above."""
    tiered = tariff("1", "1", "1", "1", "1", "1", tiers=((200_000, Decimal(2)), (500_000, Decimal(3))))
    assert tiered.cost(Usage(prompt=prompt)) == cost


def test_the_prompt_decides_the_tier_of_the_completion() -> None:
    """The completion's tier follows the prompt's size, cache reads included."""
    tiered = tariff("1", "1", "1", "1", "1", "1", tiers=((100, Decimal(2)),))
    assert tiered.cost(Usage(prompt=101, cache_read=101, completion=1000)) == 202 + 2000
    assert tiered.cost(Usage(prompt=100, completion=1000)) == 100 + 1000


_tokens = st.integers(0, 10**9)


@given(st.builds(Usage, *([_tokens] * 6)))
def test_cost_is_never_negative(usage: Any) -> None:
    """Whatever a provider claims, the cost is an integer of at least 0."""
    cost = CLAUDE.cost(usage)
    assert isinstance(cost, int)
    assert cost >= 0
