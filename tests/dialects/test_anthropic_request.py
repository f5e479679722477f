"""Reading Anthropic requests: text positions, order, provenance, opacity, claims."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cassettes import calls, names
from mitmesh.dialects.anthropic_blocks import IDENTIFIERS, NAMES, OPAQUE
from mitmesh.dialects.anthropic_request import read
from mitmesh.dialects.base import Call, DialectError, Operation, Provenance
from mitmesh.dialects.walk import is_name, size, strings

MESSAGES = "/v1/messages?beta=true"


def call(doc: Any, path: str = MESSAGES, **headers: str) -> Call:
    return read(doc, path, headers)


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": list(messages), **fields}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def found(doc: Any) -> list[tuple[str, str, int]]:
    return [(text.provenance.value, text.text, text.message) for text in call(doc).texts]


def test_conversation_order_is_independent_of_byte_order() -> None:
    """System, tools and messages come in that order wherever they lie in the body."""
    doc = {
        "metadata": {"user_id": "u 1"},
        "messages": [{"content": "hello", "role": "user"}, {"role": "assistant", "content": "hi there"}],
        "tools": [{"name": "get", "description": "gets it", "input_schema": {"type": "object"}}],
        "system": [{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
        "model": "m",
    }
    assert found(doc) == [
        ("system", "be kind", 0),
        ("tool_definition", "gets it", 1),
        ("user", "hello", 2),
        ("assistant", "hi there", 3),
        ("metadata", "u 1", -1),
    ]


def test_tool_definitions() -> None:
    """Every string of a schema is a text, but its type names; server tools too."""
    tool = {
        "name": "get_weather",
        "description": "Weather",
        "input_schema": {
            "type": "object",
            "properties": {"place": {"type": "string", "description": "Where", "default": {"type": "London town"}}},
            "required": ["place"],
        },
    }
    server = {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["x.org"]}
    read_call = call(chat(user(), tools=[tool, server, {"type": "mcp_toolset", "mcp_server_name": "wiki"}]))
    assert [text.text for text in read_call.texts] == ["Weather", "Where", "London town", "place", "x.org"]
    assert {text.provenance for text in read_call.texts} == {Provenance.TOOL_DEFINITION}
    assert read_call.tools == ["get_weather", "web_search", "wiki"]


def test_opaque_bytes_are_counted() -> None:
    """Media, signatures, thinking and credentials count as opaque and are no texts."""
    doc = chat(
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "12345", "signature": "c2l"}]},
        user({"type": "image", "source": {"type": "base64", "data": "iV"}}),
        mcp_servers=[{"type": "url", "name": "wiki", "url": "https://w", "authorization_token": "abcd"}],
    )
    assert call(doc).opaque_bytes == 5 + 3 + 2 + 4
    assert [text.text for text in call(doc).texts] == ["https://w"]


def test_an_identifier_that_does_not_look_like_one_is_a_text() -> None:
    """What is no id or word of the API is not hidden by the key it stands under."""
    block = {"type": "tool_use", "id": "jane@example.org", "name": "call me at noon", "input": {}}
    doc = chat({"role": "user jane", "content": [block]}, model="write to a@b.c")
    assert [text.text for text in call(doc).texts] == [
        "user jane",
        "jane@example.org",
        "call me at noon",
        "write to a@b.c",
    ]


OPERATIONS = [
    ("/v1/messages", Operation.CHAT, None, False),
    ("/v1/messages?beta=true", Operation.CHAT, None, False),
    ("/v1/messages/count_tokens", Operation.COUNT_TOKENS, None, False),
    ("/v1/messages/batches", Operation.OTHER, None, False),
    ("/v1/models", Operation.MODELS, None, False),
    ("/v1/models/claude-x", Operation.MODELS, None, False),
    ("/model/us.anthropic.claude-x-v1%3A0/invoke", Operation.CHAT, "us.anthropic.claude-x-v1:0", False),
    ("/model/arn%3Aaws%3Aprofile%2Fus.claude/invoke", Operation.CHAT, "arn:aws:profile/us.claude", False),
    ("/model/claude-x/invoke-with-response-stream", Operation.CHAT, "claude-x", True),
    ("/v1/projects/p/publishers/anthropic/models/claude-x@1:rawPredict", Operation.CHAT, "claude-x@1", False),
    ("/v1/projects/p/publishers/anthropic/models/claude-x:streamRawPredict", Operation.CHAT, "claude-x", True),
    ("/v1/p/publishers/anthropic/models/count-tokens:rawPredict", Operation.COUNT_TOKENS, None, False),
]  # fmt: skip


@pytest.mark.parametrize(("path", "operation", "model", "stream"), OPERATIONS)
def test_operation_model_and_stream_from_the_path(
    path: str, operation: Operation, model: str | None, stream: bool
) -> None:
    """The path says what is asked and, on Bedrock and Vertex, of which model, whatever the body says."""
    result = call({"anthropic_version": "vertex-2023-10-16", "messages": [], "model": "in-body"}, path)
    assert (result.operation, result.model, result.stream) == (operation, model or "in-body", stream)


CLAIMS = [
    ("user_ab12_account_acc-1_session_ses-1", {}, "ses-1", "acc-1"),
    ("user_ab12_account__session_ses-1", {}, "ses-1", None),
    ('{"device_id":"d","account_uuid":"acc-1","session_id":"ses-1"}', {}, "ses-1", "acc-1"),
    ('{"device_id":', {}, None, None),
    ("4711", {}, None, None),
    (None, {"x-claude-code-session-id": "ses-2"}, "ses-2", None),
    ("user_ab12_account_acc-1_session_ses-1", {"x-claude-code-session-id": "ses-2"}, "ses-2", "acc-1"),
]


@pytest.mark.parametrize(("user_id", "headers", "session", "account"), CLAIMS)
def test_claims(user_id: Any, headers: dict[str, str], session: str | None, account: str | None) -> None:
    """Claude Code's session and account are read from metadata.user_id in both forms, and from the header first."""
    result = call(chat(metadata={"user_id": user_id}), **headers)
    assert (result.session, result.account) == (session, account)


