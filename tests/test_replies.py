"""What the engine writes into responses: refusals, answers, headers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.test import tflow

from mitmesh import replies
from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Answer, Call, Framing, Kind, Operation, Part, Usage
from mitmesh.exchange import Exchange, Origin, Target
from mitmesh.guard import StageFailed
from mitmesh.rules import HostRule, Rules


def exchange(dialect: str = "openai_chat", **fields: Any) -> Exchange:
    """A call; with fields set."""
    x = Exchange(
        dialect=DIALECTS[dialect],
        call=Call(Operation.CHAT, "gpt-4o"),
        host=HostRule(id="h", match=["h"], provider="openai"),
        target=Target("https", "h", 443),
        path="/v1/x",
        headers={},
        rules=Rules(),
    )
    for name, value in fields.items():
        setattr(x, name, value)
    return x


@pytest.mark.parametrize("dialect", list(DIALECTS))
@pytest.mark.parametrize(
    ("status", "retry_after", "headers"),
    [
        (403, None, {"x-should-retry": "false", "retry-after": None}),
        (503, None, {"x-should-retry": "false", "retry-after": None}),
        (503, 5, {"x-should-retry": None, "retry-after": "5"}),
        (429, 60, {"x-should-retry": "false", "retry-after": "60"}),
    ],
)
def test_refusal(dialect: str, status: int, retry_after: int | None, headers: dict[str, str | None]) -> None:
    """A refusal says which rule, the id and what to do, in the dialect; SDKs try again only where it is of use."""
    x = exchange(dialect, origin=Origin.PROXY)
    x.refuse("quota", "q1", "Too much. Wait.", status=status, retry_after=retry_after, type="over_budget")
    response = replies.refusal(x)
    assert (response.status_code, x.status) == (status, status)
    text = response.get_text() or ""
    assert "Too much. Wait." in text and "q1" in text and x.id in text and json.loads(text)["error"]
    expected = {
        "x-mesh-id": x.id,
        "x-mesh-origin": "proxy",
        "x-mesh-rule": "q1",
        "cache-control": "no-store",
        **headers,
    }
    assert {name: response.headers.get(name) for name in expected} == expected
    assert response.headers["content-length"] == str(len(response.content or b""))


def test_head_has_no_body() -> None:
    """An answer of ours to HEAD has no body, which the client would take for the next answer."""
    x = exchange(method="HEAD")
    x.refuse("scope", "r", "no")
    response = replies.refusal(x)
    assert (response.content, response.headers["x-mesh-rule"]) == (b"", "r")


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic", "gemini"])
@pytest.mark.parametrize("framing", [Framing.NONE, Framing.SSE, Framing.JSON_ARRAY])
def test_an_answer_of_our_own(dialect: str, framing: Framing) -> None:
    """An answer has the form that was asked for, and its text."""
    x = exchange(dialect, framing=framing, origin=Origin.CACHE)
    answer = Answer(parts=[Part(Kind.TEXT, "hello")], finish="stop", usage=Usage(3, 1), complete=True)
    x.reply_with("cache", "c", answer, Origin.CACHE, "hit")
    response = replies.reply(x)
    assert (response.status_code, response.headers["x-mesh-origin"]) == (200, "cache")
    assert response.headers["content-type"] == replies.stream_type(framing)
    assert "hello" in (response.get_text() or "")


def test_marks() -> None:
    """Headers say what the exchange was; what a provider sent under their names is not believed."""
    sent = {"x-mesh-origin": "cache", "X-Mesh-Cost-USD": "0", "x-mesh-rule": "r", "x-mesh-new": "1", "x-own": "kept"}
    response = http.Response.make(200, b"", sent)
    x = exchange(via="forward")
    replies.mark(response, x)
    ours = {name.lower(): value for name, value in response.headers.items() if name.lower().startswith("x-mesh")}
    assert ours == {"x-mesh-id": x.id, "x-mesh-origin": "provider"}
    assert response.headers["x-own"] == "kept"


@pytest.mark.parametrize(
    ("model", "header"),
    [
        ("gpt-4o", "gpt-4o"),
        ("a\r\nset-cookie: b", "a??set-cookie: b"),
        ("modèle\u2028x\x00", "mod?le?x?"),
        ("x" * 5000, "x" * 200),
        (None, None),
    ],
)
def test_gateway_marks(model: str | None, header: str | None) -> None:
    """At the gateway vendor and model are told; a model's name cannot write headers."""
    x = exchange(via="gateway")
    x.call.model = model
    response = http.Response.make(200)
    replies.mark(response, x)
    assert response.headers["x-mesh-vendor"] == "openai"
    assert response.headers.get("x-mesh-model") == header


