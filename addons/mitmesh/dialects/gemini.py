"""Google's Gemini API and Vertex AI: `.../models/{model}:generateContent` and its sisters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from mitmesh.dialects import gemini_answer, gemini_render, gemini_request
from mitmesh.dialects.base import Answer, AnswerReader, AnswerText, Call, Dialect, Framing, Path, Refusal
from mitmesh.dialects.gemini_parts import camel
from mitmesh.dialects.walk import count, encode, items, limit, obj


class Gemini(Dialect):
    """The generateContent dialect. Its streams are server-sent events or one JSON array, and carry their usage
    unasked."""

    name: ClassVar[str] = "gemini"
    native: ClassVar[str] = "google"

    def read(self, doc: Any, path: str, headers: Mapping[str, str]) -> Call:
        """A request as a Call: model, operation and stream flag come from the path. Raises DialectError where
        `contents` is missing or holds what is no content."""
        return gemini_request.read(doc, path, headers)

    def framing(self, call: Call, path: str) -> Framing:
        """For a stream SSE with `alt=sse` in the query, else a JSON array."""
        return gemini_request.framing(call, path)

    def read_answer(self, doc: Any) -> Answer:
        """A whole JSON answer, an error one too."""
        return gemini_answer.read_answer(doc)

    def reader(self, limit: int = 8_000_000) -> AnswerReader:
        """A reader for one stream, keeping `limit` bytes of text."""
        return gemini_answer.Reader(limit)

    def answer_texts(self, doc: Any) -> list[AnswerText]:
        """Every text position of a whole answer."""
        return gemini_answer.answer_texts(doc)

    def event_texts(self, doc: Any) -> list[AnswerText]:
        """Every text position of one chunk."""
        return gemini_answer.answer_texts(doc)

    def ends(self, doc: Any) -> list[str]:
        """A candidate with its finish reason."""
        if doc is None or "error" in obj(doc):
            return [""]
        candidates = [obj(candidate) for candidate in items(obj(doc).get("candidates"))]
        return [str(count(candidate.get("index"))) for candidate in candidates if candidate.get("finishReason")]

    def structured(self, doc: Any) -> bool:
        """`generationConfig.responseMimeType` of JSON."""
        for key, value in obj(doc).items():
            if camel(key) == "generationConfig":
                given = {camel(name): below for name, below in obj(value).items()}
                return "json" in str(given.get("responseMimeType", "")).lower()
        return False

    def render(self, answer: Answer) -> bytes:
        """The answer as one JSON document."""
        return gemini_render.render(answer)

    def render_stream(self, answer: Answer, *, framing: Framing = Framing.SSE, usage: bool = True) -> Iterator[bytes]:
        """The answer as a stream in that framing; usage is always in it."""
        return gemini_render.render_stream(answer, framing)

    def refusal(self, refusal: Refusal, path: str = "") -> bytes:
        """The refusal as an error document."""
        return encode(gemini_render.error(refusal))

    def stop(self, answer: Answer, last: Any, *, framing: Framing = Framing.SSE) -> bytes:
        """A chunk with a finish reason for each candidate that has none."""
        return gemini_render.stop(answer, last, framing)

    def cap_output(self, doc: Any, most: int, provider: str, path: str = "") -> tuple[Path, Any] | None:
        """`maxOutputTokens`, in the spelling of the configuration that is there."""
        fields = obj(doc)
        if not fields or "requests" in fields:
            return None
        key = next((key for key in fields if camel(key) == "generationConfig"), None)
        if key is None:
            return ("generationConfig",), {"maxOutputTokens": most}
        config = fields[key]
        if not isinstance(config, dict):
            return None
        name = next((name for name in config if camel(name) == "maxOutputTokens"), "maxOutputTokens")
        return (key, name), most

    def choices(self, doc: Any) -> int:
        """`candidateCount`."""
        for key, value in obj(doc).items():
            if camel(key) == "generationConfig":
                given = {camel(name): below for name, below in obj(value).items()}
                return limit(given.get("candidateCount")) or 1
        return 1

    def stream_error(self, refusal: Refusal, *, framing: Framing = Framing.SSE, last: Any = None) -> bytes:
        """The refusal as the last chunk; in an array it closes it."""
        return gemini_render.stream_error(refusal, framing)
