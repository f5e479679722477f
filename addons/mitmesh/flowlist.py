"""In the lists of mitmproxy and mitmweb: verdict and cost as a flow's comment, and an LLM call as a conversation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from mitmproxy import contentviews, http
from mitmproxy.contentviews import Contentview, Metadata

from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Answer, Framing, Kind
from mitmesh.exchange import Action, Billing, Mode, Origin
from mitmesh.wire.frames import framer

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange

type Show = Callable[[http.HTTPFlow, Exchange], None]

DIALECT, SAID = "mesh_dialect", "mesh_answer"
"""What a flow's metadata says: plain values, for mitmproxy saves flows."""
LONGEST = 100_000
"""Characters of an answer that are kept with its flow; mitmproxy itself keeps none of a streamed one."""
REFUSED, OBSERVED, FAILED = ":red_circle:", ":yellow_circle:", ":x:"


def install(updated: Callable[[http.HTTPFlow], None]) -> Show:
    """Register the content view; returns what shows a flow's finished exchange. `updated` tells the list."""
    contentviews.add(Conversation())

    def show(flow: http.HTTPFlow, x: Exchange) -> None:
        flow.comment = comment(x)
        flow.marked = mark(x) or flow.marked
        flow.metadata[DIALECT] = x.dialect.name
        if x.answer:
            flow.metadata[SAID] = said = "\n\n".join(_answer(x.answer))[:LONGEST]
            if said and flow.response and flow.response.raw_content is None:  # it was streamed, and is with the client
                flow.response.raw_content = said.encode("utf-8", "replace")
        updated(flow)

    return show


def comment(x: Exchange) -> str:
    """One line on what became of a call: what kept or would have kept it, cost, tokens, time, whose answer it was."""
    words = [_verdict(verdict) for verdict in x.verdicts if verdict.action is not Action.ALLOW]
    if x.outcome and x.outcome not in ("answered", "refused"):
        words.append(x.outcome.replace("_", " "))
    if x.origin is not Origin.PROVIDER and not x.refusal:
        words.append(f"from {x.origin}")
    if x.usage:
        words.append(_cost(x))
        words.append(f"{x.usage.prompt:,}+{x.usage.completion:,} tokens{' (estimated)' if x.usage.estimated else ''}")
    if x.times.done is not None:
        words.append(f"{x.times.done - x.times.received:.1f} s, {x.times.own * 1000:.1f} ms ours")
    return " · ".join([*words, x.id])


def mark(x: Exchange) -> str:
    """The sign in the list's margin; empty for a call like any other."""
    if x.refusal:
        return REFUSED
    if any(verdict.action is Action.REFUSE for verdict in x.verdicts):
        return OBSERVED
    return FAILED if x.outcome in ("upstream_failed", "upstream_cut", "malformed") else ""


def _verdict(verdict: Any) -> str:
    word = {Action.REFUSE: "refused", Action.REDACT: "redacted", Action.ANSWER: "answered", Action.WARN: "warned"}
    would = "would be " if verdict.mode is Mode.OBSERVE else ""
    return f"{would}{word[verdict.action]} by {verdict.stage}: {verdict.rule_id}"


def _cost(x: Exchange) -> str:
    if x.cost is None:
        return "price unknown"
    return f"${x.cost / 1e6:.6f}{' notional' if x.billing is Billing.SUBSCRIPTION else ''}"


class Conversation(Contentview):
    """An LLM call's request or answer as a conversation, a paragraph a message."""

    name = "LLM conversation"
    syntax_highlight = "none"

    def prettify(self, data: bytes, metadata: Metadata) -> str:
        """The conversation; for what is none, a line that says so and the body as it is."""
        flow = metadata.flow
        if not isinstance(flow, http.HTTPFlow) or DIALECT not in flow.metadata:
            return _raw("no LLM call that mitmesh governs", data)
        try:
            return self._conversation(flow, metadata.http_message is flow.response, data)
        except (ValueError, RecursionError):  # DialectError, no JSON, no UTF-8; mitmproxy would show a traceback
            return _raw(f"cannot be read as {flow.metadata[DIALECT]}", data)

    def _conversation(self, flow: http.HTTPFlow, is_answer: bool, data: bytes) -> str:
        dialect = DIALECTS[flow.metadata[DIALECT]]
        streamed = flow.metadata.get(SAID, "")
        kept = flow.response.raw_content if flow.response else None
        if kept is not None and kept != streamed.encode("utf-8", "replace"):
            streamed = ""
        if is_answer:
            return streamed or "\n\n".join(_answer(_read(dialect, data)))
        call = dialect.read(json.loads(data), flow.request.path, flow.request.headers)
        said = [f"── {text.provenance.value.replace('_', ' ')} ──\n{text.text}" for text in call.texts]
        if streamed:
            said.append(streamed)
        return f"{call.operation} {call.model or ''}\n\n" + "\n\n".join(said)

    def render_priority(self, data: bytes, metadata: Metadata) -> float:
        """Above JSON's, for the calls that mitmesh governs."""
        return 2 if data and metadata.flow and DIALECT in metadata.flow.metadata else -1


def _raw(why: str, data: bytes) -> str:
    return f"({why})\n\n{data[:LONGEST].decode('utf-8', 'replace')}"


def _read(dialect: Any, data: bytes) -> Answer:
    """A whole answer, or the events of one."""
    if data.lstrip()[:1] in (b"{", b"["):
        found: Answer = dialect.read_answer(json.loads(data))
        return found
    reader, frames = dialect.reader(), framer(Framing.SSE)
    for event in [*frames.feed(data), *frames.flush()]:
        try:
            doc = json.loads(event.data)
        except ValueError:
            doc = None
        reader.feed(event, doc)
    reader.finish()
    answer: Answer = reader.answer
    return answer


def _answer(answer: Answer) -> Iterator[str]:
    roles = {Kind.TEXT: "assistant", Kind.TOOL_CALL: "tool call"}
    for part in answer.parts:
        if part.kind is not Kind.OPAQUE:
            yield f"── {roles.get(part.kind, part.kind.value)} ──\n{f'{part.name} ' if part.name else ''}{part.text}"
    if answer.error:
        yield f"── error ──\n{answer.error}"
