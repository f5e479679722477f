"""What the exact cache gives and costs: hits beside bare mitmdump, with and without an addon that answers by itself;
and what a miss adds before the request leaves, by the stage without a proxy around it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.load import CallFailed, Load, request
from bench.systems import Process, Systems
from mitmesh.dialects import DIALECTS
from mitmesh.exchange import Exchange, Layer, Target
from mitmesh.redaction.placeholders import Table
from mitmesh.rules import HostRule, Rules
from mitmesh.stages.cache import Cache
from mitmesh.wire.jsontext import Body, parse

SIZES = {"200B": 200, "70KB": 70_000}
CONNECTIONS = 16
_NUMBER = 999_999_999_999
"""No other load comes so far: nobody else's call is the same."""


@dataclass(frozen=True)
class Same:
    """The same call every time."""

    data: bytes

    def render(self, _: int) -> bytes:
        """Its bytes."""
        return self.data


async def measure(systems: Systems, rounds: int, seconds: float, say: Callable[[str], None]) -> dict[str, float]:
    """Requests/s of hits, and of an addon that answers by itself, by bare mitmdump's; medians of the rounds' ratios.
    Raises CallFailed, also where an answer is no hit."""
    found = {}
    for name, size in SIZES.items():
        say(f"hits, {name}")
        call = Same(request(size).render(_NUMBER))
        await Load(call, calls=1).run(systems.suite.port, 1)
        await _is_hit(systems.suite.port, call.data)
        ratios: dict[str, list[float]] = {"hit": [], "answering": []}
        order = [systems.bare, systems.answering, systems.suite]
        for _ in range(rounds):
            speed = {process.name: await _speed(process, call, seconds) for process in order}
            ratios["hit"].append(speed["suite"] / speed["bare"])
            ratios["answering"].append(speed["answering"] / speed["bare"])
            order.reverse()
        found |= {f"{kind}_rps_{name}": median(each) for kind, each in ratios.items()}
    return found


async def _speed(process: Process, call: Same, seconds: float) -> float:
    load = Load(call, seconds=seconds)
    await load.run(process.port, CONNECTIONS)
    return len(load.latencies) / (load.ended - load.began)


async def _is_hit(port: int, call: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(call)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    finally:
        writer.close()
    if b"x-mesh-cache: exact" not in head.lower():
        raise CallFailed(f"the same call again is no hit:\n{head.decode('utf-8', 'replace')}")


async def misses(folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, float]:
    """Milliseconds that the stage takes for a call that nobody has asked before (layer 2 is off), medians."""
    say("misses")
    stage, rules = Cache(folder / "cache"), Rules()
    stage.configure(rules)
    await stage.start()
    found = {}
    try:
        for name, size in SIZES.items():
            taken, made = [], request(size)
            for number in range(rounds * 100):
                x = _call(rules, made.render(number).partition(b"\r\n\r\n")[2])
                began = time.perf_counter()
                await stage.request(x)
                taken.append(time.perf_counter() - began)
                assert x.cache and x.cache.layer is Layer.MISS, x.cache
                stage.finish(x)
            found[f"miss_{name}_ms"] = median(taken) * 1e3
    finally:
        await stage.stop()
    return found


@dataclass
class _Redacted:
    table: Table
    clear: bool = False


def _call(rules: Rules, raw: bytes) -> Exchange:
    """A call as redaction leaves it that found nothing."""
    dialect, path = DIALECTS["openai_chat"], "/v1/chat/completions"
    doc = parse(raw)
    x = Exchange(
        dialect=dialect,
        call=dialect.read(doc, path, {}),
        host=HostRule(id="openai", match=["api.openai.com"], provider="openai"),
        target=Target("https", "api.openai.com", 443),
        path=path,
        headers={"user-agent": "OpenAI/Python 1.2.3", "content-type": "application/json"},
        rules=rules,
        client="127.0.0.1",
        body=Body(raw, doc),
        credential="sk-bench",
        request_bytes=len(raw),
    )
    x.notes["redact"] = _Redacted(Table({}))
    return x
