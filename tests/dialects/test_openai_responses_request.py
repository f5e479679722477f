"""Requests of the Responses dialect."""

from __future__ import annotations

from typing import Any

import pytest

from cassettes import calls
from mitmesh.dialects.base import Call, DialectError, Operation, Provenance
from mitmesh.dialects.openai_responses import OpenAIResponses

P = Provenance
RESPONSES = OpenAIResponses()
PATH = "/v1/responses"


def read(path: str = PATH, headers: dict[str, str] | None = None, **doc: Any) -> Call:
    return RESPONSES.read({"model": "m", **doc}, path, headers or {})


def brief(call: Call) -> list[tuple[int, Provenance, str]]:
    return [(text.message, text.provenance, text.text) for text in call.texts]


def test_order() -> None:
    """Instructions first, then tools, then the input, metadata last, whatever the order of the bytes."""
    call = read(
        input="hi",
        tools=[{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object", "title": "t"}}],
        text={"format": {"type": "json_schema", "name": "n", "schema": {"description": "s"}}, "verbosity": "low"},
        instructions="Be brief",
        metadata={"id": "x"},
        reasoning={"effort": "low", "summary": "auto"},
    )
    assert brief(call) == [
        (0, P.SYSTEM, "Be brief"),
        (1, P.TOOL_DEFINITION, "f"),
        (1, P.TOOL_DEFINITION, "d"),
        (1, P.TOOL_DEFINITION, "t"),
        (1, P.TOOL_DEFINITION, "n"),
        (1, P.TOOL_DEFINITION, "s"),
        (2, P.USER, "hi"),
        (-1, P.METADATA, "x"),
    ]
    assert call.tools == ["f"]


PICTURE = "data:image/png;base64,AAAA"


@pytest.mark.parametrize(
    ("item", "expected", "opaque"),
    [
        ({"role": "user", "content": "a"}, [(P.USER, "a")], 0),
        ({"type": "message", "role": "developer", "content": "a"}, [(P.SYSTEM, "a")], 0),
        (
            {"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "a"}]},
            [(P.ASSISTANT, "a")],
            0,
        ),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": PICTURE}]},
            [],
            len(PICTURE),
        ),
        (
            {"role": "user", "content": [{"type": "input_file", "filename": "a.pdf", "file_data": PICTURE}]},
            [(P.DOCUMENT, "a.pdf")],
            len(PICTURE),
        ),
        (
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'},
            [(P.TOOL_CALL, "f"), (P.TOOL_CALL, '{"a":1}')],
            0,
        ),
        ({"type": "function_call_output", "call_id": "c1", "output": "r"}, [(P.TOOL_RESULT, "r")], 0),
        (
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "r"}]},
            [(P.TOOL_RESULT, "r")],
            0,
        ),
        (
            {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": PICTURE}},
            [],
            len(PICTURE),
        ),
        (
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
             "encrypted_content": "gAAAA"},
            [(P.ASSISTANT, "hm")],
            5,
        ),
        (
            {"type": "mcp_call", "server_label": "s", "name": "f", "arguments": "{}", "output": "r"},
            [(P.TOOL_CALL, "s"), (P.TOOL_CALL, "f"), (P.TOOL_CALL, "{}"), (P.TOOL_RESULT, "r")],
            0,
        ),
        ({"type": "custom_tool_call", "name": "f", "input": "raw"}, [(P.TOOL_CALL, "f"), (P.TOOL_CALL, "raw")], 0),
        ({"type": "custom_tool_call_output", "output": "r"}, [(P.TOOL_RESULT, "r")], 0),
        ({"type": "shell_call", "action": {"commands": ["ls"]}}, [(P.TOOL_CALL, "ls")], 0),
        (
            {"type": "file_search_call", "queries": ["q"], "results": [{"filename": "f", "text": "t"}]},
            [(P.TOOL_CALL, "q"), (P.DOCUMENT, "f"), (P.DOCUMENT, "t")],
            0,
        ),
        ({"type": "additional_tools", "tools": [{"name": "f"}]}, [(P.TOOL_DEFINITION, "f")], 0),
        ({"type": "unheard_of", "id": "deep secret"}, [(P.METADATA, "unheard_of"), (P.METADATA, "deep secret")], 0),
        ({"type": "item_reference", "id": "msg_1"}, [], 0),
    ],
    ids=lambda value: value.get("type", "message") if isinstance(value, dict) else "",
)  # fmt: skip
def test_items(item: dict[str, Any], expected: list[tuple[Provenance, str]], opaque: int) -> None:
    """Each kind of item has its author; media and what is encrypted is counted."""
    call = read(input=[item])
    assert [(text.provenance, text.text) for text in call.texts] == expected
    assert call.opaque_bytes == opaque


@pytest.mark.parametrize(
    ("doc", "history"),
    [
        ({"previous_response_id": "resp_1"}, "resp_1"),
        ({"conversation": "conv_1"}, "conv_1"),
        ({"conversation": {"id": "conv_1"}}, "conv_1"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "msg_1"),
        ({"input": "hi", "previous_response_id": None}, None),
    ],
)
def test_history(doc: Any, history: str | None) -> None:
    """What the provider keeps is named, for it is not in the request."""
    assert read(**doc).history_at_provider == history


def test_prompt_variables() -> None:
    """A kept prompt's variables are the user's, whatever their names; they come before the input."""
    call = read(
        prompt={"id": "pmpt_1", "version": "2", "variables": {"id": "ann_1"}}, input=[{"role": "user", "content": "a"}]
    )
    assert brief(call) == [(2, P.USER, "ann_1"), (3, P.USER, "a"), (-1, P.METADATA, "2")]


def test_codex() -> None:
    """Codex's claims are read from its headers; its cache key stands in for a missing session."""
    headers = {"session_id": "s1", "chatgpt-account-id": "acc"}
    call = read(
        "/backend-api/codex/responses", headers, input=[], prompt_cache_key="k", stream=True, max_output_tokens=7
    )
    assert (call.session, call.account, call.stream, call.max_tokens) == ("s1", "acc", True, 7)
    assert read(input=[], prompt_cache_key="k").session == "k"


def test_operations() -> None:
    """Counting tokens is an operation of its own; a call without a body polls."""
    assert read("/v1/responses/input_tokens", input="hi").operation is Operation.COUNT_TOKENS
    polled = RESPONSES.read(None, calls("responses_background")[1].path, {})
    assert (polled.operation, polled.stream) == (Operation.OTHER, False)
    assert polled.history_at_provider == "resp_06a562f31ab7703300698b9df109c481979ebf760b2ff5fc75"


@pytest.mark.parametrize(
    ("doc", "field"),
    [([], "body"), ({"input": 7}, "input"), ({"input": ["SECRET"]}, r"input\[0\]"), ({"model": []}, "model")],
)
def test_wrong_shapes(doc: Any, field: str) -> None:
    """A shape no provider takes is an error that names the field and not its value."""
    with pytest.raises(DialectError, match=field) as caught:
        RESPONSES.read(doc, PATH, {})
    assert "SECRET" not in str(caught.value)


def test_recorded() -> None:
    """A recorded agent's turn, with tools that were added on the way."""
    call = calls("gemini_to_responses")[3]
    read_call = RESPONSES.read(call.doc, call.path, call.headers)
    assert read_call.tools == ["load_capability", "lookup_refund_policy"]
    said = [
        (text.message, text.provenance) for text in read_call.texts if text.text.endswith(("order-123?", "30 days"))
    ]
    assert said == [(2, P.USER), (7, P.TOOL_RESULT)]
