"""What a call cost: an operator's rules before genai-prices, and None for what neither knows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price

from mitmesh import prices
from mitmesh.dialects.base import Usage
from mitmesh.rules import Price

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
MILLION = Usage(prompt=1_000_000)


def rule(model: str, dollars: str, provider: str | None = None, **rest: str) -> Price:
    return Price.model_validate({"model": model, "provider": provider, "input": dollars, "output": "0", **rest})


RULES = [
    rule("gpt-4", "7"),
    rule("gpt-4-turbo", "8"),
    rule("gpt-4-turbo-2024", "9", "azure"),
    rule("My-Model", "1.5"),
    rule("qwen-", "0.2"),
    rule("free", "0"),
]


@pytest.mark.parametrize(
    ("model", "provider", "dollars"),
    [
        ("gpt-4", "openai", 7),
        ("gpt-4-0613", "openai", 7),
        ("gpt-4-turbo", "openai", 8),  # the longest beginning, wherever it stands
        ("gpt-4-turbo-2024-04-09", "openai", 8),
        ("gpt-4-turbo-2024-04-09", "azure", 9),
        ("gpt-4o-mini", "openai", "0.15"),  # gpt-4 is no beginning of gpt-4o-mini
        ("gpt-4.1", "openai", 2),
        ("my-model", "ollama", "1.5"),
        ("MY-MODEL:latest", "nobody", "1.5"),
        ("my-model2", "ollama", "1.5"),  # as llama3 is a llama
        ("my-models", "ollama", None),
        ("qwen-2.5", "vllm", "0.2"),
        ("qwen2", "vllm", None),
        ("free", "ollama", 0),  # declared free is 0, which is not unknown
        ("unheard-of", "openai", None),
        ("x" * 10_000, "openai", None),
        ("", "openai", None),
    ],
)
def test_rules(model: str, provider: str, dollars: float | str | None) -> None:
    """The longest rule that begins a name wins over genai-prices; what nobody knows has no price."""
    cost = prices.price(model, provider, MILLION, NOW, RULES)
    assert cost == (None if dollars is None else round(float(dollars) * 1_000_000))


@pytest.mark.parametrize(
    ("requested", "served", "dollars"),
    [
        ("my-deployment", "gpt-4o-2024-08-06", "2.5"),  # Azure: the request has a deployment's name
        ("gpt-4o", "gpt-4o-2024-05-13", "5"),  # the snapshot that answered decides
        ("gpt-4o", "unheard-of", "2.5"),
        ("my-model", "gpt-4o", "1.5"),  # a rule for the requested name wins over genai-prices' for the served
        ("gpt-4o", "my-model", "1.5"),
    ],
)
def test_requested_and_served(requested: str, served: str, dollars: str) -> None:
    """A rule may name the requested or the served model; without one the served model's price is taken."""
    cost = prices.price(requested, "openai", MILLION, NOW, RULES, served=served)
    assert cost == round(float(dollars) * 1_000_000)


@pytest.mark.parametrize(
    ("given", "usage", "cost"),
    [
        ({}, Usage(prompt=100, cache_read=100), 200),
        ({"cache_read": "0.2"}, Usage(prompt=100, cache_read=100), 20),
        ({}, Usage(prompt=100, cache_write_5m=100), 200),
        ({"cache_write_5m": "2.5"}, Usage(prompt=100, cache_write_5m=100), 250),
        ({"cache_write_5m": "2.5"}, Usage(prompt=100, cache_write_1h=100), 250),
        ({"cache_write_5m": "2.5", "cache_write_1h": "4"}, Usage(prompt=100, cache_write_1h=100), 400),
        ({"output": "10"}, Usage(completion=100, reasoning=40), 1000),
    ],
)
def test_cache_prices_of_rules(given: dict[str, str], usage: Usage, cost: int) -> None:
    """What a rule leaves out costs as rules/prices.yaml's descriptions say."""
    assert prices.price("m", "p", usage, NOW, [rule("m", "2", **given)]) == cost


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o-mini", "openai"),
        ("o3-mini", "openai"),
        ("claude-sonnet-4-5-20250929", "anthropic"),
        ("claude-opus-4-1", "anthropic"),
        ("gemini-2.5-pro", "google"),
        ("mistral-large-latest", "mistral"),
        ("openai/gpt-4o", "openrouter"),
    ],
)
@pytest.mark.parametrize("prompt", [1_000, 250_001])
def test_agrees_with_genai_prices(model: str, provider: str, prompt: int) -> None:
    """For listed models the cost is genai-prices' own, rounded once."""
    usage = Usage(prompt=prompt, completion=777, cache_read=300, cache_write_5m=200, cache_write_1h=100)
    theirs = TheirUsage(
        input_tokens=prompt,
        output_tokens=777,
        cache_read_tokens=300,
        cache_write_tokens=300,
        cache_write_5m_tokens=200,
        cache_write_1h_tokens=100,
        output_reasoning_tokens=0,
    )
    expected = calc_price(theirs, model, provider_id=provider, genai_request_timestamp=NOW).total_price * 1_000_000
    cost = prices.price(model, provider, usage, NOW, [])
    assert cost is not None
    assert abs(cost - expected) <= 0.5


def test_names_are_for_labels() -> None:
    """`find` names a tariff as its list does, so that metrics have one name for all snapshots."""
    found = [prices.find(model, "openai", NOW, RULES) for model in ("gpt-4o-2024-08-06", "my-model:7b", "junk")]
    assert [tariff and tariff.name for tariff in found] == ["gpt-4o", "My-Model", None]
