"""OpenAI's Embeddings: text in, vectors out; no streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from mitmesh.dialects.base import (
    Answer,
    AnswerReader,
    AnswerText,
    Call,
    Dialect,
    DialectError,
    Framing,
    Operation,
    Provenance,
    Refusal,
)
from mitmesh.dialects.openai_chat_answer import Reader
from mitmesh.dialects.openai_common import (
    bare_call,
    claim,
    error_body,
    error_word,
    model_of,
    read_usage,
    refusal_body,
    require,
)
from mitmesh.dialects.openai_texts import UNKNOWN, Finder
from mitmesh.dialects.walk import encode, obj, sse, string


class OpenAIEmbeddings(Dialect):
    """The Embeddings dialect. Vectors are nobody's text: an answer has its usage, and no parts."""

    name: ClassVar[str] = "openai_embeddings"
    native: ClassVar[str] = "openai"

    def read(self, doc: Any, path: str, headers: Mapping[str, str]) -> Call:
        """A request as a Call; token arrays are opaque. Raises DialectError where `input` is missing or a number."""
        if doc is None:
            return bare_call(path, headers)
        doc = require(doc)
        call = Call(Operation.EMBEDDINGS, model_of(doc, path))
        finder = Finder()
        _input(doc.get("input"), finder)
        finder.fields(doc, ("input",))
        finder.fill(call)
        return claim(call, doc, headers)

    def framing(self, call: Call, path: str) -> Framing:
        """One document, always."""
        return Framing.NONE

    def read_answer(self, doc: Any) -> Answer:
        """Usage and model; complete where there are vectors."""
        doc = obj(doc)
        answer = Answer(string(doc.get("id")), string(doc.get("model")), usage=read_usage(doc.get("usage")))
        if doc.get("error"):
            answer.error = error_word(doc["error"])
        elif isinstance(doc.get("data"), list):
            answer.finish, answer.complete = "stop", True
        return answer

    def reader(self, limit: int = 8_000_000) -> AnswerReader:
        """Embeddings do not stream; what comes all the same is read as chat."""
        return Reader(limit)

    def answer_texts(self, doc: Any) -> list[AnswerText]:
        """None."""
        return []

    def event_texts(self, doc: Any) -> list[AnswerText]:
        """None."""
        return []

    def render(self, answer: Answer) -> bytes:
        """An empty list of embeddings with the answer's usage: an Answer carries no vectors."""
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        if answer.usage:
            usage = {"prompt_tokens": answer.usage.prompt, "total_tokens": answer.usage.total}
        return encode({"object": "list", "data": [], "model": answer.model or "unknown", "usage": usage})

    def render_stream(self, answer: Answer, *, framing: Framing = Framing.SSE, usage: bool = True) -> Iterator[bytes]:
        """The whole answer as one event, for want of a stream."""
        yield b"data: " + self.render(answer) + b"\n\n"

    def refusal(self, refusal: Refusal, path: str = "") -> bytes:
        """The refusal as an error document."""
        return refusal_body(refusal)

    def stream_error(self, refusal: Refusal, *, framing: Framing = Framing.SSE, last: Any = None) -> bytes:
        """The refusal as an event with an `error`."""
        return sse({"error": error_body(refusal)})


def _input(value: Any, finder: Finder) -> None:
    if isinstance(value, str):
        finder.text(value, ("input",), Provenance.USER, 2)
        return
    if not isinstance(value, (list, dict)):
        raise DialectError("input: must be a string or a list")
    if isinstance(value, list):
        finder.tokens(value)
    finder.walk(value, ("input",), Provenance.USER, 2, UNKNOWN)
