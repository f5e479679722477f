"""Requests of the Chat Completions dialect."""

from __future__ import annotations

from typing import Any

import pytest

from cassettes import calls
from mitmesh.dialects.base import Call, DialectError, Operation, Provenance, Text
from mitmesh.dialects.openai_chat import OpenAIChat

PATH = "/v1/chat/completions"
P = Provenance
TOOL = {
    "type": "function",
    "function": {
        "name": "find",
        "description": "Finds a person",
        "parameters": {"type": "object", "properties": {"id": {"type": ["string", "null"], "description": "Whom"}}},
    },
}


def read(path: str = PATH, headers: dict[str, str] | None = None, **doc: Any) -> Call:
    return OpenAIChat().read({"model": "m", **doc}, path, headers or {})


def brief(call: Call) -> list[tuple[int, Provenance, str]]:
    return [(text.message, text.provenance, text.text) for text in call.texts]


def test_conversation_order() -> None:
    """System first, then tools, then the messages, metadata last, whatever the order of the bytes."""
    call = read(
        user="ann",
        tools=[TOOL],
        messages=[
            {"role": "system", "content": "Be brief"},
            {"role": "user", "content": "Find Ann"},
            {
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"id":"a"}'}}
                ],
                "content": "Looking",
                "reasoning_content": "Hm",
                "role": "assistant",
            },
            {"role": "tool", "tool_call_id": "c1", "name": "find", "content": "Ann, 5th floor"},
        ],
    )
    assert brief(call) == [
        (0, P.SYSTEM, "Be brief"),
        (1, P.TOOL_DEFINITION, "find"),
        (1, P.TOOL_DEFINITION, "Finds a person"),
        (1, P.TOOL_DEFINITION, "Whom"),
        (2, P.USER, "Find Ann"),
        (3, P.ASSISTANT, "Hm"),
        (3, P.ASSISTANT, "Looking"),
        (3, P.TOOL_CALL, "find"),
        (3, P.TOOL_CALL, '{"id":"a"}'),
        (4, P.TOOL_RESULT, "Ann, 5th floor"),
        (-1, P.METADATA, "find"),
        (-1, P.METADATA, "ann"),
    ]
    assert [text.text for text in call.texts if text.is_json] == ['{"id":"a"}']
    assert call.tools == ["find"]


def test_numbers_do_not_depend_on_tools() -> None:
    """Without system or tools the messages start at 2 all the same; several leading systems each have their own."""
    assert brief(read(messages=[{"role": "user", "content": "a"}])) == [(2, P.USER, "a")]
    roles = ["system", "developer", "user", "system"]
    numbers = brief(read(messages=[{"role": role, "content": role} for role in roles]))
    assert numbers == [
        (0, P.SYSTEM, "system"),
        (1, P.SYSTEM, "developer"),
        (3, P.USER, "user"),
        (4, P.SYSTEM, "system"),
    ]


def test_content_parts() -> None:
    """Content as a list: text is read, a link is metadata, media is counted, a file's name is its document's."""
    audio = "QUJD" * 30
    call = read(
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
                    {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "input_audio", "input_audio": {"data": audio, "format": "wav"}},
                    {"type": "file", "file": {"filename": "salaries.pdf", "file_data": "data:a/pdf;base64,AAAA"}},
                ],
            }
        ]
    )
    assert brief(call) == [
        (2, P.USER, "Look"),
        (2, P.DOCUMENT, "salaries.pdf"),
        (-1, P.METADATA, "https://x.test/a.png"),
    ]
    assert call.opaque_bytes == len(audio) + len("data:image/png;base64,AAAA") + len("data:a/pdf;base64,AAAA")


def test_signed_reasoning_is_opaque() -> None:
    """Reasoning that goes back with a signature is never offered for a change; without one it is text."""
    call = read(
        messages=[
            {
                "role": "assistant",
                "content": "4",
                "reasoning_details": [
                    {"type": "reasoning.text", "text": "two and two", "signature": "c2ln"},
                    {"type": "reasoning.encrypted", "data": "gAAA"},
                    {"type": "reasoning.summary", "summary": "sums"},
                ],
            }
        ]
    )
    assert brief(call) == [(2, P.ASSISTANT, "sums"), (2, P.ASSISTANT, "4")]
    assert call.opaque_bytes >= len("two and two") + len("c2ln") + len("gAAA")


def test_everything_else_is_metadata() -> None:
    """Settings are no texts; every other string, known field or not, is metadata."""
    call = read(
        messages=[{"role": "user", "content": "a", "unheard_of": {"id": "deep"}}],
        user="ann",
        metadata={"type": "case", "id": "no_7"},
        stop=["END"],
        reasoning_effort="high",
        tool_choice="auto",
        service_tier="flex",
        unheard_of=[{"deep": ["er"]}],
    )
    assert [text.text for text in call.texts if text.provenance is P.METADATA] == [
        "deep", "ann", "case", "no_7", "END", "er",
    ]  # fmt: skip


