"""What is not done in the answer: batches, answers made later, images; and what costs nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Usage
from mitmesh.exchange import Billing, Exchange, Outcome, Target
from mitmesh.quotas import elsewhere
from mitmesh.rules import HostRule
from mitmesh.rules.models import Price
from mitmesh.stages.meter import Meter
from mitmesh.wire.jsontext import Body, dumps, parse
from stages.test_quota import House

TOKENS = {"id": "tok", "unit": "tokens", "limit": 1000, "per": "day", "team": "each"}
DOLLARS = {"id": "usd", "unit": "dollars", "limit": 1, "per": "day", "team": "each"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.stage.stop()


def call(house: House, path: str, doc: Any, dialect: str = "generic", method: str = "POST") -> Exchange:
    raw = b"" if doc is None else dumps(doc).encode()
    read = DIALECTS[dialect].read(parse(raw) if raw else None, path, {})
    x = Exchange(
        dialect=DIALECTS[dialect],
        call=read,
        host=HostRule(id="p", match=["p.example"], provider="openai"),
        target=Target("https", "p.example", 443),
        path=path,
        method=method,
        headers={},
        rules=house.rules,
        body=Body(raw, parse(raw)) if raw else None,
        request_bytes=len(raw),
    )
    x.identity.team, x.billing = "red", Billing.METERED
    return x


async def ask(house: House, path: str, doc: Any, dialect: str = "generic", method: str = "POST") -> Exchange:
    x = call(house, path, doc, dialect, method)
    await house.stage.request(x)
    return x


async def answered(house: House, x: Exchange, doc: Any) -> None:
    """The provider's answer, as the meter books it."""
    x.forwarded, x.times.sent, x.status, x.outcome = True, 1.0, 200, Outcome.ANSWERED
    x.answer = x.dialect.read_answer(doc)
    meter = Meter()
    meter.response(x)
    meter.finish(x)
    await house.end(x)


def anthropic_batch(number: int, most: int, model: str = "claude-sonnet-4-5") -> dict[str, Any]:
    params = {"model": model, "max_tokens": most, "messages": [{"role": "user", "content": "hi"}]}
    return {"requests": [{"custom_id": str(each), "params": params} for each in range(number)]}


def gemini_batch(number: int, **config: Any) -> dict[str, Any]:
    request = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": config}
    return {"batch": {"input_config": {"requests": {"requests": [{"request": request}] * number}}}}


GEMINI = "/v1beta/models/gemini-2.5-flash:batchGenerateContent"


@pytest.mark.parametrize(
    ("path", "doc", "output"),
    [
        ("/v1/messages/batches", anthropic_batch(20, 500), 10_000),
        ("/v1/messages/batches/?beta=true", anthropic_batch(2, 500), 1000),
        ("/v1//messages/%62atches", anthropic_batch(2, 500), 1000),
        (GEMINI, gemini_batch(20, maxOutputTokens=60), 1200),
        (GEMINI, gemini_batch(3, maxOutputTokens=60, candidateCount=2), 360),
        (GEMINI, gemini_batch(3), 300),
    ],
)
async def test_a_batch_is_the_sum_of_its_requests(house: House, path: str, doc: Any, output: int) -> None:
    """Prompts and bounds of all are set aside, so a batch that is too large is refused; the cap stands for those that
    name no bound."""
    house.limit({**TOKENS, "limit": 20_000}, output_cap=100)
    x = await ask(house, path, doc)
    ((_, _, used, reserved),) = await house.counts()
    assert x.refusal is None and used == 0 and output < reserved < output + 20 * 10
    await house.end(x)
    house.limit({**TOKENS, "limit": output}, output_cap=100)
    x = await ask(house, path, doc)
    assert x.refusal and (x.refusal.status, x.refusal.rule_id) == (429, "tok")


async def test_a_batch_is_charged_when_it_is_sent(house: House) -> None:
    """Its answer tells nothing of what it will use; what is looked up later changes nothing."""
    house.limit({**TOKENS, "limit": 20_000}, DOLLARS, prices=[Price(model="claude-sonnet-4-5", input=3, output=15)])
    x = await ask(house, "/v1/messages/batches", anthropic_batch(20, 500))
    assert x.call.model == "claude-sonnet-4-5"
    before = {limit: reserved for limit, _, _, reserved in await house.counts()}
    assert before["usd"] >= 10_000 * 15
    await answered(house, x, {"id": "msgbatch_1", "type": "message_batch"})
    assert {limit: used for limit, _, used, _ in await house.counts()} == before
    x = await ask(house, "/v1/batches/b", None, method="GET")
    await answered(house, x, {"id": "b", "usage": {"input_tokens": 70, "output_tokens": 7000}})
    assert x.usage is None and {limit: used for limit, _, used, _ in await house.counts()} == before


