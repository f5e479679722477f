"""Gemini's parts: texts and provenance."""

from __future__ import annotations

from typing import Any

import pytest

from mitmesh.dialects.base import Provenance
from mitmesh.dialects.gemini_parts import camel, read_part
from mitmesh.dialects.walk import Finder

PARTS = [
    ({"text": "a"}, [("user", "a")]),
    ({"text": "a", "thoughtSignature": "c2ln", "thought": True}, [("user", "a")]),
    ({"inlineData": {"mimeType": "audio/mpeg", "data": "c2ln"}}, []),
    ({"inline_data": {"mime_type": "audio/mpeg", "data": "c2ln", "displayName": "d n"}}, [("metadata", "d n")]),
    ({"fileData": {"mimeType": "image/png", "fileUri": "gs://x/y"}}, [("metadata", "gs://x/y")]),
    (
        {"functionCall": {"id": "c1", "name": "get", "args": {"id": "x", "who": ["J D"]}}},
        [("tool_call", "x"), ("tool_call", "J D")],
    ),
    (
        {"function_response": {"id": "c1", "name": "get", "response": {"name": "J D"}}},
        [("tool_result", "J D")],
    ),
    (
        {"functionResponse": {"name": "g", "parts": [{"inlineData": {"mimeType": "i/p", "data": "c2ln"}}]}},
        [],
    ),
    ({"executableCode": {"language": "PYTHON", "code": "print(1)"}}, [("tool_call", "print(1)")]),
    ({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}, [("tool_result", "1")]),
    ({"toolCall": {"toolType": "GOOGLE_SEARCH", "args": {"q": "v"}}}, [("tool_call", "v")]),
    ({"videoMetadata": {"startOffset": "3s"}}, [("metadata", "3s")]),
    ({"notYetKnown": {"x": ["y"]}}, [("metadata", "y")]),
    ("bare", [("user", "bare")]),
]


@pytest.mark.parametrize(("part", "expected"), PARTS)
def test_parts(part: Any, expected: list[tuple[str, str]]) -> None:
    """Each kind of part gives its texts with who wrote them, in camelCase and snake_case."""
    find = Finder()
    find.provider = True
    read_part(find, part, (), Provenance.USER, 2)
    assert [(text.provenance.value, text.text) for text in find.texts] == expected


@pytest.mark.parametrize(
    ("snake", "expected"),
    [("a_bc_d", "aBcD"), ("inlineData", "inlineData"), ("_x", "_x"), ("", ""), ("a_b" * 30, "a_b" * 30)],
)
def test_camel(snake: str, expected: str) -> None:
    """Names in snake_case become camelCase, those in camelCase stay."""
    assert camel(snake) == expected
