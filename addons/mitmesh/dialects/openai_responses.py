"""OpenAI's Responses, as the API, Azure and Codex (`/backend-api/codex/responses`) speak it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from mitmesh.dialects import (
    openai_common,
    openai_responses_answer,
    openai_responses_render,
    openai_responses_request,
    openai_responses_texts,
)
from mitmesh.dialects.base import Answer, AnswerReader, AnswerText, Call, Dialect, Framing, Path, Refusal
from mitmesh.dialects.walk import count, obj, sse, string


class OpenAIResponses(Dialect):
    """The Responses dialect. Its streams are server-sent events and carry their usage unasked."""

    name: ClassVar[str] = "openai_responses"
    native: ClassVar[str] = "openai"

    def read(self, doc: Any, path: str, headers: Mapping[str, str]) -> Call:
        """A request as a Call; one without a body polls, lists or cancels. Raises DialectError where `input` is
        neither a string nor a list of objects."""
        return openai_responses_request.read(doc, path, headers)

    def framing(self, call: Call, path: str) -> Framing:
        """SSE where the request asks for a stream."""
        return openai_common.framing(call)

    def read_answer(self, doc: Any) -> Answer:
        """A whole JSON answer, an error one too; incomplete while a background answer is still made."""
        return openai_responses_answer.read_answer(doc)

    def reader(self, limit: int = 8_000_000) -> AnswerReader:
        """A reader for one stream, keeping `limit` bytes of text."""
        return openai_responses_answer.Reader(limit)

    def answer_texts(self, doc: Any) -> list[AnswerText]:
        """Every text position of a whole answer's output; what it echoes of the request is none."""
        return openai_responses_texts.answer_texts(doc)

    def event_texts(self, doc: Any) -> list[AnswerText]:
        """Every text position of one event. A stream says each text up to five times (in deltas, when the text,
        its part and its item are done, and in the answer at the end); each has its own channel."""
        return openai_responses_texts.event_texts(doc)

    def ends(self, doc: Any) -> list[str]:
        """A text with any event of its part that is no delta; whatever comes in such an event is whole."""
        kind = string(obj(doc).get("type")) or ""
        stem, _, end = kind.rpartition(".")
        if end == "delta":
            return []
        if doc is None or stem == "response" or kind == "error":
            return [""]
        whole = [text.channel for text in self.event_texts(doc)]
        return [openai_responses_texts.channel(doc, stem), *whole] if isinstance(doc, dict) else whole

    def structured(self, doc: Any) -> bool:
        """`text.format` of a JSON kind."""
        return obj(obj(obj(doc).get("text")).get("format")).get("type") in ("json_object", "json_schema")

    def keeps(self, doc: Any) -> bool:
        """Unless the request says `"store": false`."""
        return obj(doc).get("store") is not False

    def render(self, answer: Answer) -> bytes:
        """The answer as a response object."""
        return openai_responses_render.render(answer)

    def render_stream(self, answer: Answer, *, framing: Framing = Framing.SSE, usage: bool = True) -> Iterator[bytes]:
        """The answer as server-sent events; there is no other framing, and usage is always in it."""
        return openai_responses_render.render_stream(answer)

    def refusal(self, refusal: Refusal, path: str = "") -> bytes:
        """The refusal as an error document."""
        return openai_common.refusal_body(refusal)

    def stop(self, answer: Answer, last: Any, *, framing: Framing = Framing.SSE) -> bytes:
        """`response.incomplete`, for its output ran out of tokens, with the items as far as they were said."""
        return openai_responses_render.stop(answer, last)

    def cap_output(self, doc: Any, most: int, provider: str, path: str = "") -> tuple[Path, Any] | None:
        """`max_output_tokens`; what Codex sends to ChatGPT may not have it (see the quota stage)."""
        return (("max_output_tokens",), most) if obj(doc) else None

    def stream_error(self, refusal: Refusal, *, framing: Framing = Framing.SSE, last: Any = None) -> bytes:
        """The refusal as an `error` event: flat as the API documents it, nested as its SDK looks for it."""
        error = openai_common.error_body(refusal)
        number = count(obj(last).get("sequence_number")) + 1 if last else 0  # after stop's
        event = {
            "type": "error",
            "sequence_number": number,
            "code": refusal.code,
            "message": refusal.message,
            "param": None,
        }
        return sse({**event, "error": error}, "error")
