"""Any JSON: what is spoken on an LLM host where no other dialect fits. Every string is a text position."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from mitmesh.dialects.base import (
    Answer,
    AnswerReader,
    AnswerText,
    Call,
    Dialect,
    Event,
    Framing,
    Kind,
    Operation,
    Part,
    Provenance,
    Refusal,
    Usage,
)
from mitmesh.dialects.openai_common import read_usage
from mitmesh.dialects.parts import Parts
from mitmesh.dialects.walk import Finder, encode, is_name, obj, sse, string, strings, words

_LONGEST_ERROR = 64  # characters; an error type is a word, not a message


def unread(doc: Any) -> int:
    """Bytes of the keys that do not look like names."""
    total, waiting = 0, [doc]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            total += sum(len(key.encode()) for key in node if not is_name(key))
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return total


class Generic(Dialect):
    """Knows nothing but JSON: no roles, no end of a stream; of usage what has OpenAI's names."""

    name: ClassVar[str] = "generic"
    native: ClassVar[str] = ""

    def read(self, doc: Any, path: str, headers: Mapping[str, str]) -> Call:
        """Every string value is a METADATA text. Keys are none; those that look like text count as not inspected
        (redact looks at them all the same). Never raises."""
        fields = obj(doc)
        is_list = doc is None and re.search(r"/models/?$", path.partition("?")[0])
        find = Finder()
        find.every(doc, (), Provenance.METADATA)
        return Call(
            Operation.MODELS if is_list else Operation.OTHER,
            model=string(fields.get("model")),
            stream=fields.get("stream") is True,
            texts=find.texts,
            opaque_bytes=unread(doc),
        )

    def framing(self, call: Call, path: str) -> Framing:
        """SSE where `stream` is true."""
        return Framing.SSE if call.stream else Framing.NONE

    def read_answer(self, doc: Any) -> Answer:
        """All strings, joined by newlines, as one text."""
        text = "\n".join(text for _, text in strings(doc))
        answer = Answer(parts=[Part(Kind.TEXT, text)] if text else [], error=error_type(doc))
        answer.usage = _usage(doc)
        answer.complete = doc is not None and answer.error is None
        return answer

    def reader(self, limit: int = 8_000_000) -> AnswerReader:
        """A reader that keeps `limit` bytes of the events' strings."""
        return Reader(limit)

    def answer_texts(self, doc: Any) -> list[AnswerText]:
        """Every string, each a text of its own."""
        return [AnswerText(path, "", Kind.TEXT, text) for path, text in strings(doc)]

    def event_texts(self, doc: Any) -> list[AnswerText]:
        """Every string, each a text of its own."""
        return self.answer_texts(doc)

    def render(self, answer: Answer) -> bytes:
        """The visible text as a document of our own: there is no format to keep to."""
        return encode({"text": answer.text, "model": answer.model})

    def render_stream(self, answer: Answer, *, framing: Framing = Framing.SSE, usage: bool = True) -> Iterator[bytes]:
        """The visible text as server-sent events, word by word."""
        return (sse({"text": word}) for word in words(answer.text))

    def refusal(self, refusal: Refusal) -> bytes:
        """The refusal as a plain error document."""
        return encode(_error(refusal))

    def stream_error(self, refusal: Refusal, *, framing: Framing = Framing.SSE, last: Any = None) -> bytes:
        """The refusal as a last event."""
        return sse(_error(refusal), "error")


class Reader:
    """Collects the strings of a stream's events as one text."""

    __slots__ = ("answer", "cut", "parts")

    def __init__(self, limit: int) -> None:
        self.answer = Answer()
        self.cut = False
        self.parts = Parts(self.answer.parts, limit)

    def feed(self, event: Event, doc: Any) -> None:
        """Take one event."""
        self.answer.error = self.answer.error or error_type(doc)
        self.answer.usage = _usage(doc) or self.answer.usage
        for _, text in strings(doc):
            part = self.parts.last(0)
            kept = self.parts.add(0, "\n" + text) if part else self.parts.open(0, Part(Kind.TEXT, text))
            self.cut |= not kept

    def finish(self) -> None:
        """The stream ended; whether at its own end nobody can say, so it counts as complete where no error came."""
        self.parts.close_all()
        self.answer.complete = self.answer.error is None


def _usage(doc: Any) -> Usage | None:
    """What a document says of tokens at its top, as OpenAI's APIs of images, audio and rerankers do."""
    return read_usage(obj(doc).get("usage"))


def error_type(doc: Any) -> str | None:
    """A word for the error a document reports at its top, if it does."""
    found = obj(doc).get("error")
    if not found:
        return None
    word = string(obj(found).get("type")) or string(obj(found).get("code"))
    return word if word and len(word) <= _LONGEST_ERROR else "error"


def _error(refusal: Refusal) -> dict[str, Any]:
    return {
        "error": {
            "type": refusal.type,
            "message": refusal.message,
            "code": refusal.code,
            "mesh_id": refusal.exchange,
        }
    }