@pytest.mark.parametrize(
    ("path", "doc", "why"),
    [
        ("/v1/batches", {"input_file_id": "file-1", "endpoint": "/v1/chat/completions"}, "in a file"),
        (GEMINI, {"batch": {"input_config": {"file_name": "files/1"}}}, "in a file"),
        (
            "/v1/messages/batches",
            {"requests": [*anthropic_batch(1, 5)["requests"], *anthropic_batch(1, 5, "claude-opus-4-1")["requests"]]},
            "several models",
        ),
    ],
)
async def test_a_batch_that_nobody_can_measure(house: House, path: str, doc: Any, why: str) -> None:
    """Refused under a limit that goes by what is used, whatever it names; not under one on requests."""
    for limit in (TOKENS, {**DOLLARS, "unpriced_tokens": 1000}):
        house.limit(limit)
        x = await ask(house, path, doc)
        assert x.refusal and x.refusal.type == "quota_batch" and why in x.refusal.reason
        await house.end(x)
    house.limit({"id": "req", "unit": "requests", "limit": 5, "per": "day"})
    assert (await ask(house, path, doc)).refusal is None
    house.limit(TOKENS, batches="free")
    assert (await ask(house, path, doc)).refusal is None


async def test_batches_can_be_refused_or_free(house: House) -> None:
    """By rule."""
    house.limit(TOKENS, batches="refuse")
    x = await ask(house, "/v1/messages/batches", anthropic_batch(1, 5))
    assert x.refusal and "refuse batches" in x.refusal.reason
    house.limit(TOKENS, batches="free")
    x = await ask(house, "/v1/messages/batches", anthropic_batch(20, 50_000))
    assert x.refusal is None and await house.counts() == []


@pytest.mark.parametrize(("told", "left"), [(510, 510), (90_000, 90_000), (None, 5_000)])
async def test_a_background_answer(house: House, told: int | None, left: int) -> None:
    """Its bound is charged when it is begun; the answer that is fetched later sets that right, once."""
    dollars = {**DOLLARS, "limit": 10}
    house.limit({**TOKENS, "limit": 20_000}, dollars, prices=[Price(model="gpt-4o-mini", input=1, output=1)])
    asked = {"model": "gpt-4o-mini", "input": "hi", "background": True, "max_output_tokens": 5_000}
    x = await ask(house, "/v1/responses", asked, "openai_responses")
    queued = {"id": "resp_1", "object": "response", "status": "queued", "output": [], "usage": None}
    await answered(house, x, queued)
    charged = {limit: used for limit, _, used, _ in await house.counts()}
    assert all(5_000 < used < 5_030 for used in charged.values())
    for status in ("in_progress", "completed", "completed"):
        x = await ask(house, "/v1/responses/resp_1", None, "openai_responses", "GET")
        usage = {"input_tokens": 10, "output_tokens": told - 10} if told and status == "completed" else None
        await answered(house, x, {**queued, "model": "gpt-4o-mini", "status": status, "usage": usage})
        if usage is None:
            assert {limit: used for limit, _, used, _ in await house.counts()} == charged
    assert all(left <= used < left + 30 and not held for _, _, used, held in await house.counts())


async def test_another_process_sets_it_right(tmp_path: Path) -> None:
    """Another worker, or the one after a restart, sees the answer fetched; whoever is next finds nothing to do."""
    one, two = House(tmp_path), House(tmp_path)
    for each in (one, two):
        each.limit({**TOKENS, "limit": 20_000})
    asked = {"model": "gpt-4o-mini", "input": "hi", "background": True, "max_output_tokens": 5_000}
    x = await ask(one, "/v1/responses", asked, "openai_responses")
    queued = {"id": "resp_1", "object": "response", "status": "queued", "output": [], "usage": None}
    await answered(one, x, queued)
    done = {**queued, "status": "completed", "usage": {"input_tokens": 10, "output_tokens": 500}}
    await one.stage.stop()
    for other in ("resp_2", "resp_1", "resp_1"):
        x = await ask(two, f"/v1/responses/{other}", None, "openai_responses", "GET")
        await answered(two, x, {**done, "id": other})
    (count,) = await two.counts()
    assert 510 <= count[2] < 540 and count[3] == 0  # GETs that say nothing of usage take a few tokens each
    await two.stage.stop()


