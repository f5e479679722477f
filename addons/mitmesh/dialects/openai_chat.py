"""OpenAI's Chat Completions (and legacy Completions), spoken also by Azure, Groq, DeepSeek, xAI, Mistral, OpenRouter,
Together, vLLM, Ollama and others, so it is read liberally."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from mitmesh.dialects import openai_chat_answer, openai_chat_render, openai_chat_request, openai_common
from mitmesh.dialects.base import Answer, AnswerReader, AnswerText, Call, Dialect, Framing, Path, Refusal
from mitmesh.dialects.walk import count, items, obj, sse


class OpenAIChat(Dialect):
    """The Chat Completions dialect. Its streams are server-sent events and carry usage only when asked."""

    name: ClassVar[str] = "openai_chat"
    native: ClassVar[str] = "openai"

    def read(self, doc: Any, path: str, headers: Mapping[str, str]) -> Call:
        """A request as a Call. Raises DialectError where messages are no list of objects, or missing."""
        return openai_chat_request.read(doc, path, headers)

    def framing(self, call: Call, path: str) -> Framing:
        """SSE where the request asks for a stream."""
        return openai_common.framing(call)

    def read_answer(self, doc: Any) -> Answer:
        """A whole JSON answer, an error one too; the parts of several choices follow one another."""
        return openai_chat_answer.read_answer(doc)

    def reader(self, limit: int = 8_000_000) -> AnswerReader:
        """A reader for one stream, keeping `limit` bytes of text."""
        return openai_chat_answer.Reader(limit)

    def answer_texts(self, doc: Any) -> list[AnswerText]:
        """Every text position of a whole answer; `reasoning_details` are none, for they may be signed."""
        return openai_chat_answer.texts(doc)

    def event_texts(self, doc: Any) -> list[AnswerText]:
        """Every text position of one event; `reasoning_details` are none, for they may be signed."""
        return openai_chat_answer.texts(doc)

    def ends(self, doc: Any) -> list[str]:
        """A choice with its finish reason, all with an error or `[DONE]`."""
        if doc is None or obj(doc).get("error"):
            return [""]
        choices = [obj(choice) for choice in items(obj(doc).get("choices"))]
        return [str(count(choice.get("index"))) for choice in choices if choice.get("finish_reason")]

    def structured(self, doc: Any) -> bool:
        """`response_format` of a JSON kind."""
        return obj(obj(doc).get("response_format")).get("type") in ("json_object", "json_schema")

    def keeps(self, doc: Any) -> bool:
        """Where the request says `"store": true`."""
        return obj(doc).get("store") is True

    def render(self, answer: Answer) -> bytes:
        """The answer as a chat completion with one choice."""
        return openai_chat_render.render(answer)

    def render_stream(self, answer: Answer, *, framing: Framing = Framing.SSE, usage: bool = True) -> Iterator[bytes]:
        """The answer as server-sent events; there is no other framing."""
        return openai_chat_render.render_stream(answer, usage=usage)

    def refusal(self, refusal: Refusal, path: str = "") -> bytes:
        """The refusal as an error document."""
        return openai_common.refusal_body(refusal)

    def stream_error(self, refusal: Refusal, *, framing: Framing = Framing.SSE, last: Any = None) -> bytes:
        """The refusal as an event with an `error`; no `[DONE]` follows, for the answer is not whole."""
        return sse({"error": openai_common.error_body(refusal)})

    def stop(self, answer: Answer, last: Any, *, framing: Framing = Framing.SSE) -> bytes:
        """A chunk with a finish reason for each choice that has none."""
        return openai_chat_render.stop(answer, last)

    def cap_output(self, doc: Any, most: int, provider: str, path: str = "") -> tuple[Path, Any] | None:
        """OpenAI's own models want the new name, other servers know the old alone; completions have no new one."""
        fields = obj(doc)
        new = provider in ("openai", "azure") and "messages" in fields
        return (("max_completion_tokens" if new else "max_tokens",), most) if fields else None

    def choices(self, doc: Any) -> int:
        """`n`, or `best_of`."""
        return openai_common.choices(doc)

    def ask_usage(self, doc: Any) -> tuple[Path, Any] | None:
        """`stream_options.include_usage`, where the call streams and has not set it."""
        if not isinstance(doc, dict) or not openai_common.is_true(doc.get("stream")):
            return None
        options = doc.get("stream_options")
        if options is None:
            return ("stream_options",), {"include_usage": True}
        if not isinstance(options, dict) or openai_common.is_true(options.get("include_usage")):
            return None
        return ("stream_options", "include_usage"), True

    def only_usage(self, doc: Any) -> bool:
        """Usage and no choice."""
        return isinstance(doc, dict) and doc.get("choices") == [] and isinstance(doc.get("usage"), dict)
