"""What is never cached: each line of the list, in each dialect that can say it."""

from __future__ import annotations

from typing import Any

import pytest

from cached import answered, chat, redacted
from mitmesh.caching.eligible import keepable, off_for, refers_elsewhere, whole
from mitmesh.dialects.base import Kind, Part
from mitmesh.exchange import Action, Inspected, Origin, Outcome
from mitmesh.rules.cache import Cache
from redactions import exchange

RULES = Cache()
CALL = [Part(Kind.TOOL_CALL, "{}", "f", "c1")]


def responses(**fields: Any) -> Any:
    """A Responses call, redacted."""
    return redacted(exchange("openai_responses", {"model": "gpt-4o", "input": "hi", **fields}))


def gemini(**fields: Any) -> Any:
    """A Gemini call, redacted."""
    return redacted(exchange("gemini", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **fields}))


# --- calls ---


@pytest.mark.parametrize("x", [chat("hi"), chat("hi", dialect="anthropic", max_tokens=9), responses(), gemini()])
def test_ordinary_calls(x: Any) -> None:
    """An ordinary call may be kept, so that what follows is not true of all."""
    assert off_for(x, RULES) is None


@pytest.mark.parametrize(
    "x",
    [
        responses(previous_response_id="resp_1"),
        responses(conversation="conv_1"),
        responses(background=True),
        responses(prompt={"id": "pmpt_1"}),
        responses(tools=[{"type": "web_search"}]),
        responses(tools=[{"type": "file_search", "vector_store_ids": ["v"]}]),
        responses(tools=[{"type": "code_interpreter", "container": {"type": "auto"}}]),
        responses(tools=[{"type": "mcp", "server_url": "https://x"}]),
        responses(tools=[{"type": "nobody_has_heard_of"}]),
        chat("hi", web_search_options={}),
        chat("hi", model="gpt-4o-search-preview"),
        chat("hi", n=2),
        chat("hi", logprobs=True),
        chat("hi", temperature=1.5),
        chat("hi", temperature="1.5"),
        chat("hi", temperature="nan"),
        chat("hi", temperature=["1"]),
        gemini(generationConfig={"temperature": "1.5"}),
        chat("hi", dialect="anthropic", tools=[{"type": "web_search_20250305", "name": "web_search"}]),
        chat("hi", dialect="anthropic", tools=[{"type": "code_execution_20250522", "name": "code_execution"}]),
        chat("hi", dialect="anthropic", mcp_servers=[{"type": "url", "url": "https://x"}]),
        chat("hi", dialect="anthropic", container="c_1"),
        gemini(cachedContent="cachedContents/1"),
        gemini(tools=[{"googleSearch": {}}]),
        gemini(tools=[{"google_search": {}}]),
        gemini(tools=[{"codeExecution": {}}]),
        redacted(chat("hi"), clear=True),
    ],
)
def test_calls_the_cache_leaves_alone(x: Any) -> None:
    """History at the provider, tools it runs, more than one answer, variety asked for, text that was let through."""
    assert off_for(x, RULES)


def test_not_read() -> None:
    """What could not be read is not compared; what was not redacted is not kept."""
    opaque, bare = chat("hi"), chat("hi")
    opaque.inspected = Inspected.OPAQUE
    bare.notes.clear()
    assert off_for(opaque, RULES) and off_for(bare, RULES)


@pytest.mark.parametrize(
    "tool", [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "f"}}]
)
def test_tools_of_the_client(tool: dict[str, Any]) -> None:
    """They are in the key, and no obstacle."""
    assert off_for(chat("hi", tools=[tool]), RULES) is None


@pytest.mark.parametrize("rule", [True, False])
def test_embeddings(rule: bool) -> None:
    """By rule."""
    x = redacted(exchange("openai_embeddings", {"model": "e", "input": "hi"}))
    assert (off_for(x, Cache(embeddings=rule)) is None) is rule


