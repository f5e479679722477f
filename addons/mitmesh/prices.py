"""What a call cost, in integer micro-dollars: an operator's own prices first, then those of genai-prices.

What neither knows has no price: None, never 0. Priced are tokens as the provider reports them; charges per search,
image or second, and batch or fast tiers, are not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from mitmesh.dialects.base import Usage
from mitmesh.pricelist import listed, load
from mitmesh.tariff import Rate, Tariff

if TYPE_CHECKING:
    from mitmesh.rules import Price

__all__ = ["find", "load", "price"]

_SEPARATORS = frozenset("-:@/_")
_LONGEST_NAME = 200


def price(
    model: str, provider: str, usage: Usage, when: datetime, rules: Sequence[Price], *, served: str | None = None
) -> int | None:
    """What `usage` cost, in micro-dollars, or None where neither `rules` (of rules/prices.yaml) nor genai-prices knows.

    `model` is the name in the request, `served` the one in the answer, if it differs; `when` (aware) decides between
    prices that changed or vary by the time of day.
    """
    tariff = find(model, provider, when, rules, served=served)
    return None if tariff is None else tariff.cost(usage)


def find(
    model: str, provider: str, when: datetime, rules: Sequence[Price], *, served: str | None = None
) -> Tariff | None:
    """The tariff of a model, or None. A rule wins over genai-prices, and of two rules the one with the longer name;
    in genai-prices the served name, which is often dated and so exact, comes before the requested."""
    names = [name.lower() for name in dict.fromkeys((served, model)) if name and len(name) <= _LONGEST_NAME]
    if rules and (rule := _rule(names, provider, rules)):
        return _of_rule(rule.model, rule.input, rule.output, rule.cache_read, rule.cache_write_5m, rule.cache_write_1h)
    for name in names:
        if model_listed := listed(name, provider):
            return model_listed.tariff(when)
    return None


def _rule(names: Iterable[str], provider: str, rules: Sequence[Price]) -> Price | None:
    """The rule whose model is the longest beginning of one of the names."""
    best: Price | None = None
    for rule in rules:
        if rule.provider not in (None, provider) or (best and len(rule.model) <= len(best.model)):
            continue
        if any(_begins(rule.model.lower(), name) for name in names):
            best = rule
    return best


def _begins(beginning: str, name: str) -> bool:
    """Is it a beginning of the name that ends where a part of the name does? So `gpt-4` fits gpt-4 and gpt-4-turbo,
    but neither gpt-4o nor gpt-4.1; `llama` fits llama3."""
    if not beginning or not name.startswith(beginning):
        return False
    last, rest = beginning[-1], name[len(beginning) :]
    return not rest or rest[0] in _SEPARATORS or last in _SEPARATORS or (last.isalpha() and rest[0].isdigit())


@lru_cache(maxsize=256)
def _of_rule(model: str, input: str, output: str, read: str | None, write: str | None, hour: str | None) -> Tariff:
    def rate(*dollars: str | None) -> Rate:
        return Decimal(next(value for value in dollars if value is not None)), ()

    return Tariff(
        name=model,
        input=rate(input),
        output=rate(output),
        cache_read=rate(read, input),
        cache_write_5m=rate(write, input),
        cache_write_1h=rate(hour, write, input),
        reasoning=rate(output),
    )
