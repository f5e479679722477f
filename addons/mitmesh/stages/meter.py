"""What a call used and what that cost: from the provider's own numbers, else estimated from what was delivered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mitmesh import prices, tokens
from mitmesh.billing import billing
from mitmesh.dialects.base import Answer, Call, Dialect, Event, Framing, Kind, Operation, Usage
from mitmesh.dialects.fallbacks import answered
from mitmesh.exchange import Origin, Outcome
from mitmesh.quotas.estimate import PER_MESSAGE, prompt_texts
from mitmesh.redaction.signing import is_signed
from mitmesh.stage import Stage

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange
    from mitmesh.stage import Transform

_FREE = (Operation.COUNT_TOKENS, Operation.MODELS)
_ESTIMATED = (Operation.CHAT, Operation.EMBEDDINGS)


class Meter(Stage):
    """Sets `x.billing` before the call, `x.usage` and `x.cost` after it.

    A call that nothing was forwarded of used nothing: its usage and cost stay None. What must be counted by us takes
    time in proportion to the texts, so the engine asks `needs_settling(x)` and runs `settle(x)` in a thread before
    `finish(x)`; an engine that cannot (at shutdown) calls settle directly, and one that forgets gets it in finish.
    """

    name = "meter"

    async def start(self) -> None:
        """Load vocabularies and prices, so that no call waits for them. Raises VocabularyError."""
        await asyncio.gather(asyncio.to_thread(tokens.load), asyncio.to_thread(prices.load))

    async def request(self, x: Exchange) -> None:
        """How will it be paid for? And have a stream tell its usage, where it would not."""
        x.billing = billing(x.target.proven if x.target else "", x.path, x.headers, x.host.billing)
        may_ask = x.host.ask_usage and x.rules.mesh.ask_usage
        if not may_ask or not x.body or x.framing is Framing.NONE or is_signed(x.headers, x.path):
            return
        if edit := x.dialect.ask_usage(x.body.doc):
            x.body.set(*edit)
            x.edits_stream = True
            x.notes[self.name] = OnlyUsage(x.dialect)

    def stream(self, x: Exchange) -> Transform | None:
        """What the client did not ask for does not reach it."""
        unasked: OnlyUsage | None = x.notes.get(self.name)
        return unasked

    def response(self, x: Exchange) -> None:
        """The whole answer: usage and cost are known, for JSON before it is sent, if the provider says."""
        said = told(x.answer)
        if x.forwarded and x.usage is None and x.answer and x.answer.complete and said:
            self._book(x, said)

    def needs_settling(self, x: Exchange) -> bool:
        """Must tokens be counted by us? Cheap, and false once it was done."""
        if x.usage is not None or not x.forwarded or x.operation not in _ESTIMATED:
            return False
        if told(x.answer) is not None:
            return not (x.answer and x.answer.complete)
        if x.answer is None and x.response_bytes:
            return False  # nobody could read it, so nobody can say
        return _was_served(x)

    def settle(self, x: Exchange) -> None:
        """Count what was sent and delivered. Thread-safe: it reads `x` and sets its usage and cost at the end."""
        if self.needs_settling(x):
            self._book(x, estimate(x.call, x.answer))

    def finish(self, x: Exchange) -> None:
        """Usage and cost, where they are not known yet."""
        self.settle(x)
        said = told(x.answer)
        if x.usage is None and x.forwarded and said:
            self._book(x, said)

    def _book(self, x: Exchange, usage: Usage) -> None:
        if x.operation in _FREE or (x.method == "GET" and not x.dialect.native):
            return  # what was looked up, a batch say, was used once, however often somebody looks
        served = x.answer.model if x.answer else None
        if x.origin is Origin.PROXY and x.route != "demo":
            x.cost = 0  # an answer of our own; a demo's has the price it would have had, notionally
        else:
            x.cost = _cost(x, usage, served)
        x.usage = usage


class OnlyUsage:
    """Drops the events that are there only because we asked for usage."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def event(self, event: Event, doc: Any) -> Sequence[Event] | None:
        """Nothing in its place, or the event itself."""
        return () if doc is not None and self._dialect.only_usage(doc) else None

    def end(self) -> Sequence[Event]:
        """Nothing is held back."""
        return ()


def _cost(x: Exchange, usage: Usage, served: str | None) -> int | None:
    """At the price of the model that answered, as it says, else as the call says; of a deployment without a price as
    its body claims."""
    for model in (answered(x.call, served) or served, x.call.claimed):
        if model is not None:
            cost = prices.price(model, x.provider, usage, x.started, x.rules.prices.prices, served=served)
            if cost is not None:
                return cost
    return None


def told(answer: Answer | None) -> Usage | None:
    """The usage the provider told. No tokens at all, or numbers that are none, tell nothing: unknown is never 0."""
    return answer.usage if answer and answer.usage and answer.usage.total else None


def estimate(call: Call, answer: Answer | None) -> Usage:
    """The usage of a call, counted from its texts and from what was delivered of its answer.

    Where the provider said something before the answer was cut (Anthropic tells the prompt at the start of a stream,
    and 1 for the completion), its prompt stands, and its completion if it is more than was delivered. Media and
    encrypted parts are not counted. `estimated` is set unless all numbers are the provider's.
    """
    delivered, reasoning = _completion(call.model, answer)
    said = told(answer)
    if said is None:
        return Usage(prompt=_prompt(call), completion=delivered, reasoning=reasoning, estimated=True)
    if said.completion >= delivered:
        return said
    return replace(said, completion=delivered, reasoning=max(said.reasoning, reasoning), estimated=True)


def _was_served(x: Exchange) -> bool:
    """Did the provider take the call on? An error answer, or none because it could not be reached, costs nothing; one
    that the client did not wait for does."""
    if x.status is not None:
        return x.status < 400
    return x.outcome in (Outcome.CLIENT_GONE, Outcome.INTERRUPTED)


def _prompt(call: Call) -> int:
    texts, _ = prompt_texts(call)
    words = sum(tokens.count(text.text, call.model) for text in texts) + call.token_ids
    if call.operation is not Operation.CHAT:
        return words
    return words + PER_MESSAGE * (1 + len({text.message for text in texts}))


def _completion(model: str | None, answer: Answer | None) -> tuple[int, int]:
    """Tokens delivered, and those of them that were reasoning."""
    total = reasoning = 0
    for part in answer.parts if answer else ():
        count = tokens.count(part.text, model) + (tokens.count(part.name, model) if part.name else 0)
        total += count
        reasoning += count if part.kind is Kind.REASONING else 0
    return total, reasoning
