"""The ways through JSON that dialects share."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.dialects.walk import arguments, count, encode, is_name, limit, size, sse, strings, words


def test_strings_in_document_order() -> None:
    """Strings come in document order with their paths, but names under skipped keys and a schema's type names."""
    doc = {"a": ["x", {"id": "n_1", "b": "y"}], "id": "not a name", "type": "string"}
    assert list(strings(doc, ("r",), frozenset({"id"}))) == [
        (("r", "a", 0), "x"),
        (("r", "a", 1, "b"), "y"),
        (("r", "id"), "not a name"),
        (("r", "type"), "string"),
    ]
    assert [text for _, text in strings({"type": "STRING", "x": {"type": "s"}}, schema=True)] == ["s"]


def test_strings_below_any_depth() -> None:
    """Nesting deeper than the interpreter's stack is walked to its end."""
    deep: Any = "x"
    for _ in range(10_000):
        deep = [deep]
    ((path, text),) = strings(deep)
    assert (len(path), text) == (10_000, "x")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("toolu_01AbC", True),
        ("claude-sonnet-4-5@20250929", False),
        ("models/gemini-2.5", True),
        ("us.anthropic.x-v1:0", True),
        ("", True),
        ("4111111111111111", False),
        ("+41-44-668", False),
        ("a b", False),
        ("jane@x.org", False),
        ("é", False),
        ("a\n", False),
        ("a" * 129, False),
    ],
)
def test_is_name(value: str, name: bool) -> None:
    """Ids and API words are names; digits alone, addresses and prose are not."""
    assert is_name(value) is name


@given(st.text())
def test_words_join_to_the_text(text: str) -> None:
    """The pieces of a text are the text."""
    assert "".join(words(text)) == text


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_encodes(text: str) -> None:
    """Whatever a string holds, lone surrogates too, it is written as UTF-8 JSON that reads as the same string, and its
    size is known."""
    written = encode(text)
    written.decode()
    assert json.loads(written) == text
    assert size(text) == len(text.encode("utf-8", "surrogatepass"))


def test_sse() -> None:
    """An event is one data line, and a name where one is given."""
    assert sse({"a": "\n"}) == b'data: {"a":"\\n"}\n\n'
    assert sse(1, "x") == b"event: x\ndata: 1\n\n"


@pytest.mark.parametrize(
    ("text", "doc"), [("", {}), ('{"a":1}', {"a": 1}), ('{"a"', {}), ("[1]", {}), ("[" * 99999, {})]
)
def test_arguments(text: str, doc: dict[str, Any]) -> None:
    """Arguments that are no object become an empty one."""
    assert arguments(text) == doc


def test_numbers() -> None:
    """Counts and limits are positive whole numbers or nothing."""
    assert [count(value) for value in (5, 0, -1, True, 1.5, "5", None)] == [5, 0, 0, 0, 0, 0, 0]
    assert [limit(value) for value in (5, 0, -1, True, 1.5, "5", None)] == [5, None, None, None, None, None, None]
