"""What is told of a call that ended: metadata alone, by the names that AgentMesh gave these events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mitmesh.exchange import Action, Billing, Layer, Mode
from mitmesh.store.rows import short, stamp

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange, Verdict

NAMES = ("llm_call", "cache_hit", "cache_miss", "quota_warn", "quota_block", "refused", "redacted")

type Event = dict[str, Any]


def events(x: Exchange) -> Iterator[Event]:
    """The events of a finished exchange. No text of it, no reason (it may quote), no credential, no path."""
    facts = who(x)
    for verdict in x.verdicts:
        if name := _name(verdict):
            yield {"event": name, **facts, "rule": short(verdict.rule_id), "mode": verdict.mode.value}
    if (had := x.cache) and had.hit:
        found = {"layer": had.layer.value, "similarity": had.similarity, "age_s": had.age, "source": had.source}
        yield {"event": "cache_hit", **facts, **found, "saved_microusd": had.saved}
    elif had and had.layer is Layer.MISS and x.refusal is None:
        yield {"event": "cache_miss", **facts}
    if x.refusal is None:
        yield {"event": "llm_call", **facts, **_outcome(x)}


def who(x: Exchange) -> Event:
    """Which call it was, and whose."""
    identity = x.identity
    return {
        "id": x.id,
        "at": stamp(x.started),
        "team": identity.team,
        "user": identity.user,
        "tool": short(identity.tool),
        "session": short(x.call.session),
        "model": short(x.call.model),
        "provider": x.provider,
    }


def _name(verdict: Verdict) -> str | None:
    """Which event a verdict is, if it is one. What a quota would have refused is a warning."""
    match verdict.action:
        case Action.REDACT:
            return "redacted"
        case Action.WARN if verdict.stage == "quota":
            return "quota_warn"
        case Action.REFUSE if verdict.stage == "quota":
            return "quota_block" if verdict.mode is Mode.ENFORCE else "quota_warn"
        case Action.REFUSE:
            return "refused"
    return None


def _outcome(x: Exchange) -> Event:
    usage, times = x.usage, x.times
    return {
        "outcome": x.outcome.value if x.outcome else None,
        "status": x.status,
        "origin": x.origin.value,
        "prompt": usage.prompt if usage else None,
        "completion": usage.completion if usage else None,
        "cache_read": usage.cache_read if usage else None,
        "estimated": bool(usage and usage.estimated),
        "cost_microusd": x.cost,
        "notional": x.billing is Billing.SUBSCRIPTION,
        "total_ms": None if times.done is None else round((times.done - times.received) * 1000),
        "first_token_ms": None if times.first_token is None else round((times.first_token - times.received) * 1000),
        "own_ms": round(times.own * 1000, 2),
    }
