"""Anthropic's content blocks: texts, provenance, order."""

from __future__ import annotations

from typing import Any

import pytest

from mitmesh.dialects.anthropic_request import read
from mitmesh.dialects.base import Text


def texts(*blocks: Any, role: str = "user") -> list[Text]:
    return read({"messages": [{"role": role, "content": list(blocks)}]}, "/v1/messages", {}).texts


BLOCKS = [
    ({"type": "text", "text": "a"}, [("user", "a")]),
    ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "5m"}}, [("user", "a")]),
    ({"type": "text", "text": "a", "novel": {"x": ["b"]}}, [("user", "a"), ("metadata", "b")]),
    (
        {"type": "tool_use", "id": "toolu_1", "name": "get", "input": {"type": "x", "id": ["John Smith"]}},
        [("tool_call", "x"), ("tool_call", "John Smith")],
    ),
    ({"type": "server_tool_use", "id": "s_1", "name": "web_search", "input": {"query": "q"}}, [("tool_call", "q")]),
    ({"type": "tool_result", "tool_use_id": "toolu_1", "content": "r"}, [("tool_result", "r")]),
    (
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "r"}], "is_error": True},
        [("tool_result", "r")],
    ),
    (
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "document", "source": {"data": "d e"}}]},
        [("tool_result", "d e")],
    ),
    (
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "body"},
            "context": "ctx",
            "title": "ttl",
        },
        [("document", "ttl"), ("document", "ctx"), ("document", "body")],
    ),
    ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}, []),
    (
        {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "c"}]}},
        [("document", "c")],
    ),
    (
        {"type": "document", "source": {"type": "url", "url": "https://x/a?b"}},
        [("metadata", "https://x/a?b")],
    ),
    ({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}, []),
    ({"type": "image", "source": {"type": "file", "file_id": "file_1"}}, []),
    (
        {"type": "search_result", "content": [{"type": "text", "text": "c"}], "source": "https://x", "title": "t"},
        [("document", "t"), ("document", "https://x"), ("document", "c")],
    ),
    ({"type": "thinking", "thinking": "hm", "signature": "sig"}, []),
    ({"type": "redacted_thinking", "data": "xyz"}, []),
    (
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s_1",
            "content": [{"type": "web_search_result", "title": "t", "url": "https://x", "encrypted_content": "e"}],
        },
        [("tool_result", "t"), ("tool_result", "https://x")],
    ),
    (
        {
            "type": "code_execution_tool_result",
            "tool_use_id": "s_1",
            "content": {"type": "code_execution_result", "stdout": "out", "stderr": "", "content": []},
        },
        [("tool_result", "out")],
    ),
    ({"type": "mcp_tool_use", "id": "m_1", "name": "n", "server_name": "s", "input": {"q": "v"}}, [("tool_call", "v")]),
    ({"type": "container_upload", "file_id": "file_1"}, []),
    ({"type": "compaction", "content": "so far", "signature": "s"}, [("user", "so far")]),
    (
        {"type": "text", "text": "a", "citations": [{"type": "char_location", "cited_text": "c", "signature": "e"}]},
        [("user", "a"), ("user", "c")],
    ),
    ({"type": "not yet known", "name": "Jane", "deep": [{"type": "q", "text": "b"}]}, [
        ("user", "not yet known"), ("user", "Jane"), ("user", "b")]),
    ("a bare string", [("user", "a bare string")]),
]  # fmt: skip


@pytest.mark.parametrize(("block", "expected"), BLOCKS)
def test_blocks(block: Any, expected: list[tuple[str, str]]) -> None:
    """Each kind of block gives its texts with who wrote them, in reading order."""
    found = texts(block, role="assistant")  # what is sealed is so in the provider's messages alone
    assert [(text.provenance.value.replace("assistant", "user"), text.text) for text in found] == expected


def test_paths_lead_to_their_texts() -> None:
    """Each path, followed from the root, ends at its text."""
    blocks = [block for block, _ in BLOCKS]
    for text in texts(*blocks):
        at: Any = {"messages": [{"content": blocks}]}
        for step in text.path:
            at = at[step]
        assert at == text.text
