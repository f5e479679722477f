"""Which hosts are LLM hosts was decided per connection; here, what the host's rule says of a single call."""

from __future__ import annotations

from mitmesh.exchange import Exchange
from mitmesh.identities import team_of
from mitmesh.rules import HostRule
from mitmesh.scope import expired
from mitmesh.stage import Stage


class Scope(Stage):
    """Refuses calls to blocked hosts. Connections to them are refused before; this meets the plain-HTTP calls and those
    on connections that were open when the rule came."""

    name = "scope"

    async def request(self, x: Exchange) -> None:
        """Refuse where the rule of the call's host does."""
        rule = x.host
        if rule.status == "blocked" or rule.action == "refuse" or expired(rule, x.started.date()):
            mode = rule.mode or x.rules.mode(team_of(x.client, x.rules))
            x.refuse(self.name, rule.id, why_blocked(rule), status=403, type="blocked", mode=mode)


def why_blocked(rule: HostRule) -> str:
    """What a client is told whose host is refused."""
    parts = [f"Calls to this host are refused by rule {rule.id}."]
    if rule.reason:
        parts.append(rule.reason.rstrip(".") + ".")
    parts.append(f"Ask {rule.owner}." if rule.owner else "Ask whoever runs mitmesh.")
    return " ".join(parts)
