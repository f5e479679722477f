"""genai-prices' models, found by name.

The data is genai-prices', the lookup is ours: its own matches by substring in places, keeps every name it was ever
asked for, and takes twenty times as long. Nothing here goes to the network (in genai-prices only `UpdatePrices` does).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from mitmesh.tariff import Rate, Tariff

if TYPE_CHECKING:
    from genai_prices import types

    type _Constraint = types.StartDateConstraint | types.TimeOfDateConstraint | None

THEIRS: Mapping[str, str] = {
    "azure_openai": "azure",
    "bedrock": "aws",
    "chatgpt": "openai",
    "claude": "anthropic",
    "codex": "openai",
    "copilot": "github-copilot",
    "gemini": "google",
    "github": "github-copilot",
    "moonshot": "moonshotai",
    "vertex": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
}
"""Our providers' names in genai-prices, where they differ. Hugging Face is one router in front of several providers:
genai-prices calls each `huggingface_…`, and the model's suffix (`llama:groq`) says which."""

_AFTER = frozenset("-:@/_.[ ")
_BEFORE = frozenset("/.:@")
_DATED = re.compile(r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d)$")
_PATH = re.compile(r"^(?:.*/)?models/")


def load() -> None:
    """Read genai-prices' data (0.6 s, so call it in a thread, at start)."""
    _lists()


@lru_cache(maxsize=4096)
def listed(name: str, provider: str) -> Listed | None:
    """A provider's model by its name (lower case), with its path or without, then by that name without its date: a new
    snapshot costs what its model does. None for what genai-prices does not know."""
    theirs = THEIRS.get(provider, provider)
    if theirs == "huggingface":
        name, _, router = name.rpartition(":")
        theirs = f"huggingface_{router}"
    if (known := _lists().get(theirs)) is None:
        return None
    bare = _PATH.sub("", name)
    candidates = dict.fromkeys((name, bare, _DATED.sub("", bare)))
    return next((found for each in candidates if each and (found := known.find(each))), None)


class Listed:
    """A model in genai-prices, with its tariff for each of the conditions it lists."""

    def __init__(self, model: types.ModelInfo) -> None:
        self._tariffs: list[tuple[_Constraint, Tariff | None]]
        if isinstance(model.prices, list):
            self._tariffs = [(entry.constraint, _of_list(model.id, entry.prices)) for entry in model.prices]
        else:
            self._tariffs = [(None, _of_list(model.id, model.prices))]

    def tariff(self, when: datetime) -> Tariff | None:
        """The tariff at that time: the last whose condition holds, else the first (genai-prices' own order)."""
        for constraint, tariff in reversed(self._tariffs):
            if constraint is None or constraint.active(when):
                return tariff
        return self._tariffs[0][1]


def _of_list(name: str, prices: Any) -> Tariff | None:
    """A genai-prices price as a tariff; None for what is not sold by the text token (seconds, characters, images)."""

    def rate(key: str, default: Rate) -> Rate:
        value = getattr(prices, key)
        if value is None:
            return default
        if isinstance(value, Decimal):
            return value, ()
        return value.base, tuple((tier.start, tier.price) for tier in value.tiers)

    if prices.input_mtok is None and prices.output_mtok is None:
        return None
    free: Rate = (Decimal(0), ())
    input, output = rate("input_mtok", free), rate("output_mtok", free)
    write = rate("cache_write_mtok", input)
    # Only Anthropic's API reports writes for an hour, at twice the input (its price list: 5 min 1.25x, 1 h 2x).
    hour = write if prices.cache_write_mtok is None else _twice(input)
    return Tariff(
        name=name,
        input=input,
        output=output,
        cache_read=rate("cache_read_mtok", input),
        cache_write_5m=rate("cache_write_5m_mtok", write),
        cache_write_1h=rate("cache_write_1h_mtok", hour),
        reasoning=rate("output_reasoning_mtok", output),
    )


def _twice(rate: Rate) -> Rate:
    return 2 * rate[0], tuple((above, 2 * dollars) for above, dollars in rate[1])


class PriceList:
    """One provider's models in genai-prices: by exact name, and by the clauses that leave room, in their order."""

    def __init__(self, provider: types.Provider) -> None:
        self.fallbacks: list[PriceList] = []
        self._exact: dict[str, types.ModelInfo] = {}
        self._loose: list[tuple[Any, types.ModelInfo]] = []
        for model in provider.models:
            for clause in _alternatives(model.match):
                if exact := getattr(clause, "equals", None):
                    self._exact.setdefault(exact.lower(), model)
                else:
                    self._loose.append((clause, model))
            if model.is_match(model.id):
                self._exact.setdefault(model.id.lower(), model)

    def find(self, name: str) -> Listed | None:
        """The model of that name, here or at those whose models this provider resells."""
        lists = (self, *self.fallbacks)
        model = next((model for each in lists if (model := each._own(name))), None)
        return Listed(model) if model else None

    def _own(self, name: str) -> types.ModelInfo | None:
        exact = self._exact.get(name)
        return exact or next((model for clause, model in self._loose if _fits(clause, name)), None)


def _alternatives(clause: Any) -> list[Any]:
    """The clauses of which one is enough."""
    nested = getattr(clause, "or_", None)
    return [clause] if nested is None else [inner for each in nested for inner in _alternatives(each)]


def _fits(clause: Any, name: str) -> bool:
    """Does the clause match, at the borders of the name's parts? So `claude-v2` is not found in `my-claude-v2-proxy`,
    though it is in `us.anthropic.claude-v2`, and `claude-2` begins claude-2.1 but not claude-20."""
    if all_of := getattr(clause, "and_", None):
        return all(_fits(each, name) for each in all_of)
    if starts := getattr(clause, "starts_with", None):
        return _borders(name, starts.lower(), at=0)
    if ends := getattr(clause, "ends_with", None):
        return name.endswith(ends.lower()) and _borders(name, ends.lower(), at=len(name) - len(ends))
    if contains := getattr(clause, "contains", None):
        return _borders(name, contains.lower(), at=name.find(contains.lower()))
    return bool(clause.is_match(name))


def _borders(name: str, part: str, *, at: int) -> bool:
    if at < 0 or not name.startswith(part, at):
        return False
    rest = name[at + len(part) :]
    begins = at == 0 or part[0] in _BEFORE or name[at - 1] in _BEFORE
    return begins and (not rest or rest[0] in _AFTER or part[-1] in _AFTER)


@cache
def _lists() -> dict[str, PriceList]:
    from genai_prices.data import providers  # 0.6 s: not at import, but in load()

    lists = {provider.id: PriceList(provider) for provider in providers}
    for provider in providers:
        lists[provider.id].fallbacks = [lists[other] for other in provider.fallback_model_providers or ()]
    return lists