@pytest.mark.parametrize(
    ("doc", "elsewhere"),
    [
        ({"image_url": {"url": "https://x/y.png"}}, True),
        ({"messages": [{"content": [{"type": "file", "file": {"file_data": "http://x/y.pdf"}}]}]}, True),
        ({"url": "data:image/png;base64,xx"}, False),
        ({"text": "see https://x"}, False),
        ({"text": '{"url":"https://x"}'}, False),
        ({"fileUri": "gs://x"}, True),
        ({"citations": {"at": 1, "enabled": True}}, True),
        ({"citations": {"enabled": False}}, False),
        ({"citations": ["enabled"]}, False),
        ({"image_url": {"url": "HTTPS://x/y.png"}}, True),
        ({"image_url": {"url": " gs://x/y.png"}}, True),
        ({"image_url": "s3://x/y.png"}, True),
        ({"url": "DATA:image/png;base64,xx"}, False),
        ({"uri": "s3://x"}, True),
        ({"file_data": "Https://x"}, True),
        ({"file_data": "data:application/pdf;base64,xx"}, False),
        ({"file_data": "JVBERi0xLjQ="}, False),
        ({"file_id": "file-1"}, True),
        ({"file_ids": ["file-1"]}, True),
        ({"file_id": None}, False),
        ({"url": {"type": "string"}}, False),
    ],
)
def test_fetched_from_elsewhere(doc: Any, elsewhere: bool) -> None:
    """What a URL brings may be something else tomorrow; a text that has one brings nothing."""
    assert refers_elsewhere(doc) is elsewhere
    assert refers_elsewhere([[{"a": doc}]]) is elsewhere


# --- answers ---


def test_ordinary_answers() -> None:
    """They are kept."""
    for x in (chat("hi"), chat("hi", dialect="anthropic")):
        assert keepable(answered(x), RULES)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": 429},
        {"status": 500},
        {"status": 201},
        {"error": "overloaded_error"},
        {"complete": False},
        {"answer_cut": True},
        {"finish": "length"},
        {"finish": "content_filter"},
        {"finish": None},
        {"finish": "a word of tomorrow"},
        {"parts": []},
        {"parts": [Part(Kind.REFUSAL, "I cannot")]},
        {"parts": [Part(Kind.TEXT, "a"), Part(Kind.OPAQUE, "b")]},
        {"outcome": Outcome.UPSTREAM_CUT},
        {"outcome": Outcome.CLIENT_GONE},
        {"outcome": Outcome.REFUSED},
        {"outcome": None},
        {"forwarded": False},
        {"origin": Origin.PROXY},
        {"answer": None},
    ],
)
def test_answers_never_kept(fields: dict[str, Any]) -> None:
    """Errors, refusals, what was truncated or cut, and what mitmesh itself said (semantic-router 2130)."""
    assert not keepable(answered(chat("hi"), **fields), RULES)


def test_refused_by_us() -> None:
    """An answer that a guard refused is no answer for the next caller."""
    x = answered(chat("hi"))
    x.decide("guard", Action.REFUSE, "r", "because")
    assert not keepable(x, RULES)


@pytest.mark.parametrize(
    ("dialect", "finish"), [("anthropic", "max_tokens"), ("anthropic", "pause_turn"), ("anthropic", "refusal")]
)
def test_unfinished(dialect: str, finish: str) -> None:
    """Anthropic's words for it."""
    assert not keepable(answered(chat("hi", dialect=dialect), finish=finish), RULES)


@pytest.mark.parametrize("rule", [True, False])
def test_tool_calls(rule: bool) -> None:
    """By rule only, and finished all the same."""
    rules = Cache(tool_calls=rule)
    assert keepable(answered(chat("hi"), parts=CALL, finish="tool_calls"), rules) is rule
    assert not keepable(answered(chat("hi"), parts=CALL, finish="length"), rules)


def test_reasoning() -> None:
    """Signed reasoning belongs to the call that made it."""
    parts = [Part(Kind.REASONING, "hm"), Part(Kind.TEXT, "a")]
    signed, plain = answered(chat("hi", dialect="anthropic"), parts=parts), answered(chat("hi"), parts=parts)
    assert signed.answer and plain.answer
    assert not whole(signed.answer, signed, RULES) and whole(plain.answer, plain, RULES)