@pytest.mark.parametrize("doc", [None, [], "x", 5, {}, {"messages": {}}, {"messages": ["x"]}, {"messages": [None]}])
def test_shapes_no_provider_takes(doc: Any) -> None:
    """A body without a list of message objects is an error that does not quote it."""
    with pytest.raises(DialectError):
        call(doc)


def test_limits_and_history() -> None:
    """Stream flag, token limit and what the provider keeps are read."""
    result = call(chat(stream=True, thread={"type": "continue", "previous_message_id": "msg_1"}))
    assert (result.stream, result.max_tokens, result.history_at_provider) == (True, 10, "msg_1")
    assert call(chat(stream="yes", max_tokens=True)).max_tokens is None


@pytest.mark.parametrize("name", names("api.anthropic.com"))
def test_recorded_requests_miss_no_string(name: str) -> None:
    """In every recorded request each string is a text position, opaque, or an identifier by its key."""
    for recorded in calls(name):
        if "anthropic.com" in recorded.host:
            result = read(recorded.doc, recorded.path, recorded.headers)
            assert result.operation in (Operation.CHAT, Operation.COUNT_TOKENS)
            assert result.model == recorded.doc["model"]
            account_for(recorded.doc, result)


def account_for(doc: Any, result: Call) -> None:
    """Every string lies at a text position, or may be left out by its key; all that is opaque was counted."""
    texts = {text.path: text.text for text in result.texts}
    assert len(texts) == len(result.texts), "a position twice"
    hidden = names = 0
    for path, text in strings(doc):
        if path in texts:
            assert texts.pop(path) == text
        elif may_be_left_out(path, text):
            names += size(text)
        else:
            assert may_be_hidden(doc, path), path
            hidden += size(text)
    assert not texts, "a position that is none"
    assert hidden <= result.opaque_bytes <= hidden + names


def may_be_left_out(path: tuple[str | int, ...], text: str) -> bool:
    enumerated = (
        NAMES | IDENTIFIERS | {"role", "service_tier", "inference_geo", "speed", "anthropic_version", "display"}
    )
    return path[-1] in enumerated and is_name(text)


def may_be_hidden(doc: Any, path: tuple[str | int, ...]) -> bool:
    """Is it under a key of sealed or media data, or in a thinking block?"""
    for step in path:
        if isinstance(doc, dict) and doc.get("type") in ("thinking", "redacted_thinking"):
            return True
        doc = doc[step]
    return bool(set(path) & (OPAQUE | {"data", "url", "authorization_token", "fallback_credit_token"}))


WORDS = st.text(max_size=8)
KINDS = st.sampled_from(
    ["text", "image", "document", "search_result", "tool_use", "tool_result", "thinking", "mcp_tool_use", "compaction",
     "web_fetch_tool_result", "tool_addition", "base64", "content", "url", "not known"]
)  # fmt: skip
KEYS = st.sampled_from(
    ["text", "content", "source", "input", "title", "data", "url", "name", "id", "citations", "tool",
     "x", *sorted(OPAQUE)]
)  # fmt: skip
VALUES = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.builds(lambda fields, kind: {**fields, "type": kind}, st.dictionaries(KEYS, inner, max_size=4), KINDS)
    ),
    max_leaves=20,
)
DOCS = st.builds(
    lambda messages, fields: {**fields, "messages": messages},
    st.lists(st.fixed_dictionaries({"role": KINDS, "content": VALUES}, optional={"x": VALUES}), max_size=3),
    st.dictionaries(
        st.sampled_from(
            ["system", "tools", "metadata", "mcp_servers", "thinking", "tool_choice", "stop_sequences", "new"]
        ),
        VALUES,
        max_size=4,
    ),
)


@settings(max_examples=150, deadline=None)
@given(DOCS)
def test_any_document_misses_no_string(doc: Any) -> None:
    """Whatever the document: each string is a text position once, opaque and counted, or a name under a listed key."""
    account_for(doc, call(doc))


def test_deep_nesting_is_read() -> None:
    """A document nested deeper than the interpreter's stack is read to its end."""
    deep: Any = "bottom"
    for _ in range(5000):
        deep = [deep]
    assert [text.text for text in call(chat(user({"type": "tool_result", "content": deep}))).texts] == ["bottom"]
    for _ in range(500):
        deep = {"type": "tool_result", "content": deep}
    assert call(chat(user(deep))).texts[-1].text == "bottom"


def test_errors_name_the_field_and_never_the_value() -> None:
    """A DialectError says where, not what."""
    with pytest.raises(DialectError, match=r"messages\[1\]") as caught:
        call(chat(user(), "secret"))
    assert "secret" not in str(caught.value)
