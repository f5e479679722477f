"""The vendor stage: breakpoints of the provider's own prompt cache in what leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cached import breakpoints as call
from mitmesh.caching.key import key_of
from mitmesh.caching.prompt_cache import were_set
from mitmesh.dialects.base import Usage
from mitmesh.exchange import Exchange, Mode
from mitmesh.quotas import plan
from mitmesh.quotas.plan import Need
from mitmesh.stages.redact import Redact
from mitmesh.stages.vendor import OFF_LOOP, Vendor
from redactions import Finder, exchange, sent

LONG = "word " * 2000


@pytest.fixture
def stage() -> Iterator[Vendor]:
    times = iter(range(1000))
    yield Vendor(lambda: float(next(times)))


async def second(stage: Vendor, **fields: Any) -> Exchange:
    """The second of two calls with the same system prompt."""
    for words in ("one", "hi"):
        x = call(system=LONG, messages=[{"role": "user", "content": words}], **fields)
        await stage.request(x)
    return x


async def test_every_other_byte_leaves_as_it_came(stage: Vendor) -> None:
    """Spacing, order, escapes and numbers are the client's; the verdict says what was set."""
    raw = (
        '{ "model":"claude-sonnet-4-5" , "max_tokens":1e1,"system":[{"text":"LONG","type":"text"} ],\n'
        '"messages":[{"role":"user","content":"\\u00fc \\/ ONE"}, {"role":"assistant","content":[{"type":"thinking",'
        '"thinking":"a\\u0020b","signature":"c=="},{"type":"text","text":"so"}]},{"content":"TWO","role":"user"}]}'
    ).replace("LONG", LONG)
    for n in "12":
        said = raw.replace("ONE", f"one {n}").replace("TWO", f"two {n}")
        x = call()
        x.body = exchange("anthropic", said.encode()).body
        await stage.request(x)
    mark = ',"cache_control":{"type":"ephemeral"}'
    expected = said.replace('"type":"text"} ],\n', f'"type":"text"{mark}}} ],\n')
    assert sent(x).decode() == expected
    (verdict,) = x.verdicts
    assert (verdict.stage, verdict.rule_id, verdict.mode) == ("vendor", "vendor", Mode.ENFORCE)
    assert verdict.reason == "breakpoints of the prompt cache set: system"
    assert were_set(x)


async def test_a_text_becomes_its_block(stage: Vendor) -> None:
    """What the API says a text stands for."""
    doc = json.loads(sent(await second(stage)))
    assert doc["system"] == [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
    assert doc["messages"] == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("fields", [
    {"vendor": False}, {"headers": {"x-mesh-cache": "off"}}, {"rules": {"skip": [{"model": "claude-*"}]}},
    {"authorization": "AWS4-HMAC-SHA256 Credential=x"}, {"provider": "bedrock", "api": "bedrock"},
])  # fmt: skip
async def test_left_alone(stage: Vendor, fields: dict[str, Any]) -> None:
    """Without the rule, where the client or a rule says so, and where nothing may change."""
    x = await second(stage, **fields)
    assert x.body and not x.body.changed and not x.verdicts and len(stage.seen) == 0


async def test_observe(stage: Vendor) -> None:
    """The verdict says what would be; the bytes are the client's."""
    x = await second(stage, rules={"mode": "observe"})
    assert x.body and not x.body.changed and not were_set(x)
    assert [(v.mode, v.reason) for v in x.verdicts] == [
        (Mode.OBSERVE, "breakpoints of the prompt cache would be set: system")
    ]


async def test_large_calls_off_the_loop(stage: Vendor) -> None:
    """The same, in a thread."""
    for _ in range(2):
        x = call(system=LONG)
        x.request_bytes = OFF_LOOP + 1
        await stage.request(x)
    assert x.body and x.body.changed
    assert stage.health() == {"beginnings": 2}


async def test_behind_redaction(stage: Vendor, tmp_path: Path) -> None:
    """Placeholders are what is sent and what is remembered: the value is nowhere, and both edits are spliced."""
    redact = Redact(tmp_path, Finder())
    await redact.start()
    try:
        for _ in range(2):
            x = call(system=f"{LONG} ask ann@example.com", messages=[{"role": "user", "content": "bob@example.com"}])
            await redact.request(x)
            await stage.request(x)
    finally:
        await redact.stop()
    doc = json.loads(sent(x))
    assert "example.com" not in json.dumps(doc)
    assert doc["system"] == [{"type": "text", "text": f"{LONG} ask <EMAIL_1>", "cache_control": {"type": "ephemeral"}}]
    assert doc["messages"][0]["content"][0]["text"] == "<EMAIL_2>"


async def test_the_exact_key_is_of_what_was_asked(stage: Vendor) -> None:
    """Whether a breakpoint is set depends on what came before; the cache's key must not. The stage runs behind it."""

    def key(x: Exchange) -> bytes:
        return key_of(x, "t", "p", b"s").exact

    first, again = call(system=LONG), call(system=LONG)
    keys = [key(first), key(again)]
    for x in (first, again):
        await stage.request(x)
    assert keys[0] == keys[1] and key(first) == keys[0] and key(again) != keys[0]


def test_what_is_reserved_covers_the_writing() -> None:
    """A prompt that may be written to the provider's cache is reserved at what that costs."""
    tariff = plan.tariff_of(call())
    assert tariff
    plain = plan.amounts("dollars", Need(10_000, 100), tariff)
    written = plan.amounts("dollars", Need(10_000, 100, 10_000), tariff)
    assert written[0] == tariff.cost(Usage(prompt=10_000, cache_write_5m=10_000)) > plain[0]
    assert written[1] == plain[1]
    assert plan.amounts("tokens", Need(10_000, 100, 10_000), tariff) == (10_000, 100)
