"""What quotas cost a call: the stage with two limits over a SQLite ledger, without a proxy around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Usage
from mitmesh.exchange import Exchange, Target
from mitmesh.quotas.in_sqlite import SqliteLedger
from mitmesh.quotas.ledger import Key, Want
from mitmesh.rules import HostRule, Rules
from mitmesh.rules.quotas import Limit, Quotas
from mitmesh.stages.identity import Identity
from mitmesh.stages.quota import Quota
from mitmesh.wire.jsontext import Body, dumps, parse

LIMITS = [
    Limit(id="team", unit="tokens", limit="1000000000", per="month", team="each"),
    Limit(id="calls", unit="requests", limit="1000000000", rolling="1h", user="each"),
]


async def measure(folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, float]:
    """Milliseconds, medians over calls one after the other: a decision of the ledger alone, and what the two stages
    identity and quota add to a call (before it, and of the event loop's time after it)."""
    say("quota")
    return {
        "quota_decision_ms": await _decision(folder / "ledger", rounds * 100) * 1e3,
        "quota_added_ms": await _added(folder / "stage", rounds * 100) * 1e3,
    }


async def _decision(folder: Path, calls: int) -> float:
    ledger, key = SqliteLedger(folder), Key("team", "tokens/total", "")
    taken = []
    for number in range(calls):
        began = time.perf_counter()
        await ledger.reserve(f"c{number}", [Want(key, 0, 0, 0, 2**53, 2**50, 10, 10)], 60)
        taken.append(time.perf_counter() - began)
        await ledger.settle(f"c{number}", {key.text: 15})
    await ledger.close()
    return median(taken)


async def _added(folder: Path, calls: int) -> float:
    rules = Rules(quotas=Quotas(limits=LIMITS))
    identity, quota = Identity(folder), Quota(lambda _: SqliteLedger(folder))
    for stage in (identity, quota):
        stage.configure(rules)
    taken = []
    for _ in range(calls):
        x = _call(rules)
        began = time.perf_counter()
        await identity.request(x)
        await quota.request(x)
        asked = time.perf_counter() - began
        x.forwarded, x.status, x.times.sent, x.usage = True, 200, time.monotonic(), Usage(prompt=9, completion=9)
        began = time.perf_counter()
        quota.finish(x)
        identity.finish(x)
        taken.append(asked + time.perf_counter() - began)
        await asyncio.sleep(0.002)  # one connection: settled before the next call comes
    await quota.stop()
    return median(taken)


def _call(rules: Rules) -> Exchange:
    dialect = DIALECTS["openai_chat"]
    doc = {"model": "gpt-4o-mini", "max_tokens": 16, "messages": [{"role": "user", "content": "Say hello to all."}]}
    raw = dumps(doc).encode()
    return Exchange(
        dialect=dialect,
        call=dialect.read(parse(raw), "/v1/chat/completions", {}),
        host=HostRule(id="openai", match=["api.openai.com"], provider="openai"),
        target=Target("https", "api.openai.com", 443),
        path="/v1/chat/completions",
        headers={"user-agent": "OpenAI/Python 1.2.3"},
        rules=rules,
        client="127.0.0.1",
        body=Body(raw, doc),
        request_bytes=len(raw),
    )
