"""The key of an exact hit: all that may change an answer is in it, and nothing else."""

from __future__ import annotations

import json
import marshal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached import chat, redacted
from mitmesh.caching.key import canonical, key_of
from mitmesh.exchange import Exchange, Target
from mitmesh.rules import HostRule
from redactions import exchange

SECRET = b"s" * 32
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()


def exact(x: Exchange, tenant: str = "team:red", policy: str = "v1", **rest: Any) -> bytes:
    """The key of a call."""
    return key_of(x, tenant, policy, SECRET, **rest).exact


@pytest.mark.parametrize(
    "field",
    [
        {"temperature": 0.2},
        {"max_tokens": 5},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"seed": 1},
        {"model": "gpt-4o-mini"},
        {"nobody_has_heard_of_it": None},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]},
        {"messages": [{"role": "user", "content": "hi", "name": "ann"}]},
        {"messages": [{"role": "user", "content": "hi "}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
    ],
)
def test_what_counts(field: dict[str, Any]) -> None:
    """Any field and any part of the conversation, known or not (litellm 30339, semantic-router 3423)."""
    assert exact(chat("hi", **field)) != exact(chat("hi"))


@pytest.mark.parametrize(
    "field",
    [
        {"stream": True},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"user": "ann"},
        {"metadata": {"trace": "1"}},
        {"safety_identifier": "x"},
        {"prompt_cache_key": "x"},
    ],
)
def test_what_does_not(field: dict[str, Any]) -> None:
    """How it is sent and who says to have asked is no part of the question."""
    assert exact(chat("hi", **field)) == exact(chat("hi"))


def test_nested_names_count() -> None:
    """Only the request's own `user` and `metadata` are left out: a tool's argument of that name counts."""
    one, two = (chat("hi", tools=[{"type": "function", "function": {"name": "f", "metadata": n}}]) for n in (1, 2))
    assert exact(one) != exact(two)


def test_history() -> None:
    """The same last turn after another conversation is another question."""
    assert len({exact(chat("hi")), exact(chat("a", "b", "hi")), exact(chat("a", "c", "hi"))}) == 3


def test_order_of_members() -> None:
    """JSON says the same in any order of members, and lists do not."""
    messages = [{"role": "user", "content": "hi"}]
    one = redacted(exchange("openai_chat", {"model": "m", "top_p": 1, "messages": messages}))
    two = redacted(exchange("openai_chat", {"messages": messages, "top_p": 1, "model": "m"}))
    assert exact(one) == exact(two)
    assert exact(chat("hi", stop=["a", "b"])) != exact(chat("hi", stop=["b", "a"]))


def test_form_does_not_count() -> None:
    """Neither the order of members, however deep, nor white space, nor escapes, nor whether a string came twice."""
    one = '{"model": "m", "messages": [{"role": "user", "content": "h\\u00e9 hi"}], "x": [{"b": {"d": "hi", "c": 1}}]}'
    two = '{"x":[{"b":{"c":1,"d":"hi"}}],"messages":[{"content":"hé hi","role":"user"}],"model":"m"}'
    assert canonical(json.loads(one)) == canonical(json.loads(two))
    once, again = "hi", "".join(["h", "i"])
    assert canonical({"a": once, "b": once}) == canonical({"a": once, "b": again})


@given(st.recursive(_LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_all_that_json_can_say_counts(doc: Any) -> None:
    """No other document has the same bytes: they can be read back, to the very types."""
    assert json.dumps(marshal.loads(canonical(doc))) == json.dumps(doc, sort_keys=True)


@pytest.mark.parametrize("pair", [(1, True), (1, 1.5), (0, False), (None, "null"), ("1", 1)])
def test_values_are_not_confused(pair: tuple[Any, Any]) -> None:
    """Python's 1 == True is not JSON's."""
    assert exact(chat("hi", x=pair[0])) != exact(chat("hi", x=pair[1]))


@pytest.mark.parametrize(
    "name", ["anthropic-beta", "openai-beta", "anthropic-version", "openai-organization", "x-nobody-knows"]
)
def test_headers_that_count(name: str) -> None:
    """A header that turns a feature on, or that nobody knows."""
    assert exact(chat("hi", headers={name: "a"})) != exact(chat("hi"))
    assert exact(chat("hi", headers={name: "a"})) != exact(chat("hi", headers={name: "b"}))
    assert exact(chat("hi", headers={name: "a"}), ignored=[name]) == exact(chat("hi"))


@pytest.mark.parametrize(
    "name", ["authorization", "user-agent", "x-stainless-lang", "x-request-id", "traceparent", "accept-encoding"]
)
def test_headers_that_do_not(name: str) -> None:
    """What SDKs say of themselves; a credential counts in the tenant."""
    assert exact(chat("hi", headers={name: "a"})) == exact(chat("hi"))


def test_scope() -> None:
    """Tenant, policy version, provider, host and secret are part of it."""
    x, other, moved = chat("hi"), chat("hi"), chat("hi")
    other.host = HostRule(id="other", match=["llm.example"], provider="other")
    moved.target = Target("https", "llm2.example", 443)
    keys = {exact(x), exact(x, "team:blue"), exact(x, policy="v2"), exact(other), exact(moved)}
    keys.add(key_of(x, "team:red", "v1", b"t" * 32).exact)
    assert len(keys) == 6


def test_tenant_and_policy_do_not_run_together() -> None:
    """What ends one part cannot begin the next."""
    assert exact(chat("hi"), "a", "bc") != exact(chat("hi"), "ab", "c")


def test_path() -> None:
    """Gemini names the model in the path, and the stream too."""
    doc = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    paths = {
        path: exact(redacted(exchange("gemini", doc, path)))
        for path in (
            "/v1beta/models/a:generateContent",
            "/v1beta/models/a:streamGenerateContent?alt=sse&key=x",
            "/v1beta/models/b:generateContent",
            "/v1beta/models/a:generateContent?unknown=1",
        )
    }
    plain, stream, model, query = paths.values()
    assert plain == stream and len({plain, model, query}) == 3


def test_normal_touches_the_last_user_turn_alone() -> None:
    """Not the system prompt, not history."""
    wide, narrow = chat("a  b", "c  d", "e  f"), chat("a  b", "c  d", "e f")
    assert exact(wide, normal=_narrow) == exact(narrow, normal=_narrow) != exact(wide)
    assert exact(chat("a b", "c  d", "e f"), normal=_narrow) != exact(narrow, normal=_narrow)
    assert exact(chat("a  b", "c d", "e f"), normal=_narrow) != exact(narrow, normal=_narrow)
    assert wide.body is not None
    assert wide.body.doc["messages"][-1]["content"] == "e  f"  # what is sent is not touched


def test_rest() -> None:
    """Equal for other words in the last user turn, and for nothing else; other values behind placeholders count."""

    def rest(*said: str, **values: str) -> bytes | None:
        return key_of(chat(*said), "t", "v", SECRET, values=values).rest

    assert rest("hi") == rest("hello") is not None
    assert len({rest("hi"), rest("a", "b", "hi"), rest("hi", EMAIL_1="a@b.c"), rest("hi", EMAIL_1="x@b.c")}) == 4
    assert key_of(chat("hi"), "t", "v", SECRET).rest is None


def _narrow(text: str) -> str:
    return " ".join(text.split())
