"""Patterns of rules and commands."""

from __future__ import annotations

import pytest

from mitmesh.globs import glob, is_model


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("gpt-*", "GPT-4o", True),
        ("gpt-*", "my-gpt-4o", False),
        ("*gpt*o", "a\ngpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("claude[1m]", "claude[1M]", True),
        ("claude[1m]", "claude1", False),
        ("gpt-4.1", "gpt-401", False),
        ("gpt-?", "gpt-4", False),
        ("*", "", True),
    ],
)
def test_glob(pattern: str, text: str, matches: bool) -> None:
    """`*` alone is special: a model's name has dots and brackets."""
    assert (glob(pattern).fullmatch(text) is not None) is matches


@pytest.mark.parametrize(
    ("name", "pattern", "means"),
    [
        ("claude-opus-4", "claude-opus-*", True),
        ("anthropic/claude-opus-4.5", "claude-opus-*", True),
        ("anthropic/claude-opus-4.5", "anthropic/*", True),
        ("us.anthropic.claude-opus-4-v1:0", "claude-opus-*", True),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us-gov.anthropic.claude-opus-4-v1:0", "claude-opus-*", True),
        ("amazon.nova-pro-v1:0", "NOVA-*", True),
        ("llama3.2:latest", "llama3.2", True),
        ("llama3.2:70b", "llama3.2", False),
        ("my.claude-opus-4", "claude-opus-*", False),
        ("gpt-4.1", "1", False),
        ("claude-sonnet-4", "claude-opus-*", False),
    ],
)
def test_is_model(name: str, pattern: str, means: bool) -> None:
    """What routers and clouds put before a name does not hide it; what anybody puts there does."""
    assert is_model(name, ["none", pattern]) is means
    assert not is_model(name, [])