@pytest.mark.parametrize(
    ("micro", "text"), [(0, "0.000000"), (1, "0.000001"), (999_999, "0.999999"), (12_345_678, "12.345678")]
)
def test_dollars(micro: int, text: str) -> None:
    """Micro-dollars are written exactly."""
    assert replies.dollars(micro) == text


def test_cost() -> None:
    """Known tokens and cost are headers or a comment; what is unknown is not 0."""
    known, unknown = exchange(usage=Usage(10, 5), cost=1500), exchange()
    first, second = http.Response.make(200), http.Response.make(200)
    replies.mark_cost(first, known)
    replies.mark_cost(second, unknown)
    assert (first.headers["x-mesh-tokens"], first.headers["x-mesh-cost-usd"]) == ("15", "0.001500")
    assert not [name for name in second.headers if name.startswith("x-mesh")]
    assert replies.cost_comment(known) == b": x-mesh-tokens=15 x-mesh-cost-usd=0.001500\n\n"
    assert replies.cost_comment(unknown) == b": x-mesh-tokens=unknown x-mesh-cost-usd=unknown\n\n"


@pytest.mark.parametrize(
    ("headers", "path", "expected"),
    [
        ({"authorization": "Bearer abc"}, "/", "abc"),
        ({"authorization": "abc"}, "/", "abc"),
        ({"x-api-key": " abc "}, "/", "abc"),
        ({"x-goog-api-key": "abc"}, "/?key=other", "abc\nother"),
        ({"authorization": "Bearer dummy", "api-key": "abc"}, "/", "dummy\nabc"),
        ({"authorization": "Bearer dummy", "x-api-key": "abc"}, "/", "dummy\nabc"),
        ({"authorization": "Bearer abc", "x-api-key": "abc"}, "/?$key=abc", "abc"),
        ({}, "/?key=one&access_token=two", "one\ntwo"),
        ({"api-key": "abc"}, "/", "abc"),
        ({}, "/x?alt=sse&key=a%2Bc", "a+c"),
        ({}, "/x?monkey=abc", None),
        ({}, "/x?key=", None),
        ({}, "/key=abc", None),
        ({"authorization": ""}, "/", None),
    ],
)
def test_credential(headers: dict[str, str], path: str, expected: str | None) -> None:
    """A call's credentials, wherever its client puts them: with another one it is another caller."""
    assert replies.credential(headers, path) == expected


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("10.0.0.1", 5), "10.0.0.1"),
        (("::ffff:10.0.0.1", 5, 0, 0), "10.0.0.1"),
        (("fe80::1", 5, 0, 0), "fe80::1"),
        (None, ""),
    ],
)
def test_address(peer: Any, expected: str) -> None:
    """A client's IP, IPv4 out of its IPv6 mapping."""
    assert replies.address(peer) == expected


@pytest.mark.parametrize(("version", "chunked"), [("HTTP/1.1", True), ("HTTP/2.0", False)])
@pytest.mark.parametrize("decoded", [True, False])
def test_length_unknown(version: str, chunked: bool, decoded: bool) -> None:
    """A body that changes on its way declares no length, and an encoding only where it keeps it."""
    request = http.Request.make("POST", "http://h/")
    request.http_version = version
    response = http.Response.make(200, b"{}", {"content-encoding": "gzip"})
    replies.length_unknown(request, response, decoded=decoded)
    assert "content-length" not in response.headers
    assert ("transfer-encoding" in response.headers) is chunked
    assert ("content-encoding" in response.headers) is not decoded


def test_instead() -> None:
    """A refusal takes the place of an answer that has begun, once, and the provider is cut off."""
    cuts: list[int] = []
    flow = tflow.tflow(resp=True)
    instead = replies.Instead(flow, exchange(), StageFailed("quota"), lambda: cuts.append(1))
    assert flow.response and flow.response.status_code == 503
    first, rest = instead(b"the provider's"), (instead(b"more"), instead(b""))
    assert isinstance(first, bytes) and b"quota" in first
    assert rest == ([], b"")
    assert cuts == [1]


def test_count() -> None:
    """What is not read is counted."""
    x = exchange()
    count = replies.Count(x)
    assert [count(chunk) for chunk in (b"ab", b"c", b"")] == [b"ab", b"c", b""]
    assert x.response_bytes == 3
