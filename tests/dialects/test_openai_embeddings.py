"""The Embeddings dialect."""

from __future__ import annotations

from typing import Any

import pytest

from mitmesh.dialects.base import Answer, DialectError, Framing, Operation, Provenance, Usage
from mitmesh.dialects.openai_embeddings import OpenAIEmbeddings
from openai_client import client

EMBEDDINGS = OpenAIEmbeddings()
PATH = "/v1/embeddings"


@pytest.mark.parametrize(
    ("value", "texts", "opaque"),
    [("a", ["a"], 0), (["a", "b"], ["a", "b"], 0), ([1, 2], [], 6), ([[1], [22]], [], 7), ([], [], 0)],
)
def test_input(value: Any, texts: list[str], opaque: int) -> None:
    """Strings are texts of the user, token arrays are opaque."""
    call = EMBEDDINGS.read({"model": "m", "input": value, "user": "ann", "encoding_format": "float"}, PATH, {})
    assert (call.operation, call.model, call.stream) == (Operation.EMBEDDINGS, "m", False)
    assert [text.text for text in call.texts if text.provenance is Provenance.USER] == texts
    assert [text.text for text in call.texts if text.provenance is Provenance.METADATA] == ["ann"]
    assert call.opaque_bytes == opaque
    assert EMBEDDINGS.framing(call, PATH) is Framing.NONE


@pytest.mark.parametrize(
    ("value", "count"),
    [([1, 2, 3], 3), ([[1] * 5, [22]], 6), (["a", [7, 8]], 2), ([1.0, 2], 2), (["", 1, 2], 2), ("a", 0), ([], 0)],
)
def test_token_ids_are_counted(value: Any, count: int) -> None:
    """A number is a token, in whatever company."""
    call = EMBEDDINGS.read({"model": "m", "input": value}, PATH, {})
    assert (call.token_ids, call.token_bytes) == (count, call.opaque_bytes)


@pytest.mark.parametrize("doc", [{"model": "m"}, {"input": 7}, [], {"input": "a", "model": 1}])
def test_wrong_shapes(doc: Any) -> None:
    """Without an input there is nothing to embed."""
    with pytest.raises(DialectError):
        EMBEDDINGS.read(doc, PATH, {})


def test_answer() -> None:
    """An answer has usage and no text."""
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    answer = EMBEDDINGS.read_answer({"object": "list", "model": "m", "data": [{"embedding": [0.1]}], "usage": usage})
    assert answer == Answer(model="m", finish="stop", usage=Usage(5), complete=True)
    assert EMBEDDINGS.answer_texts({"data": []}) == []
    assert EMBEDDINGS.read_answer({"error": {"type": "t"}}).error == "t"
    assert not EMBEDDINGS.read_answer(None).complete


def test_render() -> None:
    """The SDK reads what we render, though it holds no vectors."""
    sdk = client(EMBEDDINGS.render(Answer(model="m", usage=Usage(5))))
    with pytest.raises(ValueError, match="No embedding data"):
        sdk.embeddings.create(model="m", input="a")
