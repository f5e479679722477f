"""No string of a request passes unseen."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cassettes import calls, names
from mitmesh.dialects.base import Call, Dialect, DialectError, Provenance
from mitmesh.dialects.openai_chat import OpenAIChat
from mitmesh.dialects.openai_embeddings import OpenAIEmbeddings
from mitmesh.dialects.openai_responses import OpenAIResponses
from mitmesh.dialects.openai_texts import SETTINGS, Finder, is_identifier, is_media
from mitmesh.dialects.walk import SCHEMA_TYPES, size, strings

DIALECTS: dict[str, Dialect] = {
    "/v1/chat/completions": OpenAIChat(),
    "/v1/responses": OpenAIResponses(),
    "/v1/embeddings": OpenAIEmbeddings(),
}
PICTURE = base64.b64encode(bytes(range(256))).decode()


def missed(doc: Any, call: Call) -> list[str]:
    """The strings of `doc` that are neither a text position, nor a documented identifier, nor counted as opaque."""
    read = {text.path: text.text for text in call.texts}
    left = [(path, text) for path, text in strings(doc) if read.get(path) != text]
    left = [(path, text) for path, text in left if not (_key(path) in SETTINGS and is_identifier(text))]
    left = [(path, text) for path, text in left if not (_key(path) == "type" and text in SCHEMA_TYPES)]
    return [text for _, text in left] if sum(size(text) for _, text in left) > call.opaque_bytes else []


def _key(path: tuple[str | int, ...]) -> str:
    return next((step for step in reversed(path) if isinstance(step, str)), "")


def walked(value: Any, path: tuple[str | int, ...] = ("content",)) -> Finder:
    finder = Finder()
    finder.walk(value, path, Provenance.USER, 2)
    return finder


@pytest.mark.parametrize("name", names("openai") + names("groq") + names("mistral") + names("openrouter"))
def test_recorded_requests(name: str) -> None:
    """Every string of every recorded request is a text position, an identifier or counted as opaque."""
    for call in calls(name):
        dialect = DIALECTS["/v1/responses" if "/responses" in call.path else "/v1/chat/completions"]
        if call.doc is not None and "anthropic" not in call.host and "google" not in call.host:
            assert missed(call.doc, dialect.read(call.doc, call.path, call.headers)) == []


# fmt: off
KEYS = st.sampled_from([
    "role", "content", "type", "text", "name", "arguments", "tool_calls", "function", "id", "url", "image_url", "data",
    "output", "input", "tools", "metadata", "encrypted_content", "signature", "reasoning_details", "prompt", "messages",
    "parameters", "schema", "user", "unheard_of", "summary", "instructions", "variables", "thinking", "refusal",
    "result", "model", "stream", "file", "file_data", "suffix", "prediction", "conversation",
])
STRINGS = st.text(max_size=5) | st.sampled_from([
    "secret words", "user", "assistant", "text", "function", "message", "reasoning", "function_call", "call_1", "",
    "{}", "mcp_call", "image_url", "file", "item_reference", PICTURE,
    f"data:image/png;base64,{PICTURE}", "data:,in clear",
])
# fmt: on
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)


@settings(max_examples=150, deadline=None)
@given(doc=OBJECTS, items=st.lists(OBJECTS, max_size=3))
@pytest.mark.parametrize("path", DIALECTS)
def test_any_request(path: str, doc: dict[str, Any], items: list[dict[str, Any]]) -> None:
    """Whatever the document, no string is missed, and nothing but a DialectError is raised."""
    for body in (doc, {**doc, "messages": items, "input": items}):
        try:
            call = DIALECTS[path].read(body, path, {})
        except DialectError:
            continue
        assert missed(body, call) == []
        positions = [text.path for text in call.texts]
        assert len(positions) == len(set(positions))


@pytest.mark.parametrize("field", ["tools", "functions", "response_format", "suffix", "prediction", "unheard_of"])
def test_beside_a_legacy_prompt(field: str) -> None:
    """What a completion by `prompt` says elsewhere is seen as well (vLLM takes a `response_format` there)."""
    doc = {"model": "llama", "prompt": "Say hello.", field: {"description": "for ann@example.org"}}
    call = DIALECTS["/v1/chat/completions"].read(doc, "/v1/completions", {})
    assert [text.path for text in call.texts if "ann@" in text.text] == [(field, "description")]


@pytest.mark.parametrize(
    ("value", "is_id"),
    [
        ("call_z3zH0FnAcFd2NCNeWBiwWclB", True),
        ("us.anthropic.claude-sonnet-4-5-v1:0", True),
        ("user", True),
        ("4111111111111111", False),
        ("4111-1111", False),
        ("ann@example.org", False),
        ("my secret", False),
        ("müller", False),
        ("x" * 129, False),
        ("", False),
    ],
)
def test_identifiers(value: str, is_id: bool) -> None:
    """What an identifier's key holds is an identifier only where it looks like one."""
    assert is_identifier(value) is is_id
    assert bool(walked({"id": value}).texts) is (not is_id and bool(value))


@pytest.mark.parametrize(
    ("value", "opaque"),
    [
        (f"data:image/png;base64,{PICTURE}", True),
        (PICTURE, True),
        ("data:text/plain,my name is Ann", False),
        (f"data:text/plain my name is Ann;base64,{PICTURE}", False),
        (f"data:image/png;base64,{PICTURE} and my name is Ann", False),
        ("https://example.org/cat.png", False),
        ("c2hvcnQ=", False),
        (PICTURE + "ü", False),
    ],
)
def test_media(value: str, opaque: bool) -> None:
    """Base64 is opaque and counted, to its last character; anything else where media could be is a text."""
    finder = walked({"type": "image_url", "image_url": {"url": value}})
    assert is_media(value) is opaque
    assert finder.opaque == (size(value) if opaque else 0)
    assert [text.text for text in finder.texts] == ([] if opaque else [value])


def test_base64_in_text_is_text() -> None:
    """A prompt is read whatever it looks like."""
    assert [text.text for text in walked({"type": "text", "text": PICTURE}).texts] == [PICTURE]


def test_links_are_metadata() -> None:
    """Where an image lies is metadata of the call, and belongs to no message."""
    [text] = walked({"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}).texts
    assert (text.provenance, text.message) == (Provenance.METADATA, -1)


def test_free_documents_have_no_identifiers() -> None:
    """In a document that is not the API's own, `id` and `signature` are keys like any other."""
    finder = walked({"arguments": {"id": "call_1", "signature": "s", "data": PICTURE}})
    assert [text.text for text in finder.texts] == ["call_1", "s", PICTURE]
    assert finder.opaque == 0


def test_sealed_is_never_a_text() -> None:
    """What a provider signed or encrypted is counted and never offered for a change."""
    doc = {"encrypted_content": "gAAABBB_", "extra_content": {"google": {"thought_signature": "abc"}}}
    finder = Finder()
    finder.provider = True
    finder.walk(doc, ("messages", 0), Provenance.ASSISTANT, 1)
    assert (finder.texts, finder.opaque) == ([], 11)
    assert [text.text for text in walked(doc).texts] == ["gAAABBB_", "abc"]


def test_deep_documents() -> None:
    """Depth is no recursion."""
    value: Any = "end"
    for _ in range(5_000):
        value = [value]
    assert [text.text for text in walked(value).texts] == ["end"]
