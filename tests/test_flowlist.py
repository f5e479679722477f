"""What a flow's comment says of its call, and the conversation that the content view makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mitmproxy import contentviews
from mitmproxy.contentviews import Metadata
from mitmproxy.test import taddons, tflow

from audits import answered, exchange
from mitmesh import flowlist
from mitmesh.exchange import Action, Billing, Mode, Origin, Outcome

SSE = (
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":"Hel"}}]}\n\n'
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"lo"}}]}\n\ndata: [DONE]\n\n'
)


@pytest.mark.parametrize(
    ("change", "verdict", "begins", "mark"),
    [
        ({}, None, "$0.001500 · 10+5 tokens · ", ""),
        ({"cost": None}, None, "price unknown · 10+5 tokens", ""),
        ({"billing": Billing.SUBSCRIPTION}, None, "$0.001500 notional · ", ""),
        ({"origin": Origin.CACHE}, None, "from cache · $", ""),
        ({"outcome": Outcome.UPSTREAM_CUT}, None, "upstream cut · $", flowlist.FAILED),
        ({"usage": None}, ("policy", Action.REFUSE, Mode.ENFORCE), "refused by policy: r1 · ", flowlist.REFUSED),
        ({}, ("quota", Action.REFUSE, Mode.OBSERVE), "would be refused by quota: r1 · $", flowlist.OBSERVED),
        ({}, ("redact", Action.REDACT, Mode.ENFORCE), "redacted by redact: r1 · $", ""),
        ({}, ("policy", Action.ALLOW, Mode.ENFORCE), "$0.001500", ""),
    ],
)
def test_comment(change: dict[str, Any], verdict: Any, begins: str, mark: str) -> None:
    """Verdicts first, then cost, tokens and time; refusals and failures bear a sign."""
    x = answered(exchange())
    for name, value in change.items():
        setattr(x, name, value)
    if verdict:
        stage, action, mode = verdict
        x.decide(stage, action, "r1", "because of SECRET", mode=mode)
    said = flowlist.comment(x)
    assert said.startswith(begins)
    assert said.endswith(x.id)
    assert "SECRET" not in said
    assert flowlist.mark(x) == mark


def viewed(data: bytes, *, answer: bool, dialect: str = "openai_chat", said: str = "") -> str:
    """What the content view shows of a request's or an answer's body."""
    flow = tflow.tflow(resp=True)
    flow.metadata[flowlist.DIALECT] = dialect
    assert flow.response
    if said:
        flow.metadata[flowlist.SAID] = said
        flow.response.raw_content = None
    message = flow.response if answer else flow.request
    view, metadata = flowlist.Conversation(), Metadata(flow=flow, http_message=message)
    assert view.render_priority(data, metadata) == 2
    return view.prettify(data, metadata)


def test_a_request_with_its_streamed_answer() -> None:
    """Roles and words in order; of a stream, which mitmproxy does not keep, what was said."""
    doc = {"model": "m", "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]}
    shown = viewed(json.dumps(doc).encode(), answer=False, said="── assistant ──\nHello")
    assert shown == "chat m\n\n── system ──\nBe kind.\n\n── user ──\nHi\n\n── assistant ──\nHello"


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (SSE, "── assistant ──\nHello"),
        (
            b'{"choices":[{"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}]}',
            "── assistant ──\nHello",
        ),
        (b'{"error":{"type":"invalid_request","message":"no"}}', "── error ──\ninvalid_request"),
        (b"data: junk\n\n", ""),
    ],
)
def test_an_answer(data: bytes, shown: str) -> None:
    """A whole answer, an error and a stream of events are all read."""
    assert viewed(data, answer=True) == shown


@pytest.mark.parametrize("data", [b"", b"junk", b"[]", b"\xff", b'{"messages": [', b"[" * 100_000])
def test_what_is_none_is_not_ours(data: bytes) -> None:
    """Flows that we do not govern are left to other views; a body that cannot be read is shown as it is, and why."""
    flow = tflow.tflow()
    view, metadata = flowlist.Conversation(), Metadata(flow=flow, http_message=flow.request)
    assert view.render_priority(b"x", metadata) < 0
    body = data.decode("utf-8", "replace")
    assert view.prettify(data, metadata) == f"(no LLM call that mitmesh governs)\n\n{body}"
    flow.metadata[flowlist.DIALECT] = "openai_chat"
    assert view.prettify(data, metadata) == f"(cannot be read as openai_chat)\n\n{body}"


def test_a_streamed_answer_is_shown_in_its_own_view() -> None:
    """mitmproxy keeps nothing of a stream, and would say that the content is missing."""
    flow, told = tflow.tflow(resp=True), []
    flow.request.content = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}]}'
    assert flow.response
    flow.response.raw_content = None
    x = answered(exchange())
    flowlist.install(told.append)(flow, x)
    assert told == [flow]
    flow.metadata[flowlist.DIALECT] = "openai_chat"  # the exchange's own is a stand-in
    with taddons.context():
        shown = contentviews.prettify_message(flow.response, flow)
        assert shown.view_name == "LLM conversation", shown
        assert "── assistant ──" in shown.text
        assert shown.text in contentviews.prettify_message(flow.request, flow).text
