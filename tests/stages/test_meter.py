"""What a call used and cost, however it ended."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from metered import exchange, said
from mitmesh import tokens
from mitmesh.dialects.base import Answer, Call, Kind, Operation, Part, Provenance, Text, Usage
from mitmesh.exchange import Billing, Outcome
from mitmesh.rules import Price
from mitmesh.stages.meter import Meter, estimate

TOLD = Usage(prompt=1000, completion=100)
GONE, CUT, FAILED = Outcome.CLIENT_GONE, Outcome.UPSTREAM_CUT, Outcome.UPSTREAM_FAILED


def metered(**given: Any) -> Any:
    """The exchange after all the meter does, settled as the engine would."""
    x, meter = exchange(**given), Meter()
    meter.response(x)
    if meter.needs_settling(x):
        meter.settle(x)
    meter.finish(x)
    return x


def test_the_providers_numbers_are_taken() -> None:
    """What the provider says is the usage, as it says it, and it is priced."""
    x = metered(answer=said(usage=TOLD, model="gpt-4o-mini-2024-07-18"))
    assert x.usage is TOLD
    assert x.cost == 150 + 60  # $0.15 and $0.60 per million


def test_cost_is_known_before_a_json_answer_is_sent() -> None:
    """For a complete answer usage and cost stand after `response`, for the headers."""
    x = exchange(answer=said(usage=TOLD))
    Meter().response(x)
    assert (x.usage, x.cost) == (TOLD, 210)


@pytest.mark.parametrize(
    ("given", "estimated"),
    [
        # delivered, but nobody said how much
        ({"answer": said()}, True),
        ({"answer": said(complete=False), "outcome": GONE}, True),
        ({"answer": said(complete=False), "outcome": CUT}, True),
        ({"answer": said(), "operation": Operation.EMBEDDINGS}, True),
        ({"answer": None, "outcome": CUT}, True),  # the headers came, and nothing else
        ({"answer": None, "status": None, "outcome": GONE}, True),  # the client did not wait; the provider works on
        ({"answer": None, "status": None, "outcome": Outcome.INTERRUPTED}, True),
        # nothing was used
        ({"answer": said(), "forwarded": False}, None),
        ({"answer": said(usage=TOLD), "forwarded": False}, None),  # from the cache, or of our own
        ({"answer": None, "forwarded": False, "status": 403, "outcome": Outcome.REFUSED}, None),
        ({"answer": Answer(error="rate_limit"), "status": 429}, None),
        ({"answer": None, "status": 500}, None),
        ({"answer": None, "status": None, "outcome": FAILED}, None),
        ({"answer": said(), "operation": Operation.MODELS}, None),
        ({"answer": said(usage=TOLD), "operation": Operation.COUNT_TOKENS}, None),  # counting is free
        ({"answer": said(), "operation": Operation.OTHER}, None),
        # the provider said it
        ({"answer": said(usage=TOLD), "operation": Operation.OTHER}, False),
        ({"answer": said(usage=TOLD), "operation": Operation.EMBEDDINGS}, False),
        ({"answer": Answer(usage=TOLD, error="overloaded", complete=True), "status": 529}, False),
    ],
)
def test_told_estimated_or_none(given: dict[str, Any], estimated: bool | None) -> None:
    """Usage is the provider's word, else an estimate of what was delivered, else None where nothing was used."""
    x = metered(**given)
    assert (x.usage.estimated if x.usage else None) is estimated
    assert (x.cost is None) is (estimated is None)


def test_estimate_counts_what_was_sent_and_delivered() -> None:
    """Without a word from the provider texts and answer are counted, tool calls and reasoning included."""
    parts = [
        Part(Kind.REASONING, "hello world"),
        Part(Kind.TEXT, "hello world hello world"),
        Part(Kind.TOOL_CALL, "{}", name="hello"),
        Part(Kind.OPAQUE),
    ]
    x = metered(prompt="hello world", answer=Answer(parts=parts))
    assert x.usage == Usage(prompt=2 + 6, completion=2 + 4 + 2, reasoning=2, estimated=True)


def test_token_ids_are_counted_as_such() -> None:
    """A prompt of token numbers is as many tokens."""
    assert estimate(Call(Operation.EMBEDDINGS, "m", token_ids=40, token_bytes=90, opaque_bytes=90), None).prompt == 40


