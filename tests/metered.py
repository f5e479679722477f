"""Exchanges for the tests of meter and metrics: a call with only what those two read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from mitmesh.dialects.base import Answer, Call, Dialect, Kind, Operation, Part, Provenance, Text
from mitmesh.exchange import Exchange, Outcome, Target
from mitmesh.rules import HostRule, Price, Prices, Rules


class Chat(Dialect):
    """A dialect by name alone."""

    name = "openai_chat"
    native = "openai"


def exchange(
    *,
    model: str | None = "gpt-4o-mini",
    provider: str = "openai",
    host: str = "api.openai.com",
    prompt: str = "hello world",
    answer: Answer | None = None,
    operation: Operation = Operation.CHAT,
    forwarded: bool = True,
    status: int | None = 200,
    outcome: Outcome | None = Outcome.ANSWERED,
    prices: list[Price] | None = None,
    headers: dict[str, str] | None = None,
) -> Exchange:
    """A finished call to OpenAI, or what the arguments make of it."""
    rules = SimpleNamespace(prices=Prices(prices=prices or []), version="test", mode=lambda team: "enforce")
    call = Call(operation, model, texts=[Text(("messages", 0, "content"), Provenance.USER, prompt, 0)])
    rule = HostRule(id="test", match=[host], provider=provider)
    x = Exchange(Chat(), call, rule, Target("https", host, 443), "/v1/x", cast(Any, headers or {}), cast(Rules, rules))
    x.forwarded, x.status, x.outcome, x.answer = forwarded, status, outcome, answer
    return x


def said(text: str = "Hello!", *, kind: Kind = Kind.TEXT, complete: bool = True, **rest: Any) -> Answer:
    """An answer of one part."""
    return Answer(parts=[Part(kind, text)], complete=complete, **rest)
