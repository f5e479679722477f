"""Which events a call is, and that they are metadata alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from audits import answered, exchange
from mitmesh.dialects.base import Kind, Part
from mitmesh.exchange import Action, Cached, Layer, Mode, Outcome
from mitmesh.live.events import NAMES, events

REFUSE, REDACT, WARN, ALLOW = Action.REFUSE, Action.REDACT, Action.WARN, Action.ALLOW
ENFORCE, OBSERVE = Mode.ENFORCE, Mode.OBSERVE


@pytest.mark.parametrize(
    ("stage", "action", "mode", "names"),
    [
        ("quota", REFUSE, ENFORCE, ["quota_block"]),
        ("quota", REFUSE, OBSERVE, ["quota_warn", "llm_call"]),
        ("quota", WARN, ENFORCE, ["quota_warn", "llm_call"]),
        ("policy", REFUSE, ENFORCE, ["refused"]),
        ("policy", REFUSE, OBSERVE, ["refused", "llm_call"]),
        ("redact", REDACT, ENFORCE, ["redacted", "llm_call"]),
        ("scope", WARN, ENFORCE, ["llm_call"]),
        ("policy", ALLOW, ENFORCE, ["llm_call"]),
    ],
)
def test_verdicts(stage: str, action: Action, mode: Mode, names: list[str]) -> None:
    """Each verdict that people wait for is an event; a call that was not refused is one itself."""
    x = answered(exchange())
    x.decide(stage, action, "r1", "a reason", mode=mode)
    told = list(events(x))
    assert [event["event"] for event in told] == names
    assert told[0].get("rule", "r1") == "r1"
    assert set(names) <= set(NAMES)


@pytest.mark.parametrize(
    ("cached", "names"),
    [
        (Cached(Layer.SEMANTIC, "01ABC", 60, 0.97, 1200), ["cache_hit", "llm_call"]),
        (Cached(Layer.MISS), ["cache_miss", "llm_call"]),
        (Cached(Layer.OFF, reason="operation models"), ["llm_call"]),
        (None, ["llm_call"]),
    ],
)
def test_cache(cached: Cached | None, names: list[str]) -> None:
    """A hit with its layer, similarity, age, source and what it saved; a miss only where the cache was asked."""
    x = answered(exchange())
    x.cache = cached
    told = list(events(x))
    assert [event["event"] for event in told] == names
    if names[0] == "cache_hit":
        found = [told[0][name] for name in ("layer", "similarity", "age_s", "source", "saved_microusd")]
        assert found == ["semantic", 0.97, 60, "01ABC", 1200]


def test_nothing_but_metadata() -> None:
    """No text, path, credential, header or reason is in an event, and what callers name is bounded."""
    x = answered(exchange(("user", "SECRET-prompt"), session="s" * 5_000), words="SECRET-answer")
    x.path, x.credential, x.call.model = "/v1/x?key=SECRET", "SECRET", "m" * 5_000
    x.identity.tool = "t" * 5_000
    assert x.answer
    x.answer.parts.append(Part(Kind.TOOL_CALL, "SECRET", "SECRET"))
    x.decide("guard", WARN, "r", "SECRET")
    x.decide("policy", REFUSE, "r", "SECRET", mode=OBSERVE)
    told = json.dumps(list(events(x)))
    assert "SECRET" not in told
    assert len(told) < 4_000


@pytest.mark.parametrize(
    "change", [{"usage": None, "cost": None}, {"answer": None}, {"status": None}, {"outcome": None}]
)
def test_what_is_not_known(change: dict[str, Any]) -> None:
    """A call that ended anyhow has its event; unknown is null."""
    x = answered(exchange())
    for name, value in {"outcome": Outcome.CLIENT_GONE, **change}.items():
        setattr(x, name, value)
    x.times.done = None
    (event,) = events(x)
    assert event["event"] == "llm_call"
    assert event["total_ms"] is None
    if "usage" in change:
        assert event["prompt"] is event["cost_microusd"] is None