def test_metadata_is_no_prompt() -> None:
    """What a client says of itself is not counted, except where a dialect knows nothing better."""
    x = exchange()
    x.call.texts.append(Text(("user",), Provenance.METADATA, "hello " * 50))
    assert estimate(x.call, None).prompt == 8
    x.call.texts = [Text(("x",), Provenance.METADATA, "hello world")]
    assert estimate(x.call, None).prompt == 8


@pytest.mark.parametrize(
    ("told", "completion", "estimated"),
    [(Usage(prompt=70, completion=1), 4, True), (Usage(prompt=70, completion=50, reasoning=40), 50, False)],
)
def test_a_cut_answer_is_not_metered_by_its_first_numbers(told: Usage, completion: int, estimated: bool) -> None:
    """A cut stream's usage so far (Anthropic starts with 1 output token) is raised to what was delivered."""
    x = metered(answer=said("hello world hello world", complete=False, usage=told), outcome=GONE)
    assert (x.usage.prompt, x.usage.completion, x.usage.estimated) == (70, completion, estimated)


@pytest.mark.parametrize("model", ["junk-model", None])
def test_an_unknown_price_is_none(model: str | None) -> None:
    """A model nobody knows has usage, but a cost of None, not 0."""
    x = metered(model=model, answer=said(usage=TOLD))
    assert (x.usage, x.cost) == (TOLD, None)


def test_own_prices_and_the_served_model() -> None:
    """The rules of this exchange price it, and a deployment's name is priced as the model that answered."""
    own = Price(model="junk-model", input="1", output="10")
    assert metered(model="junk-model", answer=said(usage=TOLD), prices=[own]).cost == 2000
    assert metered(model="deployment", answer=said(usage=TOLD, model="gpt-4o-mini")).cost == 210
    assert metered(model=None, answer=said(usage=TOLD, model="gpt-4o-mini")).cost == 210


def test_one_of_several_models() -> None:
    """The price is that of the model which answered, though it was not the first choice."""
    rules = [Price(model="gpt-4o-mini", input="1", output="1"), Price(model="o3", input="10", output="10")]
    for served, cost in (("openai/o3", 11_000), ("gpt-4o-mini", 1100), ("gpt-4o-mini-2024-07-18", 1100)):
        x = exchange(answer=said(usage=TOLD, model=served), prices=rules)
        x.call.others = ("o3",)
        Meter().response(x)
        assert x.cost == cost


def test_settling_is_asked_for_only_where_there_is_work() -> None:
    """Ordinary answers need no thread; a settled exchange asks for none again and keeps its numbers."""
    meter = Meter()
    assert not meter.needs_settling(exchange(answer=said(usage=TOLD)))
    x = exchange(answer=said(complete=False), outcome=GONE)
    assert meter.needs_settling(x)
    worker = threading.Thread(target=meter.settle, args=(x,))
    worker.start()
    worker.join()
    first = x.usage
    assert first is not None
    assert not meter.needs_settling(x)
    meter.settle(x)
    meter.finish(x)
    assert x.usage is first


def test_finish_settles_what_nobody_settled() -> None:
    """An engine without time for a thread gets the estimate in finish."""
    x = exchange(answer=said(complete=False), outcome=GONE)
    Meter().finish(x)
    assert x.usage is not None


@pytest.mark.parametrize(
    ("headers", "billing"),
    [
        ({"authorization": "Bearer sk-x"}, Billing.METERED),
        ({"authorization": "Bearer sk-ant-oat01-x"}, Billing.METERED),  # no plan is served at this host
        ({}, Billing.UNKNOWN),
    ],
)
def test_billing(headers: dict[str, str], billing: Billing) -> None:
    """Before the call it is known how it will be paid for."""
    x = exchange(headers=headers)
    asyncio.run(Meter().request(x))
    assert x.billing is billing
    x.target = None
    asyncio.run(Meter().request(x))
    assert x.billing is billing


def test_start_fails_without_a_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged installation stops the proxy at start, with the vocabulary's name."""

    def damaged() -> None:
        raise tokens.VocabularyError("tiktoken vocabulary o200k_base.tiktoken: gone")

    monkeypatch.setattr(tokens, "load", damaged)
    with pytest.raises(tokens.VocabularyError, match="o200k_base"):
        asyncio.run(Meter().start())


def test_numbers_that_are_none_tell_nothing() -> None:
    """A usage of no tokens at all, as malformed numbers are read, is unknown: it is estimated, and never 0."""
    x = metered(answer=said(usage=Usage()))
    assert x.usage is not None and x.usage.total > 0 and x.usage.estimated
