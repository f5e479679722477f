"""Reading Gemini requests: text positions, order, provenance, opacity, paths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cassettes import calls, names
from mitmesh.dialects.base import Call, DialectError, Framing, Operation, Provenance
from mitmesh.dialects.gemini_parts import IDENTIFIERS, camel
from mitmesh.dialects.gemini_request import framing, read
from mitmesh.dialects.walk import is_name, size, strings

GENERATE = "/v1beta/models/gemini-2.5-pro:generateContent"


def call(doc: Any, path: str = GENERATE) -> Call:
    return read(doc, path, {})


def found(doc: Any, path: str = GENERATE) -> list[tuple[str, str, int]]:
    return [(text.provenance.value, text.text, text.message) for text in call(doc, path).texts]


def said(*parts: Any, role: str = "user") -> dict[str, Any]:
    return {"contents": [{"role": role, "parts": list(parts)}]}


def test_conversation_order_is_independent_of_byte_order() -> None:
    """System, tools and contents come in that order wherever they lie in the body; a missing role is the user's."""
    doc = {
        "labels": {"team": "blue team"},
        "contents": [{"parts": [{"text": "hello"}]}, {"parts": [{"text": "hi"}], "role": "model"}],
        "tools": [{"functionDeclarations": [{"name": "get", "description": "gets it"}]}, {"googleSearch": {}}],
        "system_instruction": {"parts": {"text": "be kind"}},
        "generation_config": {"max_output_tokens": 7, "stopSequences": ["END"]},
    }
    assert found(doc) == [
        ("system", "be kind", 0),
        ("tool_definition", "gets it", 1),
        ("user", "hello", 2),
        ("assistant", "hi", 3),
        ("metadata", "blue team", -1),
        ("metadata", "END", -1),
    ]
    result = call(doc)
    assert (result.model, result.max_tokens, result.tools) == ("gemini-2.5-pro", 7, ["get", "googleSearch"])


def test_opaque_bytes_are_counted() -> None:
    """Inline data and thought signatures count as opaque."""
    doc = said({"text": "a", "thought_signature": "abcde"}, {"inlineData": {"data": "xyz"}})
    doc["contents"][0]["role"] = "model"
    assert call(doc).opaque_bytes == 8


def test_schemas_are_tool_definitions() -> None:
    """Every string of a schema is a text, but its type names in either case."""
    declared = {
        "name": "get",
        "parameters": {
            "type": "OBJECT",
            "properties": {"p": {"type": "string", "description": "Where", "enum": ["A B"]}},
        },
    }
    result = call({**said(), "tools": {"function_declarations": [declared]}})
    assert [(text.text, text.provenance) for text in result.texts] == [
        ("Where", Provenance.TOOL_DEFINITION),
        ("A B", Provenance.TOOL_DEFINITION),
    ]


VERTEX = "/v1/projects/p/locations/l/publishers/google/models/gemini-x"
PATHS = [
    (GENERATE, Operation.CHAT, "gemini-2.5-pro", False, Framing.NONE),
    (GENERATE.replace(":", "%3A"), Operation.CHAT, "gemini-2.5-pro", False, Framing.NONE),
    ("/v1beta/models/g:streamGenerateContent?alt=sse", Operation.CHAT, "g", True, Framing.SSE),
    ("/v1beta/models/g:streamGenerateContent?key=k&alt=SSE", Operation.CHAT, "g", True, Framing.SSE),
    ("/v1beta/models/g:streamGenerateContent?$alt=sse", Operation.CHAT, "g", True, Framing.SSE),
    ("/v1beta/models/g:streamGenerateContent", Operation.CHAT, "g", True, Framing.JSON_ARRAY),
    ("/v1beta/models/g:streamGenerateContent?alt=json", Operation.CHAT, "g", True, Framing.JSON_ARRAY),
    ("/v1beta/models/g:countTokens", Operation.COUNT_TOKENS, "g", False, Framing.NONE),
    ("/v1beta/models/g:embedContent", Operation.EMBEDDINGS, "g", False, Framing.NONE),
    ("/v1beta/models/g:batchEmbedContents", Operation.EMBEDDINGS, "g", False, Framing.NONE),
    ("/v1beta/models/g:predict", Operation.OTHER, "g", False, Framing.NONE),
    ("/v1beta/tunedModels/t:generateContent", Operation.CHAT, "t", False, Framing.NONE),
    (VERTEX + ":streamGenerateContent?alt=sse", Operation.CHAT, "gemini-x", True, Framing.SSE),
    ("/v1beta/cachedContents", Operation.OTHER, None, False, Framing.NONE),
]


@pytest.mark.parametrize(("path", "operation", "model", "stream", "cut"), PATHS)
def test_paths(path: str, operation: Operation, model: str | None, stream: bool, cut: Framing) -> None:
    """The path says what is asked of which model, and with its query how the answer is cut."""
    result = call(said({"text": "a"}), path)
    assert (result.operation, result.model, result.stream) == (operation, model, stream)
    assert framing(result, path) is cut
    assert [text.text for text in result.texts if text.text != "user"] == ["a"]