def test_legacy_fields() -> None:
    """Functions, function calls, predictions and response formats are read."""
    call = read(
        messages=[
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "r"},
        ],
        functions=[{"name": "f", "description": "d", "parameters": {"type": "object"}}],
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"title": "t"}}},
        prediction={"type": "content", "content": "guess"},
    )
    assert brief(call)[:5] == [(1, P.TOOL_DEFINITION, text) for text in ("f", "d", "n", "t")] + [(2, P.USER, "a")]
    assert brief(call)[5:9] == [
        (3, P.TOOL_CALL, "f"),
        (3, P.TOOL_CALL, "{}"),
        (4, P.TOOL_RESULT, "r"),
        (5, P.DOCUMENT, "guess"),
    ]
    assert call.tools == ["f"]


@pytest.mark.parametrize(
    ("prompt", "texts", "opaque"),
    [("hi", ["hi"], 0), (["a", "b"], ["a", "b"], 0), ([1, 22], [], 7), ([[1], [2]], [], 6), (["a", [7]], ["a"], 3)],
)
def test_legacy_completions(prompt: Any, texts: list[str], opaque: int) -> None:
    """A prompt is a string, strings, or token arrays, which are opaque."""
    call = read("/v1/completions", prompt=prompt)
    assert (call.operation, [text.text for text in call.texts], call.opaque_bytes) == (Operation.CHAT, texts, opaque)


@pytest.mark.parametrize(("prompt", "count"), [([5] * 6_000, 6_000), ([[5] * 20, [6]], 21), (["a", [7]], 1), ("a", 0)])
def test_token_ids_of_completions_are_counted(prompt: Any, count: int) -> None:
    """One token each; several prompts together."""
    call = read("/v1/completions", prompt=prompt)
    assert (call.token_ids, call.token_bytes) == (count, call.opaque_bytes)


def test_settings_of_the_call() -> None:
    """Model, stream flag, limit and claims are read from where clients put them."""
    headers = {"session_id": "s1", "chatgpt-account-id": "acc"}
    call = read(headers=headers, messages=[], stream=True, max_completion_tokens=9, max_tokens=5)
    assert (call.model, call.stream, call.max_tokens, call.session, call.account) == ("m", True, 9, "s1", "acc")
    azure = OpenAIChat().read({"messages": []}, "/openai/deployments/gpt-4o/chat/completions?api-version=1", {})
    assert azure.model == "gpt-4o"


@pytest.mark.parametrize(("flag", "stream"), [(True, True), ("true", True), (1, True), (False, False), (None, False)])
def test_stream_flag(flag: Any, stream: bool) -> None:
    """Whatever some server takes for a stream is read as one."""
    assert read(messages=[], stream=flag).stream is stream


@pytest.mark.parametrize(
    ("doc", "field"),
    [
        ([], "body"),
        ("hi", "body"),
        ({"messages": "SECRET"}, "messages"),
        ({"messages": ["SECRET"]}, r"messages\[0\]"),
        ({"messages": [], "model": 7}, "model"),
        ({"model": "SECRET"}, "messages"),
        ({"prompt": 7}, "prompt"),
    ],
)
def test_wrong_shapes(doc: Any, field: str) -> None:
    """A shape no provider takes is an error that names the field and not its value."""
    with pytest.raises(DialectError, match=field) as caught:
        OpenAIChat().read(doc, PATH, {})
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "operation"),
    [("/v1/models", "models"), ("/v1/models/gpt-5", "models"), ("/v1/chat/completions/c1", "other"), ("", "other")],
)
def test_without_a_body(path: str, operation: str) -> None:
    """A call without a body lists models or asks for something kept."""
    assert OpenAIChat().read(None, path, {}).operation == operation


def test_recorded_history() -> None:
    """A recorded agent's third turn: question, calls, results, each with its author."""
    call = calls("chat_stream_tools")[2]
    read_call = OpenAIChat().read(call.doc, call.path, call.headers)
    said: list[Text] = [text for text in read_call.texts if text.provenance is not P.TOOL_DEFINITION]
    assert [(text.message, text.provenance, text.text) for text in said][:7] == [
        (2, P.USER, "Tell me: the capital of the country; the weather there; the product name"),
        (3, P.TOOL_CALL, "{}"),
        (3, P.TOOL_CALL, "get_country"),
        (3, P.TOOL_CALL, "{}"),
        (3, P.TOOL_CALL, "get_product_name"),
        (4, P.TOOL_RESULT, "Mexico"),
        (5, P.TOOL_RESULT, "Pydantic AI"),
    ]
    assert read_call.tools[0] == "get_weather"
