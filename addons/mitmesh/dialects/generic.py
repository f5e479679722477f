"""Any JSON: what is spoken on an LLM host where no other dialect fits. Every string is a text position."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, ClassVar

from mitmesh.dialects import bedrock, generic_chat
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
    Path,
    Provenance,
    Refusal,
)
from mitmesh.dialects.in_path import model_at_huggingface, model_in, model_in_query
from mitmesh.dialects.openai_texts import is_long_media
from mitmesh.dialects.parts import Parts
from mitmesh.dialects.walk import Finder, encode, is_name, obj, sse, string, strings, words
from mitmesh.wire.awsmessage import event

_MOST_TEXTS = 1_000
"""Texts of a stream that are remembered, as hashes."""
_REPEATS = 32
"""Characters of a text that is not said twice by chance."""
_REPEATED = tuple((name,) for name in ("instructions", "metadata", "tools", "prompt", "request"))
"""Members at the top in which OpenAI's objects say again what was asked."""
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
    """Knows JSON, and of chats what is usual (see generic_chat): no end of a stream, no shape to keep to."""

    name: ClassVar[str] = "generic"
    one_at_a_time: ClassVar[bool] = True
    native: ClassVar[str] = ""

    def read(self, doc: Any, path: str, headers: Mapping[str, str]) -> Call:
        """Every string value is a text: of a chat with its role, as far as that is told, else METADATA. Keys are none;
        those that look like text count as not inspected (redact looks at them all the same). Never raises."""
        find = Finder()
        find.every(doc, (), Provenance.METADATA)
        call = Call(
            generic_chat.operation(doc, path),
            model=_model(doc, path),
            stream=generic_chat.framing(doc, path) is not Framing.NONE,
            texts=find.texts,
            opaque_bytes=unread(doc),
        )
        if call.operation is Operation.CHAT:
            call.max_tokens = generic_chat.bound(doc, path)
            generic_chat.attribute(call.texts, doc)
        return call

    def framing(self, call: Call, path: str) -> Framing:
        """SSE where `stream` is true, else what the API at this path is known to do."""
        return generic_chat.framing({"stream": call.stream}, path)

    def read_answer(self, doc: Any) -> Answer:
        """All strings but an API's own words, joined by newlines, as one text."""
        text = "\n".join(text for _, text in _said(doc))
        answer = Answer(parts=[Part(Kind.TEXT, text)] if text else [], error=error_type(doc))
        answer.usage = generic_chat.usage(doc)
        answer.complete = doc is not None and answer.error is None
        return answer

    def reader(self, limit: int = 8_000_000) -> AnswerReader:
        """A reader that keeps `limit` bytes of the events' strings."""
        return Reader(limit)

    def answer_texts(self, doc: Any) -> list[AnswerText]:
        """Every string, each a text of its own."""
        return [AnswerText(path, "", Kind.TEXT, text) for path, text in strings(doc)]

    def event_texts(self, doc: Any) -> list[AnswerText]:
        """Every string. What stands where streams say a text piece by piece goes on with what stood there before."""
        return [generic_chat.position(doc, path, text) for path, text in strings(doc)]

    def ends(self, doc: Any) -> list[str]:
        """All with an event that goes on with none."""
        return [] if any(text.channel for text in self.event_texts(doc)) else [""]

    def render(self, answer: Answer) -> bytes:
        """The visible text as a document of our own: there is no format to keep to."""
        return encode({"text": answer.text, "model": answer.model})

    def render_stream(self, answer: Answer, *, framing: Framing = Framing.SSE, usage: bool = True) -> Iterator[bytes]:
        """The visible text as events, word by word."""
        return (_event({"text": word}, framing) for word in words(answer.text))

    def refusal(self, refusal: Refusal, path: str = "") -> bytes:
        """The refusal as a plain error document, or as the API at this path has it."""
        if bedrock.is_bedrock(path):
            return bedrock.refusal(refusal)
        return encode(_error(refusal, plain=generic_chat.is_ollama(path)))

    def stream_error(self, refusal: Refusal, *, framing: Framing = Framing.SSE, last: Any = None) -> bytes:
        """The refusal as a last event."""
        if framing is Framing.AWS:
            return bedrock.stream_error(refusal)
        end = b"]" if framing is Framing.JSON_ARRAY else b""
        return _event(_error(refusal, plain=framing is Framing.NDJSON), framing, "error") + end

    def cap_output(self, doc: Any, most: int, provider: str, path: str = "") -> tuple[Path, Any] | None:
        """The bound of the API that is known to be at this path."""
        return generic_chat.cap(doc, path, most)

    def choices(self, doc: Any) -> int:
        """`n`, or Cohere's `num_generations`."""
        return generic_chat.choices(doc)


