"""The scope stage: what a host's rule says of a single call."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Call, Operation
from mitmesh.exchange import Exchange, Mode, Target
from mitmesh.rules import HostRule, Identities, Mesh, NetworkIdentity, Rules, TeamRules
from mitmesh.stages.scope import Scope, why_blocked

RULES = Rules(
    mesh=Mesh(teams={"research": TeamRules(mode=Mode.OBSERVE)}),
    identities=Identities(networks=[NetworkIdentity(network="10.9.0.0/16", team="research")]),
)
TODAY = date(2026, 3, 10)


def rule(**fields: Any) -> HostRule:
    """A host's rule."""
    return HostRule.model_validate({"id": "shadow", "match": ["h"], "provider": "p", **fields})


def exchange(host: HostRule, client: str = "10.1.0.1") -> Exchange:
    """A call to it, today."""
    return Exchange(
        dialect=DIALECTS["openai_chat"],
        call=Call(Operation.CHAT),
        host=host,
        target=Target("https", "h", 443),
        path="/",
        headers={},
        rules=RULES,
        client=client,
        started=datetime.combine(TODAY, datetime.min.time(), UTC),
    )


@pytest.mark.parametrize(
    ("fields", "client", "refused", "recorded"),
    [
        ({}, "10.1.0.1", False, False),
        ({"status": "tolerated"}, "10.1.0.1", False, False),
        ({"status": "blocked"}, "10.1.0.1", True, True),
        ({"action": "refuse"}, "10.1.0.1", True, True),
        ({"expires": "2026-03-10"}, "10.1.0.1", False, False),
        ({"expires": "2026-03-09"}, "10.1.0.1", True, True),
        ({"status": "blocked"}, "10.9.0.1", False, True),
        ({"status": "blocked", "mode": "enforce"}, "10.9.0.1", True, True),
        ({"status": "blocked", "mode": "observe"}, "10.1.0.1", False, True),
        ({"expires": "2026-03-09", "mode": "observe"}, "10.1.0.1", False, True),
    ],
)
async def test_rules(fields: dict[str, Any], client: str, refused: bool, recorded: bool) -> None:
    """Blocked, refusing and expired rules refuse; in observe mode (the rule's, else the team's) they only tell."""
    x = exchange(rule(**fields), client)
    await Scope().request(x)
    assert (x.refusal is not None, bool(x.verdicts)) == (refused, recorded)
    if recorded:
        verdict = x.verdicts[0]
        assert (verdict.stage, verdict.rule_id, verdict.status, verdict.type) == ("scope", "shadow", 403, "blocked")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "Calls to this host are refused by rule shadow. Ask whoever runs mitmesh."),
        (
            {"reason": "No contract.", "owner": "legal@example.com"},
            "Calls to this host are refused by rule shadow. No contract. Ask legal@example.com.",
        ),
    ],
)
def test_what_the_client_is_told(fields: dict[str, Any], told: str) -> None:
    """The refusal says which rule, why, and whom to ask."""
    assert why_blocked(rule(**fields)) == told