async def test_what_is_forgotten_is_not_set_right(house: House) -> None:
    """A window that is long over has no count any more: none begins with less than nothing."""
    house.limit({**TOKENS, "limit": 20_000})
    asked = {"model": "gpt-4o-mini", "input": "hi", "background": True, "max_output_tokens": 5_000}
    x = await ask(house, "/v1/responses", asked, "openai_responses")
    queued = {"id": "resp_1", "object": "response", "status": "queued", "output": [], "usage": None}
    await answered(house, x, queued)
    before = await house.counts()
    house.clock.now += 6 * 86_400
    x = await ask(house, "/v1/responses/resp_1", None, "openai_responses", "GET")
    await answered(house, x, {**queued, "status": "completed", "usage": {"input_tokens": 10, "output_tokens": 500}})
    assert before[0] in await house.counts()


async def test_what_images_use_is_charged(house: House) -> None:
    """OpenAI says it in `usage`; the dialect knows nothing else of them."""
    house.limit({**TOKENS, "limit": 20_000})
    x = await ask(house, "/v1/images/generations", {"model": "gpt-image-1", "prompt": "cat"})
    await answered(house, x, {"data": [], "usage": {"input_tokens": 10, "output_tokens": 4000, "total_tokens": 4010}})
    assert x.usage == Usage(prompt=10, completion=4000) and await house.counts() == [("tok", "team=red", 4010, 0)]


@pytest.mark.parametrize(
    ("path", "free"),
    [
        ("/v1/oauth/token", True),
        ("/v1/traces/ingest", True),
        ("/v1/rgstr", True),
        ("/v1internal:loadCodeAssist", True),
        ("/v1internal:generateContent", False),
        ("/api/show", True),
        ("/api/chat", False),
        ("/v1/check-api-key", True),
        ("/v1/files", True),
        ("/v1/files/file-1/content", True),
        ("/v1/moderations", True),
        ("/v1/responses/resp_1/cancel", True),
        ("/api/event_logging/batch", True),
        ("/v1/batches/b/cancel?x=1", True),
        ("/v1/something", False),
        ("/v1/files/../images/generations", False),
        ("/v1/files/%2e%2e/images/generations", False),
        ("/v1//files", False),
        ("/v1/images/generations?x=/v1/files", False),
    ],
)
async def test_what_costs_nothing(house: House, path: str, free: bool) -> None:
    """A call about files, cancelling or telemetry names no model, and comes under no limit in dollars or tokens."""
    house.limit(DOLLARS, TOKENS)
    x = await ask(house, path, {"purpose": "x", "input": "some words"})
    assert (x.refusal is None) == free and (x.notes.get("quota") is None)


async def test_cancelling_a_response(house: House) -> None:
    """The dialect reads a body there as a call; it is none. A completion at such a path is."""
    house.limit(DOLLARS)
    assert (await ask(house, "/v1/responses/resp_1/cancel", {}, "openai_responses")).refusal is None
    x = await ask(house, "/v1/files/chat/completions", {"messages": []}, "openai_chat")
    assert x.refusal and not elsewhere.is_free(x)


async def test_each_prompt_has_an_output(house: House) -> None:
    """Completions take a list of prompts, and answer each."""
    house.limit({**TOKENS, "limit": 20_000})
    for prompt, times in ((["hi"] * 50, 50), ([[1, 2]] * 5, 5), ([1, 2, 3], 1), ("hi", 1), ([], 1)):
        doc = {"model": "m", "prompt": prompt, "max_tokens": 100, "n": 2}
        x = await ask(house, "/v1/completions", doc, "openai_chat")
        ((_, _, _, reserved),) = await house.counts()
        assert 200 * times <= reserved < 200 * times + 210
        await house.end(x)


async def test_the_larger_of_two_bounds_is_reserved(house: House) -> None:
    """Which of the two a server heeds is its own matter."""
    house.limit(TOKENS)
    doc = {"model": "m", "messages": [], "max_completion_tokens": 10, "max_tokens": 90_000}
    assert (await ask(house, "/v1/chat/completions", doc, "openai_chat")).refusal
