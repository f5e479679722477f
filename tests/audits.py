"""Exchanges and rules for the tests of the audit."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from mitmesh.dialects.base import Answer, Call, Dialect, Headers, Kind, Operation, Part, Provenance, Text, Usage
from mitmesh.exchange import Billing, Exchange, Mode, Outcome, Target
from mitmesh.rules import Audit, HostRule, Mesh
from mitmesh.store.database import AUDIT, CONTENT


class Plain(Dialect):
    name = "plain"
    native = "openai"


def rules(**audit: Any) -> Any:
    """Rules with this audit section; texts are kept raw unless it says otherwise."""
    section = Audit(**{"text": "raw", **audit})

    def content(team: str | None) -> Any:
        return section.content_by_team.get(team or "", section.content)

    return SimpleNamespace(
        mesh=Mesh(audit=section), version="0123456789ab", mode=lambda _: Mode.ENFORCE, content=content
    )


def texts(*pairs: tuple[str, str]) -> list[Text]:
    """Texts by role and words, each a message of its own."""
    return [Text(("messages", n), Provenance(role), words, n) for n, (role, words) in enumerate(pairs)]


def exchange(*pairs: tuple[str, str], rules_: Any = None, session: str | None = None, **fields: Any) -> Exchange:
    """A chat call with these texts, as the engine would make it."""
    call = Call(Operation.CHAT, "gpt-4o", texts=texts(*(pairs or (("user", "hello"),))), session=session)
    headers = cast(Headers, {"user-agent": "codex/1.0"})
    host = HostRule(id="openai", match=["api.openai.com"], provider="openai")
    x = Exchange(Plain(), call, host, Target("https", "api.openai.com", 443), "/v1/x", headers, rules_ or rules())
    x.user_agent = "codex/1.0"
    x.identity.attest("network", team="blue", namespace="prod")
    for name, value in fields.items():
        setattr(x, name, value)
    return x


def answered(x: Exchange, words: str = "hi", cost: int | None = 1500) -> Exchange:
    """The exchange with its answer, usage and end."""
    x.answer = Answer(model="gpt-4o-2024", parts=[Part(Kind.TEXT, words)], finish="stop", complete=True)
    x.usage, x.cost, x.billing = Usage(prompt=10, completion=5), cost, Billing.METERED
    x.status, x.outcome, x.forwarded = 200, Outcome.ANSWERED, True
    x.times.done = x.times.received + 0.25
    return x


def rows(data: Path, sql: str, *parameters: Any) -> list[dict[str, Any]]:
    """What audit.db (or content.db, where the query names messages) answers now."""
    with closing(sqlite3.connect(data / (CONTENT if "messages" in sql else AUDIT), timeout=10)) as conn:
        conn.row_factory = sqlite3.Row
        return [dict(row) for row in conn.execute(sql, parameters)]


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition; fails after its deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        await asyncio.sleep(0.01)
