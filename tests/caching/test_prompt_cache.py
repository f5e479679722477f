"""Anthropic's prompt cache: its figures, and the calls in which breakpoints may be set."""

from __future__ import annotations

import pytest

from cached import breakpoints as call
from mitmesh.caching.prompt_cache import figures, least_tokens, may_set
from mitmesh.dialects.base import Operation
from mitmesh.exchange import Billing


@pytest.mark.parametrize(
    ("model", "least"),
    [
        ("claude-sonnet-4-5-20250929", 1024),
        ("claude-sonnet-4-20250514", 1024),
        ("claude-opus-4-20250514", 1024),
        ("claude-opus-4-6", 4096),
        ("claude-3-5-haiku-20241022", 2048),
        ("claude-3-haiku-20240307", 2048),
        ("claude-haiku-4-5@20251001", 4096),
        ("Anthropic/Claude-Sonnet-4.6", 2048),
        ("claude-opus-5", 512),
        ("claude-nobody-knows-9", 4096),
        ("gpt-4o", None),
        ("", None),
    ],
)
def test_least_tokens(model: str, least: int | None) -> None:
    """The longest name that fits holds, however it is written; an unknown model has the largest minimum."""
    assert least_tokens(model) == least


def test_figures() -> None:
    """They say where they are from, and are no smaller than what any model of that family takes."""
    assert figures()["source"].startswith("https://") and figures()["breakpoints"] == 4
    assert figures()["least_tokens"]["claude"] == max(figures()["least_tokens"].values())
    assert min(figures()["least_tokens"].values()) >= 512


def test_where_it_pays() -> None:
    """Metered calls to who takes breakpoints; not a plan's, a signed one, another dialect's or model's, a count, a
    call that was not read, or one to Bedrock. And only by rule."""
    assert may_set(call())
    assert may_set(call(provider="google", api="vertex")) and may_set(call(provider="eu", api="anthropic"))
    assert not may_set(call(vendor=False))
    assert not may_set(call(provider="bedrock", api="bedrock")) and not may_set(call(provider="other", api="none"))
    assert not may_set(call(authorization="AWS4-HMAC-SHA256 Credential=a/20260101/r/bedrock/aws4_request"))
    assert not may_set(call(model="gpt-4o"))
    for billing in (Billing.SUBSCRIPTION, Billing.LOCAL):
        assert not may_set(call(billing=billing))
    assert may_set(call(billing=Billing.UNKNOWN))
    x = call()
    x.call.operation = Operation.COUNT_TOKENS
    assert not may_set(x)
    x = call()
    x.body = None
    assert not may_set(x)
