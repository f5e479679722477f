"""Which of genai-prices' models a name means, and which names mean none."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import types
from genai_prices.data import providers
from genai_prices.types import ClauseContains, ClauseEndsWith, ClauseRegex, ClauseStartsWith

from mitmesh import pricelist
from mitmesh.dialects.base import Usage
from mitmesh.pricelist import listed
from mitmesh.rules import load

RULES = Path(__file__).parents[1] / "rules"
NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)


def name_of(model: str, provider: str) -> str | None:
    found = listed(model.lower(), provider)
    tariff = found and found.tariff(NOW)
    return tariff.name if tariff else None


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o-mini", "gpt-4o-mini"),
        ("openai", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),  # had a price of its own
        ("openai", "gpt-4o-2031-01-01", "gpt-4o"),  # a snapshot not listed yet
        ("openai", "gpt-4", "gpt-4"),
        ("openai", "text-embedding-3-small", "text-embedding-3-small"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic", "claude-2.1", "claude-2"),
        ("google", "gemini-2.5-pro", "gemini-2.5-pro"),
        ("google", "models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("vertex", "publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("google", "claude-opus-4@20250514", "claude-4-opus"),
        ("azure", "gpt-4o", "gpt-4o"),
        ("bedrock", "anthropic.claude-3-haiku-20240307-v1:0", "regional.anthropic.claude-3-haiku-20240307-v1:0"),
        ("mistral", "mistral-large-latest", "mistral-large"),
        ("groq", "llama-3.3-70b-versatile", "llama-3.3-70b-versatile"),
        ("deepseek", "deepseek-chat", "deepseek-chat"),
        ("xai", "grok-3", "grok-3"),
        ("x-ai", "grok-3", "grok-3"),
        ("openrouter", "openai/gpt-4o", "openai/gpt-4o"),
        ("perplexity", "sonar", "sonar"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("huggingface", "openai/gpt-oss-120b:groq", "openai/gpt-oss-120b"),
        ("copilot", "claude-sonnet-4.6", "claude-sonnet-4.6"),
        # unknown stays unknown
        ("openai", "gpt-4-junk-123", None),
        ("openai", "gpt-4o-minimal", None),
        ("openai", "gpt-99", None),
        ("openai", "", None),
        ("openai", "2024-08-06", None),
        ("openai", "my-moderation-model", None),  # genai-prices finds `moderation` anywhere in a name
        ("anthropic", "my-claude-proxy", None),
        ("anthropic", "my-claude-v2-proxy", None),  # and `claude-v2`
        ("anthropic", "claude-20", None),
        ("azure", "my-o4-mini", None),  # and `o4-mini`
        ("huggingface", "openai/gpt-oss-120b", None),  # which of its providers serves it, nobody says
        ("ollama", "gpt-4o", None),
        ("nobody", "gpt-4o", None),
        ("openai", "claude-sonnet-4-5", None),
        ("openai", "whisper-1", None),  # sold by the minute
        ("google", "gemma-3-27b-it", None),  # listed without a price: unknown, not 0
        # genai-prices' own beginnings hold, up to the border of a part
        ("anthropic", "claude-sonnet-4-5-junk", "claude-sonnet-4-5"),
        ("anthropic", "claude-sonnet-4-5junk", None),
    ],
)
def test_names(provider: str, model: str, name: str | None) -> None:
    """A model is found by its names, dated or not, and nothing else is taken for one."""
    assert name_of(model, provider) == name


def test_models_are_found_by_their_own_name() -> None:
    """Every model in the list that its own clauses find, ours find too, and at the same model or an exact one."""
    missed = [
        (provider.id, model.id)
        for provider in providers
        for model in provider.models
        if model.is_match(model.id) and pricelist._lists()[provider.id].find(model.id.lower()) is None
    ]
    assert missed == []


@pytest.mark.parametrize(
    ("clause", "name", "fits"),
    [
        (ClauseContains("claude-v2"), "us.anthropic.claude-v2:1", True),
        (ClauseContains("claude-v2"), "my-claude-v2", False),
        (ClauseContains("claude-v2"), "claude-v20", False),
        (ClauseContains("opus-4@"), "x/opus-4@2025", True),
        (ClauseStartsWith("gpt-5-"), "gpt-5-nano", True),
        (ClauseStartsWith("GPT-5"), "gpt-5.1", True),
        (ClauseStartsWith("gpt-5"), "gpt-50", False),
        (ClauseEndsWith("/kimi"), "us/kimi", True),
        (ClauseEndsWith("kimi"), "us.kimi", True),
        (ClauseEndsWith("kimi"), "okimi", False),
        (ClauseRegex(r"^a-\d$"), "a-1", True),
        (types.ClauseAnd([ClauseStartsWith("a"), ClauseRegex("b$")]), "a-b", True),
        (types.ClauseAnd([ClauseStartsWith("a"), ClauseRegex("b$")]), "a-c", False),
    ],
)
def test_clauses(clause: Any, name: str, fits: bool) -> None:
    """genai-prices' clauses match at the borders of a name's parts only."""
    assert pricelist._fits(clause, name) is fits


def test_cache_write_for_an_hour() -> None:
    """Writes for an hour have their listed price, and twice the input where only the five-minute price is listed."""
    hour = Usage(prompt=1_000_000, cache_write_1h=1_000_000)
    for provider, model in (("anthropic", "claude-3-5-haiku-20241022"), ("google", "claude-3-5-haiku")):
        found = listed(model, provider)
        assert found is not None
        tariff = found.tariff(NOW)
        assert tariff is not None
        assert tariff.cost(hour) == 2 * tariff.input[0] * 1_000_000


def test_conditional_prices() -> None:
    """A price that started on a day or holds at a time of day is taken then, and the first one else."""
    night = types.TimeOfDateConstraint(time(16, 30, tzinfo=UTC), time(0, 30, tzinfo=UTC))
    start = types.StartDateConstraint(datetime(2026, 2, 1, tzinfo=UTC).date())

    def dollars(number: int) -> types.ModelPrice:
        return types.ModelPrice(input_mtok=Decimal(number), output_mtok=Decimal(0))

    model = types.ModelInfo(
        "m",
        types.ClauseEquals("m"),
        prices=[
            types.ConditionalPrice(prices=dollars(3)),
            types.ConditionalPrice(night, prices=dollars(1)),
            types.ConditionalPrice(start, prices=dollars(2)),
        ],
    )
    found = pricelist.Listed(model)
    at = {when: found.tariff(datetime(2026, *when, tzinfo=UTC)) for when in [(1, 15, 12), (1, 15, 20), (2, 1, 20)]}
    assert [tariff.input[0] if tariff else None for tariff in at.values()] == [3, 1, 2]


def test_shipped_providers_have_prices() -> None:
    """Every provider that rules/hosts.yaml ships is in the list, but for those that sell no tokens."""
    shipped = {host.provider for host in load(RULES).hosts.hosts} - {"telemetry", "huggingface"}
    assert {pricelist.THEIRS.get(provider, provider) for provider in shipped} <= pricelist._lists().keys()


def test_memory_is_bounded() -> None:
    """Names made up by callers do not stay."""
    for number in range(6_000):
        listed(f"junk-{number}", "openai")
    assert listed.cache_info().currsize <= 4096


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The list is read without opening a socket."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    pricelist._lists.cache_clear()
    listed.cache_clear()
    pricelist.load()
    assert name_of("gpt-4o", "openai") == "gpt-4o"
