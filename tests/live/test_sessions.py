"""Running sessions: what has streamed so far, and that nothing grows without end."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from audits import answered, exchange
from mitmesh.dialects import anthropic_answer, openai_chat_answer
from mitmesh.dialects.base import Answer, AnswerReader, Event, Kind, Part, Usage
from mitmesh.exchange import Billing, Exchange, Origin
from mitmesh.live.sessions import MOST, Sessions, so_far
from mitmesh.rules import Prices


def running(*pairs: tuple[str, str], **fields: Any) -> Exchange:
    """A call whose answer streams."""
    x = exchange(*pairs, session=fields.pop("session", "s1"))
    x.rules = SimpleNamespace(**{**vars(x.rules), "prices": Prices(prices=[])})  # type: ignore[assignment]
    x.forwarded, x.billing = True, Billing.METERED
    x.answer = Answer(parts=[Part(Kind.TEXT, "word " * 80)])
    for name, value in fields.items():
        setattr(x, name, value)
    return x


def test_tokens_and_cost_as_they_stream() -> None:
    """Estimated from characters at four a token; the provider's own numbers as far as it has said them."""
    x = running(("user", "x" * 4_000))
    assert so_far(x) == (Usage(1_000, 100, estimated=True), so_far(x)[1])
    first = so_far(x)[1]
    assert first
    assert x.answer
    x.answer.parts[0].text += "word " * 8_000
    later = so_far(x)[1]
    assert later
    assert later > first
    x.answer.usage = Usage(prompt=5_000, completion=1, cache_read=4_000)
    usage, _ = so_far(x)
    assert usage
    assert (usage.prompt, usage.cache_read, usage.completion) == (5_000, 4_000, 10_100)


@pytest.mark.parametrize(
    ("reader", "piece"),
    [
        (openai_chat_answer.Reader, {"choices": [{"index": 0, "delta": {"content": "word " * 8}}]}),
        (
            anthropic_answer.Reader,
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word " * 8}},
        ),
    ],
)
def test_it_counts_while_a_part_grows(reader: Callable[[int], AnswerReader], piece: dict[str, Any]) -> None:
    """A dialect joins a text's pieces at its end: what came is counted before that."""
    reading = reader(10_000)
    if "type" in piece:
        start = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
        reading.feed(Event(b""), start)
    x = running(("user", "x" * 400), answer=reading.answer, reading=reading)
    counts = []
    for _ in range(3):
        reading.feed(Event(b""), piece)
        usage, _cost = so_far(x)
        assert usage
        counts.append(usage.completion)
    assert counts == [10, 20, 30]


@pytest.mark.parametrize("change", [{"forwarded": False}, {"answer": None}])
def test_before_the_answer(change: dict[str, Any]) -> None:
    """What was not sent costs nothing yet; what waits for its answer has its prompt."""
    usage, _ = so_far(running(("user", "x" * 400), **change))
    assert usage is None if "forwarded" in change else usage == Usage(100, 0, estimated=True)


def test_a_session_is_its_calls() -> None:
    """Ended and running calls of a session are one row; plans and unknown prices stand apart."""
    sessions = Sessions()
    sessions.end(answered(exchange(session="s1"), cost=1_500))
    plan = answered(exchange(session="s1"), cost=700)
    plan.billing = Billing.SUBSCRIPTION
    sessions.end(plan)
    sessions.end(answered(exchange(session="s1"), cost=None))
    refused = exchange(session="s1")
    refused.refuse("policy", "r", "no")
    sessions.end(refused)
    (row,) = sessions.now([running()])
    assert (row["calls"], row["running"], row["refused"], row["unpriced"]) == (5, 1, 1, 1)
    assert (row["notional_microusd"], row["prompt"]) == (700, 31)
    assert row["cost_microusd"] > 1_500


def test_who_runs_comes_first_then_the_latest() -> None:
    """Running sessions are on top, then those with the latest call; calls without a session are one row a caller."""
    sessions = Sessions()
    for name in ("a", "b", "c", None, None):
        sessions.end(answered(exchange(session=name)))
    rows = sessions.now([running(session="a")])
    assert [row["session"] for row in rows] == ["a", None, "c", "b"]
    assert rows[1]["calls"] == 2


def test_bounded() -> None:
    """Sessions beyond the most that are remembered push out the oldest, running ones that somebody looks at too."""
    sessions = Sessions()
    for n in range(MOST + 50):
        sessions.end(answered(exchange(session=f"s{n}")))
    rows = sessions.now(running(session=f"open{n}") for n in range(MOST + 50))
    assert len(rows) == MOST


def test_sessions_of_two_callers() -> None:
    """A session's name is a claim: with another caller it is another session."""
    sessions = Sessions()
    callers = [("10.0.0.1", "sk-1"), ("10.0.0.2", "sk-1"), ("10.0.0.1", "sk-1"), ("10.0.0.1", "sk-2")]
    for client, credential in callers:
        x = answered(exchange(session="s1"))
        x.client, x.credential = client, credential
        sessions.end(x)
    assert sorted(row["calls"] for row in sessions.now([])) == [1, 1, 2]
    assert "sk-" not in repr(sessions.__dict__)


def test_what_is_served_here_costs_nothing() -> None:
    """A running answer of our own (a demo's) is priced as it will be in the end, and so is a local server's."""
    assert so_far(running(("user", "hi"), origin=Origin.PROXY))[1] == 0
    sessions = Sessions()
    (row,) = sessions.now([running(("user", "hi"), billing=Billing.LOCAL)])
    assert row["cost_microusd"] == row["unpriced"] == 0 and row["completion"]
