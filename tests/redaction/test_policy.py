from __future__ import annotations

from typing import Any

import pytest

from mitmesh.dialects.base import Provenance
from mitmesh.exchange import Identity, Mode
from mitmesh.redaction.placeholders import LITERAL
from mitmesh.redaction.policy import Policy
from mitmesh.rules.pii import PiiAction
from redactions import rules

ACTIONS = [
    PiiAction(id="team", team="blue", types=["IP"], action="allow"),
    PiiAction(id="user", user="ann", types=["EMAIL"], action="hash"),
    PiiAction(id="tool", tool="codex", provenance=["tool_result"], action="mask"),
    PiiAction(id="provider", provider="local", action="allow"),
    PiiAction(id="watch", types=["CARD"], action="refuse", mode=Mode.OBSERVE),
]
USER, RESULT = Provenance.USER, Provenance.TOOL_RESULT


@pytest.mark.parametrize(
    ("who", "provider", "kind", "provenance", "rule", "action"),
    [
        ({}, "openai", "EMAIL", USER, "pii", "replace"),
        ({"team": "blue"}, "openai", "IP", USER, "team", "allow"),
        ({"team": "red"}, "openai", "IP", USER, "pii", "replace"),
        ({"team": "blue"}, "openai", "EMAIL", USER, "pii", "replace"),
        ({"user": "ann"}, "openai", "EMAIL", USER, "user", "hash"),
        ({"user": "ann", "tool": "codex"}, "openai", "EMAIL", RESULT, "user", "hash"),
        ({"tool": "codex"}, "openai", "PHONE", RESULT, "tool", "mask"),
        ({"tool": "codex"}, "openai", "PHONE", USER, "pii", "replace"),
        ({}, "local", "PHONE", USER, "provider", "allow"),
        ({}, "openai", "CARD", USER, "watch", "refuse"),
        ({"tool": "codex"}, "openai", LITERAL, RESULT, "pii", "replace"),
    ],
)
def test_decide(who: Any, provider: str, kind: str, provenance: Provenance, rule: str, action: str) -> None:
    """The first rule that holds for the caller, the type and the writer decides; literals are always replaced."""
    decision = Policy(rules(actions=ACTIONS), Identity(**who), provider).decide(kind, provenance)
    assert (decision.rule_id, decision.action) == (rule, action)
    assert decision.mode is (Mode.OBSERVE if rule == "watch" else Mode.ENFORCE)


@pytest.mark.parametrize(("mode", "own", "literal"), [
    (Mode.OBSERVE, None, Mode.OBSERVE), (Mode.OBSERVE, Mode.ENFORCE, Mode.ENFORCE), (Mode.ENFORCE, None, Mode.ENFORCE),
])  # fmt: skip
def test_literals_follow(mode: Mode, own: Mode | None, literal: Mode) -> None:
    """A literal placeholder stays in the text only where nothing of the call can be changed."""
    actions = [PiiAction(id="x", types=["EMAIL"], action="replace", mode=own)]
    policy = Policy(rules(mode, actions=actions), Identity(), "openai")
    assert policy.decide(LITERAL, USER).mode is literal
