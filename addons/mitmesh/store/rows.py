"""What the audit says of an exchange and of a connection, as rows.

Rows are made on the event loop from an Exchange at rest; the writer's thread sees only these plain values.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from mitmesh.exchange import Billing, Inspected
from mitmesh.store.database import Row

if TYPE_CHECKING:
    from datetime import datetime

    from mitmesh.exchange import Connection, Exchange
    from mitmesh.store.keys import Hasher

WIDTH = 200
"""Characters kept of a value that a client or a provider may make as long as it likes."""

REQUEST_COLUMNS = (
    "id", "started", "team", "user", "tool", "tool_version", "namespace", "service_account", "pod", "process",
    "key_id", "tier", "owner", "identity_sources", "session", "client", "user_agent", "account_hash",
    "credential_hash", "via", "provider", "host", "model", "operation", "dialect", "stream", "history_at_provider",
    "request_bytes", "uninspected_bytes", "inspected", "traceparent", "policy_version",
)  # fmt: skip
OUTCOME_COLUMNS = (
    "status", "origin", "billing", "outcome", "forwarded", "refused_by", "refused_rule", "route", "answer_model",
    "finish_reason", "error", "prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_write_5m_tokens",
    "cache_write_1h_tokens", "reasoning_tokens", "estimated", "cost_microusd", "notional_microusd", "first_token_ms",
    "total_ms", "own_ms", "stage_ms", "response_bytes", "cache", "cache_reason", "cache_source", "cache_age_s",
    "cache_similarity", "cache_saved_microusd", "vendor_saved_microusd",
)  # fmt: skip
COLUMNS = REQUEST_COLUMNS + OUTCOME_COLUMNS
CONNECTION_COLUMNS = ("started", "client", "host", "port", "sni", "kind", "rule_id", "detail")
OPEN: Row = (None,) * len(OUTCOME_COLUMNS)
"""OUTCOME_COLUMNS of an exchange that has just begun: nothing is known."""
SESSION = COLUMNS.index("session")


def stamp(moment: datetime) -> str:
    """A moment as the audit writes it: ISO 8601, UTC, milliseconds."""
    return moment.isoformat(timespec="milliseconds")


def short(value: str | None) -> str | None:
    """The value cut to WIDTH characters that UTF-8 can hold (a header may carry bytes that it cannot)."""
    if value is None:
        return None
    value = value[:WIDTH]
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def request_columns(x: Exchange, hasher: Hasher) -> Row:
    """REQUEST_COLUMNS of an exchange that is about to leave, or was refused before; they do not change any more."""
    call, who = x.call, x.identity
    account = hasher.hash(b"account", call.account) if call.account else None
    credential = hasher.hash(b"credential", x.credential) if x.credential else None
    unread = x.request_bytes if x.inspected is Inspected.OPAQUE else call.opaque_bytes
    return (
        x.id, stamp(x.started), who.team, who.user, short(who.tool), short(who.tool_version), who.namespace,
        who.service_account, who.pod, who.process, who.key, who.tier, who.owner, _sources(tuple(who.sources.items())),
        short(call.session), x.client, short(x.headers.get("user-agent")), account, credential, x.via, x.provider,
        x.target.name if x.target else None, short(call.model), call.operation.value, x.dialect.name, call.stream,
        short(call.history_at_provider), x.request_bytes, unread, x.inspected.value, short(x.traceparent),
        x.rules.version,
    )  # fmt: skip


def outcome_columns(x: Exchange) -> Row:
    """OUTCOME_COLUMNS of an exchange as far as it has come. Cost is notional where a subscription paid, NULL where
    unknown."""
    usage, answer, refusal = x.usage, x.answer, x.refusal
    tokens: Row = (None,) * 7
    if usage is not None:
        tokens = (
            usage.prompt, usage.completion, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h,
            usage.reasoning, usage.estimated,
        )  # fmt: skip
    notional = x.billing is Billing.SUBSCRIPTION
    stages = x.times.stages
    return (
        x.status, x.origin.value, x.billing.value, x.outcome.value if x.outcome else None,
        x.forwarded and x.route != "demo",  # a demo's answer is forwarded to ourselves alone
        refusal.stage if refusal else None, refusal.rule_id if refusal else None, x.route,
        short(answer.model) if answer else None, short(answer.finish) if answer else None,
        short(answer.error) if answer else None, *tokens, None if notional else x.cost, x.cost if notional else None,
        _since(x, x.times.first_token), _since(x, x.times.done), round(x.times.own * 1000, 3),
        json.dumps({name: round(seconds * 1000, 3) for name, seconds in stages.items()}) if stages else None,
        x.response_bytes, *_cache(x),
    )  # fmt: skip


def _cache(x: Exchange) -> Row:
    if (had := x.cache) is None:
        return (*(None,) * 6, x.vendor_saved)
    return had.layer.value, had.reason, had.source, had.age, had.similarity, had.saved, x.vendor_saved


def verdict_rows(x: Exchange) -> list[Row]:
    """The verdicts so far, in order."""
    return [
        (x.id, n, v.stage, v.action.value, v.rule_id, v.mode.value, short(v.reason), v.policy_version)
        for n, v in enumerate(x.verdicts)
    ]


def connection_row(row: Connection) -> Row:
    """CONNECTION_COLUMNS of a connection."""
    return (
        stamp(row.when), row.client, short(row.host), row.port, short(row.sni), row.kind.value, row.rule,
        short(row.detail) or None,
    )  # fmt: skip


@lru_cache(maxsize=1024)  # a house has few combinations, and JSON costs more than all the rest of a row
def _sources(sources: tuple[tuple[str, str], ...]) -> str | None:
    return json.dumps(dict(sources)) if sources else None


def _since(x: Exchange, moment: float | None) -> float | None:
    """Milliseconds from the request's arrival."""
    return None if moment is None else round((moment - x.times.received) * 1000, 3)
