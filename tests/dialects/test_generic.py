"""Generic JSON: every string a text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.dialects.base import Answer, Event, Framing, Kind, Operation, Part, Provenance, Refusal
from mitmesh.dialects.generic import Generic

DIALECT = Generic()
REFUSAL = Refusal(403, "blocked", "This host is blocked.", "host-x", "01ID")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=15,
)


def walk(doc: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], str]]:
    if isinstance(doc, str):
        return [(path, doc)] if doc else []
    pairs = doc.items() if isinstance(doc, dict) else enumerate(doc) if isinstance(doc, list) else ()
    return [found for key, below in pairs for found in walk(below, (*path, key))]


@given(JSON)
def test_every_string_is_metadata(doc: Any) -> None:
    """Each non-empty string value of any document is a METADATA text, in order; keys are none."""
    texts = DIALECT.read(doc, "/x", {}).texts
    assert [(text.path, text.text) for text in texts] == walk(doc)
    assert {text.provenance for text in texts} <= {Provenance.METADATA}
    assert [(text.path, text.text) for text in DIALECT.answer_texts(doc)] == walk(doc)


@pytest.mark.parametrize(
    ("doc", "path", "operation", "model", "framing"),
    [
        (None, "/v1/models", Operation.MODELS, None, Framing.NONE),
        (None, "/x/models?limit=1", Operation.MODELS, None, Framing.NONE),
        (None, "/v1/files", Operation.OTHER, None, Framing.NONE),
        ({"a": 1}, "/v1/models", Operation.OTHER, None, Framing.NONE),
        ({"model": "m", "stream": True}, "/v1/x", Operation.CHAT, "m", Framing.SSE),
        ({"model": {}, "stream": 1}, "/v1/x", Operation.OTHER, None, Framing.NONE),
        (["model"], "/v1/x", Operation.OTHER, None, Framing.NONE),
        ("model", "/v1/x", Operation.OTHER, None, Framing.NONE),
    ],
)
def test_calls(doc: Any, path: str, operation: Operation, model: str | None, framing: Framing) -> None:
    """Model and stream flag are read where they are what they should be; nothing raises."""
    call = DIALECT.read(doc, path, {})
    assert (call.operation, call.model, DIALECT.framing(call, path)) == (operation, model, framing)


def test_answers() -> None:
    """An answer is its strings; an error is a word, never a message."""
    assert DIALECT.read_answer({"a": "x", "b": ["y"]}).text == "x\ny"
    assert DIALECT.read_answer({"a": "x"}).complete
    assert DIALECT.read_answer({"error": {"type": "bad", "message": "private"}}).error == "bad"
    for error in ("private", {"type": "p" * 65}, {"code": 5}):
        answer = DIALECT.read_answer({"error": error})
        assert (answer.error, answer.complete) == ("error", False)


def test_the_reader_is_bounded() -> None:
    """Strings of events are collected within the limit; usage is never known."""
    reader = DIALECT.reader(limit=1000)
    for _ in range(50):
        reader.feed(Event(b""), {"a": "x" * 99, "b": 5})
    reader.feed(Event(b""), None)
    reader.finish()
    assert reader.cut
    assert len(reader.answer.text) == 891
    assert (reader.answer.complete, reader.answer.usage) == (True, None)


def test_writing() -> None:
    """Answers, streams and refusals are plain JSON."""
    answer = Answer(model="m", parts=[Part(Kind.TEXT, "a b\n")])
    assert json.loads(DIALECT.render(answer)) == {"text": "a b\n", "model": "m"}
    assert list(DIALECT.render_stream(answer)) == [b'data: {"text":"a "}\n\n', b'data: {"text":"b\\n"}\n\n']
    error = {"type": "blocked", "message": "This host is blocked.", "code": "host-x", "mesh_id": "01ID"}
    assert json.loads(DIALECT.refusal(REFUSAL)) == {"error": error, "message": "This host is blocked."}
    ollama = {"error": "This host is blocked.", "type": "blocked", "code": "host-x", "mesh_id": "01ID"}
    assert json.loads(DIALECT.refusal(REFUSAL, "/api/chat")) == ollama
    aws = json.loads(DIALECT.refusal(REFUSAL, "/model/m/converse?x"))
    assert (aws["message"], aws["code"]) == ("This host is blocked.", "host-x")
    assert DIALECT.stream_error(REFUSAL) == b"event: error\ndata: " + DIALECT.refusal(REFUSAL) + b"\n\n"
