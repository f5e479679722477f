"""What tokens cost: the arithmetic, whatever list the numbers are from."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal

from mitmesh.dialects.base import Usage

type Rate = tuple[Decimal, tuple[tuple[int, Decimal], ...]]
"""Dollars per million tokens, and for larger prompts `(above this many tokens, dollars)`, ascending."""


@dataclass(slots=True, frozen=True)
class Tariff:
    """What one model's tokens cost, and the name it goes by in the price list."""

    name: str
    input: Rate
    output: Rate
    cache_read: Rate
    cache_write_5m: Rate
    cache_write_1h: Rate
    reasoning: Rate

    def cost(self, usage: Usage) -> int:
        """Micro-dollars for `usage`, rounded half up once. A usage that contradicts itself never gives a negative."""
        prompt, cached = usage.prompt, usage.cache_read + usage.cache_write_5m + usage.cache_write_1h
        parts = (
            (self.input, max(0, prompt - cached)),
            (self.cache_read, usage.cache_read),
            (self.cache_write_5m, usage.cache_write_5m),
            (self.cache_write_1h, usage.cache_write_1h),
            (self.output, max(0, usage.completion - usage.reasoning)),
            (self.reasoning, min(usage.reasoning, usage.completion)),
        )
        # dollars per million tokens are micro-dollars per token
        total = sum((_at(rate, prompt) * tokens for rate, tokens in parts if tokens > 0), Decimal(0))
        return int(total.to_integral_value(ROUND_HALF_UP))


@dataclass(slots=True, frozen=True)
class Dearest:
    """The tariffs of several models, one of which will serve a call: what it costs at most."""

    tariffs: tuple[Tariff, ...]

    def cost(self, usage: Usage) -> int:
        """Micro-dollars for `usage` at the dearest of them."""
        return max(tariff.cost(usage) for tariff in self.tariffs)


def _at(rate: Rate, prompt: int) -> Decimal:
    """A rate at this size of prompt. Crossing a tier's limit prices all tokens of the call, not only those above."""
    dollars, tiers = rate
    for above, dearer in tiers:
        if prompt > above:
            dollars = dearer
    return dollars