def test_lists_of_models() -> None:
    """A request without a body for models is one for models."""
    assert call(None, "/v1beta/models?pageSize=5").operation is Operation.MODELS
    assert call(None, "/v1beta/models/gemini-x").operation is Operation.MODELS
    assert call(None, "/v1beta/files/f").operation is Operation.OTHER


def test_embeddings() -> None:
    """Embedding requests' contents are the user's texts, each of a batch a message of its own."""
    one = {"model": "models/e-1", "content": {"parts": [{"text": "a"}]}}
    assert found(one, "/v1beta/models/e-1:embedContent") == [("user", "a", 2)]
    batch = {"requests": [one, {"content": {"parts": [{"text": "b"}]}, "title": "t t"}]}
    assert found(batch, "/v1beta/models/e-1:batchEmbedContents") == [
        ("user", "a", 2),
        ("user", "b", 3),
        ("metadata", "t t", -1),
    ]


def test_count_tokens_of_a_whole_request() -> None:
    """countTokens may carry a whole request, system instruction and all."""
    nested = {"model": "models/g", **said({"text": "a"}), "systemInstruction": {"parts": [{"text": "s"}]}}
    assert found({"generateContentRequest": nested}, "/v1beta/models/g:countTokens") == [
        ("system", "s", 0),
        ("user", "a", 2),
    ]


def test_cached_content_is_history_at_the_provider() -> None:
    """A cache the request builds on is what the provider keeps of the conversation."""
    assert call({**said(), "cachedContent": "cachedContents/abc"}).history_at_provider == "cachedContents/abc"


@pytest.mark.parametrize("doc", [None, [], "x", {}, {"contents": [5]}, {"contents": [None]}, {"requests": 5}])
def test_shapes_no_provider_takes(doc: Any) -> None:
    """A body without contents, or with what is no content, is an error."""
    with pytest.raises(DialectError):
        call(doc)


def test_errors_name_the_field_and_never_the_value() -> None:
    """A DialectError says where, not what."""
    with pytest.raises(DialectError, match=r"requests\[1\]") as caught:
        call({"requests": [{}, "secret"]}, "/v1beta/models/e:batchEmbedContents")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", names("generativelanguage"))
def test_recorded_requests_miss_no_string(name: str) -> None:
    """In every recorded request each string is a text position, opaque, or an identifier by its key."""
    for recorded in calls(name):
        if "models/" in recorded.path and "googleapis" in recorded.host:
            result = read(recorded.doc, recorded.path, recorded.headers)
            assert result.operation is Operation.CHAT
            assert result.model
            assert result.model in recorded.path
            account_for(recorded.doc, result)


def account_for(doc: Any, result: Call) -> None:
    """Every string lies at a text position, or may be left out by its key."""
    texts = {text.path: text.text for text in result.texts}
    assert len(texts) == len(result.texts), "a position twice"
    hidden = 0
    for path, text in strings(doc, schema=True):
        if path in texts:
            assert texts.pop(path) == text
        elif not (camel(str(path[-1])) in ENUMERATED and is_name(text)):
            assert {camel(str(step)) for step in path} & {"data", "thoughtSignature"}, path
            hidden += size(text)
    assert all(path[-1] == "type" for path in texts), "a position that is none"
    assert hidden <= result.opaque_bytes


ENUMERATED = IDENTIFIERS | {
    "role", "model", "cachedContent", "category", "threshold", "method", "mode", "responseMimeType", "behavior",
    "mediaResolution", "taskType", "serviceTier",
}  # fmt: skip
FIELDS = [
    "text", "parts", "inlineData", "file_data", "functionCall", "function_response", "executableCode", "args",
    "response", "data", "name", "thoughtSignature", "role", "functionDeclarations", "type", "mime_type", "x",
]  # fmt: skip
VALUES = st.recursive(
    st.text(max_size=6) | st.sampled_from(["string", "a b"]) | st.none() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=20,
)
CONTENT = st.dictionaries(st.sampled_from(["role", "parts", "x"]), VALUES, max_size=3)
DOCS = st.builds(
    lambda contents, fields: {**fields, "contents": contents},
    st.lists(CONTENT, max_size=3),
    st.dictionaries(
        st.sampled_from(
            ["systemInstruction", "system_instruction", "tools", "generationConfig", "safety_settings", "x"]
        ),
        VALUES,
        max_size=4,
    ),
)


@settings(max_examples=150, deadline=None)
@given(DOCS)
def test_any_document_misses_no_string(doc: Any) -> None:
    """Whatever the document: each string is a text position once, opaque, or a name under a listed key."""
    account_for(doc, call(doc))
