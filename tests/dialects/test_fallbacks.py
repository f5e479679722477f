"""Every model that a request names, wherever it does."""

from __future__ import annotations

from typing import Any

import pytest

from mitmesh.dialects.base import Call, Operation
from mitmesh.dialects.fallbacks import MOST, TooManyModels, answered, further


@pytest.mark.parametrize(
    ("doc", "others"),
    [
        ({}, ()),
        ({"models": ["m", "o3", "o3"]}, ("o3",)),
        ({"models": "o3"}, ("o3",)),
        ({"models": [{"model": "o3", "messages": [{"content": "hi"}]}]}, ("o3",)),
        ({"fallbacks": ["o3", {"model": "o4"}]}, ("o4", "o3")),
        ({"fallbacks": [{"m": ["o3", "o4"]}]}, ("o4", "o3")),
        ({"context_window_fallback_dict": {"m": "o3"}}, ("o3",)),
        ({"model": "m,o3"}, ("m", "o3")),
        ({"preset": "cheap"}, ("@preset/cheap",)),
        ({"providerOptions": {"gateway": {"models": ["o3"]}}}, ("o3",)),
        ({"tools": [{"type": "image_generation", "model": "gpt-image-1"}, {"type": "x"}]}, ("gpt-image-1",)),
        ({"requests": [{"params": {"model": "a"}}, {"params": {"model": "b"}}, 7, {"params": 7}]}, ("a", "b")),
        ({"requests": [{"model": "models/a"}, {"model": "m"}]}, ("a",)),
        ({"batch": {"model": "models/gemini-2.5-pro"}}, ("gemini-2.5-pro",)),
        ({"Model": "o3", "MODEL": ["o4"]}, ("o3", "o4")),
        ({"session": {"type": "realtime", "model": "gpt-realtime"}}, ("gpt-realtime",)),
        ({"model": 7, "batch": "x"}, ()),
        ({"models": None, "fallbacks": 7, "tools": {}, "requests": "x", "providerOptions": []}, ()),
        ({"provider": {"order": ["azure"]}, "route": "fallback", "plugins": [{"id": "web"}]}, ()),
        (["models"], ()),
        (None, ()),
    ],
)
def test_further(doc: Any, others: tuple[str, ...]) -> None:
    """Its own is not among them; what has no such shape names none."""
    named = doc.get("model", "m") if isinstance(doc, dict) else "m"
    assert further(doc, named) == others


def test_a_path_and_a_body_that_differ() -> None:
    """Gemini's, where the path has the model; the same one in its longer name is no other."""
    assert further({"model": "models/gemini-2.5-pro"}, "gemini-2.5-flash") == ("gemini-2.5-pro",)
    for name in ("models/gemini-2.5-flash", "publishers/google/models/gemini-2.5-flash"):
        assert further({"model": name}, "gemini-2.5-flash") == ()


def test_too_many() -> None:
    """Nobody falls back to so many, and each is looked up."""
    assert len(further({"models": [str(number) for number in range(MOST)]}, None)) == MOST
    with pytest.raises(TooManyModels):
        further({"models": [str(number) for number in range(MOST + 1)]}, None)


@pytest.mark.parametrize(
    ("served", "model"),
    [("openai/o3", "o3"), ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"), ("gpt-4o-2024-08-06", "openai/gpt-4o"),
     ("claude-x", "claude-x"), (None, "gpt-4o-mini")],
)  # fmt: skip
def test_answered(served: str | None, model: str) -> None:
    """By the name in the answer, which may be longer; one that is like none is itself."""
    call = Call(Operation.CHAT, "gpt-4o-mini", others=("openai/gpt-4o", "o3"))
    assert answered(call, served) == model
    assert answered(Call(Operation.CHAT, "gpt-4o-mini"), served) == "gpt-4o-mini"