class Reader:
    """Collects the strings of a stream's events as one text."""

    __slots__ = ("_at", "_run", "_told", "_whole", "answer", "cut", "parts")

    def __init__(self, limit: int) -> None:
        self.answer = Answer()
        self.cut = False
        self._at: Path | None = None  # where the last text lay: the next one there goes on with it
        self._run = _digest("")  # what came there
        self._whole: set[bytes] = set()  # texts that came before, as hashes
        self._told = 0  # bytes of text, when usage was told last
        self.parts = Parts(self.answer.parts, limit)

    def feed(self, event: Event, doc: Any) -> None:
        """Take one event."""
        failed = event.name if event.name and event.name.endswith("Exception") else None  # AWS's
        self.answer.error = self.answer.error or error_type(doc) or failed
        for at, text in _said(doc):
            goes_on = at == self._at
            if not goes_on:
                self._turn()
                if len(text) >= _REPEATS and _digest(text).digest() in self._whole:
                    continue  # at their end some say all of it once more
            self._at = at
            self._run.update(text.encode("utf-8", "surrogatepass"))
            if self.parts.last(0):
                self.cut |= not self.parts.add(0, text if goes_on else "\n" + text)
            else:
                self.cut |= not self.parts.open(0, Part(Kind.TEXT, text))
        if said := generic_chat.usage(doc):
            self.answer.usage, self._told = generic_chat.latest(said, self.answer.usage), self.parts.size

    def _turn(self) -> None:
        """Another text begins: the one before is whole, if it is."""
        if self._at is not None and len(self._whole) < _MOST_TEXTS:
            self._whole.add(self._run.digest())
        self._run = _digest("")

    def finish(self) -> None:
        """The stream ended; whether at its own end nobody can say, so it counts as complete where no error came, and
        nothing more was said after its usage, if that was told."""
        self.parts.close_all()
        self.answer.complete = self.answer.error is None and (not self.answer.usage or self._told == self.parts.size)


def _digest(text: str) -> blake2b:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16)


def _said(doc: Any) -> Iterator[tuple[Path, str]]:
    """What an answer or event says: its strings, without an API's own words, media, and what it repeats of the
    request."""
    for path, text in strings(doc, skip=generic_chat.LABELS):
        if path[:1] not in _REPEATED and not is_long_media(text):
            yield path, text


def _model(doc: Any, path: str) -> str | None:
    """The model that serves a request, as far as it says."""
    fields = obj(doc)
    named = model_in(path) or string(fields.get("model")) or string(fields.get("modelId"))
    return named or model_at_huggingface(path) or model_in_query(path)


def _event(value: Any, framing: Framing, name: str | None = None) -> bytes:
    """A document as an event of a stream."""
    if framing is Framing.AWS:
        return event(name or "chunk", encode(value))
    if framing is Framing.SSE:
        return sse(value, name)
    return encode(value) + b"\n" if framing is Framing.NDJSON else b"," + encode(value)


def error_type(doc: Any) -> str | None:
    """A word for the error a document reports at its top, if it does."""
    found = obj(doc).get("error")
    if not found:
        return None
    word = string(obj(found).get("type")) or string(obj(found).get("code"))
    return word if word and len(word) <= _LONGEST_ERROR else "error"


def _error(refusal: Refusal, *, plain: bool = False) -> dict[str, Any]:
    """`plain`: the error is its message alone, as Ollama has it."""
    said = {"type": refusal.type, "code": refusal.code, "mesh_id": refusal.exchange}
    if plain:
        return {"error": refusal.message, **said}
    return {"error": {"message": refusal.message, **said}, "message": refusal.message}
