"""An audit with the life of a small company in it, for the tests of what people see."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from audits import exchange, rules
from mitmesh.dialects.base import Answer, Kind, Part, Usage
from mitmesh.exchange import (
    Action,
    Billing,
    Connection,
    ConnectionKind,
    Exchange,
    Inspected,
    Mode,
    Origin,
    Outcome,
    id_at,
)
from mitmesh.rules import HostRule
from mitmesh.stages.commit import Commit

SESSION = "5f0c1a2e/agent one"
SECRET_WORDS = "the merger with Initech"
"""What only an auditor may see."""


def session(days_ago: float, turns: int, **who: Any) -> list[Exchange]:
    """An agent's session: each turn sends all that was said before, and calls a tool until the last."""
    history = [("system", "You are a coding agent."), ("user", f"Please read the notes on {SECRET_WORDS}.")]
    made = []
    for number in range(turns):
        x = one(days_ago - number / 900, *history, session=SESSION, **who)
        last = number == turns - 1
        parts = (
            [Part(Kind.TEXT, "Here is the summary you asked for. " * 30)]
            if last
            else [Part(Kind.TEXT, "Let me look."), Part(Kind.TOOL_CALL, '{"path": "notes/plan.md"}', "read_file", "c1")]
        )
        x.answer = Answer(
            model="claude-sonnet-4-5", parts=parts, finish="end_turn" if last else "tool_use", complete=True
        )
        x.usage = Usage(prompt=18_000 + 2_400 * number, completion=420 + 60 * number, cache_read=16_500 * bool(number))
        x.cost = 61_000 if not number else 9_400 + 700 * number
        x.times.first_token = x.times.received + 0.9 + 0.15 * number
        x.times.done = x.times.received + 3.2 + 0.8 * number
        if number == 1:
            x.decide("redact", Action.REDACT, "email", "2 e-mail addresses in tool results")
        made.append(x)
        history += [
            ("assistant", "Let me look."),
            ("tool_call", '{"path": "notes/plan.md"}'),
            ("tool_result", f"Notes, part {number + 1}: " + "the quick brown fox. " * 40),
        ]
    return made


def one(days_ago: float, *texts: tuple[str, str], model: str = "claude-sonnet-4-5", team: str = "platform",
        user: str | None = "ada", tool: str | None = "claude-code", provider: str = "anthropic",
        session: str | None = None, now: datetime | None = None) -> Exchange:  # fmt: skip
    """One answered, metered call."""
    x = exchange(*(texts or (("user", "Say hello"),)), rules_=rules(content="full"), session=session)
    x.started = (now or datetime.now(UTC)) - timedelta(days=days_ago)
    x.call.model, x.call.stream, x.client, x.request_bytes = model, True, "10.1.2.7", 48_211
    x.host = HostRule(id=provider, match=["x"], provider=provider)
    assert x.target
    x.target.host = {"anthropic": "api.anthropic.com", "telemetry": "statsig.anthropic.com"}.get(
        provider, "api.openai.com"
    )
    x.identity.team = x.identity.user = x.identity.tool = None
    x.identity.attest("header", team=team, user=user, tool=tool)
    x.answer = Answer(model=model, parts=[Part(Kind.TEXT, "Hello.")], finish="stop", complete=True)
    x.usage, x.cost, x.billing = Usage(prompt=1_200, completion=240), 7_200, Billing.METERED
    x.status, x.outcome, x.forwarded = 200, Outcome.ANSWERED, True
    x.times.stages = {"scope": 0.00004, "identity": 0.00003, "route": 0.00002, "commit": 0.00009}
    x.times.own = 0.0011
    x.times.first_token, x.times.done = x.times.received + 0.4, x.times.received + 1.7
    return x


def company() -> list[Exchange]:
    """A fortnight of calls."""
    made = session(0.02, 4)
    for day in range(14):
        for n in range(1 + day * 3 % 5):
            x = one(day + 0.1 * n, team=("platform", "search", "data")[n % 3], user=("ada", "linus", None)[n % 3],
                    model=("claude-sonnet-4-5", "gpt-4o", "gpt-4o-mini")[n % 3],
                    provider=("anthropic", "openai", "openai")[n % 3])  # fmt: skip
            x.cost = 180_000 + 90_000 * ((day * 7 + n * 3) % 6)
            made.append(x)
            if (day + n) % 3 == 0:
                x.billing = Billing.SUBSCRIPTION
    newcomer = one(0.3, team="sales", user="grace", tool="cursor", model="gpt-4o", provider="openai")
    refused = one(0.2, team="data", user=None)
    refused.refuse("policy", "models.allowed", "Team data may not use claude-opus-4.", mode=Mode.ENFORCE)
    refused.outcome, refused.status, refused.forwarded, refused.origin = Outcome.REFUSED, 403, False, Origin.PROXY
    refused.usage = refused.cost = refused.answer = refused.times.first_token = None
    refused.times.done = refused.times.received + 0.002
    observed = one(0.4, team="search")
    observed.refuse("quota", "team-day", "Team search used 2,040,000 of 2,000,000 tokens today.", mode=Mode.OBSERVE)
    opaque = one(0.5, provider="openai", model="gpt-4o")
    opaque.inspected, opaque.call.opaque_bytes = Inspected.PARTIAL, 1_840_000
    unpriced = one(0.6, provider="openai", model="internal-model-7b")
    unpriced.cost = None
    failed = one(0.7, provider="openai", model="gpt-4o")
    failed.outcome, failed.status, failed.origin, failed.usage, failed.cost = (
        Outcome.UPSTREAM_FAILED,
        502,
        Origin.PROXY,
        None,
        None,
    )
    failed.answer, failed.times.first_token = None, None
    slow = one(0.8, model="gpt-5-pro", provider="openai", team="research-and-development-of-very-long-team-names")
    slow.times.first_token, slow.times.done = slow.times.received + 41, slow.times.received + 184
    slow.usage, slow.cost = Usage(prompt=412_000, completion=22_000, reasoning=18_000), 8_940_000
    telemetry = one(0.1, provider="telemetry", model="", user="ada")
    telemetry.usage = telemetry.cost = None
    return [*made, newcomer, refused, observed, opaque, unpriced, failed, slow, telemetry]


def connections() -> list[Connection]:
    """Of each kind that people ask about."""
    now = datetime.now(UTC)
    return [
        Connection(ConnectionKind.CERTIFICATE_REJECTED, "10.1.2.9", "api.openai.com", 443, rule="openai", when=now),
        Connection(ConnectionKind.UPGRADE_REFUSED, "10.1.2.7", "api.openai.com", 443, rule="openai", when=now),
        *(
            Connection(ConnectionKind.TUNNELLED, "10.1.2.7", host, 443, when=now)
            for host in ("github.com", "pypi.example")
        ),
    ]


async def _write(folder: Path, calls: list[Exchange]) -> None:
    stage = Commit(folder, redacting=True)
    stage.configure(calls[0].rules)
    await stage.start()
    for x in sorted(calls, key=lambda x: x.started):
        x.id = id_at(int(x.started.timestamp() * 1000), hash(x.id) & 0xFFFFFFFF)
        await stage.request(x)
        stage.finish(x)
    for row in connections():
        stage.connection(row)
    await stage.stop()


def make(folder: Path, calls: list[Exchange] | None = None) -> None:
    """Write the audit into a folder. Not from within an event loop."""
    asyncio.run(_write(folder, company() if calls is None else calls))
