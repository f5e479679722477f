"""Anthropic's Messages API, also as Bedrock and Vertex host it: `/v1/messages`, `/v1/messages/count_tokens`,
`/v1/models`, `/model/{id}/invoke`, `.../models/{id}:rawPredict`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from mitmesh.dialects import anthropic_answer, anthropic_render, anthropic_request, bedrock
from mitmesh.dialects.base import Answer, AnswerReader, AnswerText, Call, Dialect, Framing, Path, Refusal
from mitmesh.dialects.walk import encode, obj, sse
from mitmesh.wire.awsmessage import chunk


class Anthropic(Dialect):
    """The Messages dialect. Its streams are server-sent events and carry their usage unasked."""

    name: ClassVar[str] = "anthropic"
    native: ClassVar[str] = "anthropic"

    def read(self, doc: Any, path: str, headers: Mapping[str, str]) -> Call:
        """A request as a Call. Raises DialectError where `messages` is no list of objects."""
        return anthropic_request.read(doc, path, headers)

    def framing(self, call: Call, path: str) -> Framing:
        """SSE where the request asks for a stream; AWS's event stream at Bedrock, which knows by the path."""
        if bedrock.streams(path):
            return Framing.AWS
        return Framing.SSE if call.stream else Framing.NONE

    def read_answer(self, doc: Any) -> Answer:
        """A whole JSON answer, an error one too."""
        return anthropic_answer.read_answer(doc)

    def reader(self, limit: int = 8_000_000) -> AnswerReader:
        """A reader for one stream, keeping `limit` bytes of text."""
        return anthropic_answer.Reader(limit)

    def answer_texts(self, doc: Any) -> list[AnswerText]:
        """Every text position of a whole answer; thinking is none, for it is signed."""
        return anthropic_answer.answer_texts(doc)

    def event_texts(self, doc: Any) -> list[AnswerText]:
        """Every text position of one event; thinking is none, for it is signed."""
        return anthropic_answer.event_texts(doc)

    def ends(self, doc: Any) -> list[str]:
        """A block with its stop; all with what ends the message."""
        kind = doc.get("type") if isinstance(doc, dict) else None
        if kind == "content_block_stop":
            return [str(doc.get("index"))]
        return [""] if doc is None or kind in ("message_delta", "message_stop", "error") else []

    def more(self, doc: Any, path: Path, text: str) -> Any:
        """A delta, also where the text came with its block's start."""
        if obj(doc).get("type") == "content_block_start":
            delta = {"type": "text_delta", "text": text}
            return {"type": "content_block_delta", "index": doc.get("index"), "delta": delta}
        return super().more(doc, path, text)

    def structured(self, doc: Any) -> bool:
        """`output_config.format`, or `output_format` as it was called in the beta."""
        fields = obj(doc)
        wanted = obj(fields.get("output_config")).get("format") or fields.get("output_format")
        return isinstance(wanted, dict)

    def keeps(self, doc: Any) -> bool:
        """Where the call belongs to a thread."""
        return "thread" in obj(doc)

    def render(self, answer: Answer) -> bytes:
        """The answer as a JSON message."""
        return anthropic_render.render(answer)

    def render_stream(self, answer: Answer, *, framing: Framing = Framing.SSE, usage: bool = True) -> Iterator[bytes]:
        """The answer as server-sent events, or as Bedrock sends the same; usage is always in it."""
        events = anthropic_render.render_stream(answer)
        return map(_chunks, events) if framing is Framing.AWS else events

    def refusal(self, refusal: Refusal, path: str = "") -> bytes:
        """The refusal as an error document; at Bedrock in AWS's shape."""
        if bedrock.is_bedrock(path):
            return bedrock.refusal(refusal)
        return encode(anthropic_render.error(refusal))

    def stop(self, answer: Answer, last: Any, *, framing: Framing = Framing.SSE) -> bytes:
        """The end of the block that is open, and of the message but for its last word."""
        events = anthropic_render.stop(answer, last)
        return _chunks(events) if framing is Framing.AWS else events

    def cap_output(self, doc: Any, most: int, provider: str, path: str = "") -> tuple[Path, Any] | None:
        """`max_tokens`, without which the API takes no call."""
        return (("max_tokens",), most) if obj(doc) else None

    def stream_error(self, refusal: Refusal, *, framing: Framing = Framing.SSE, last: Any = None) -> bytes:
        """The refusal as an `error` event; at Bedrock as an exception, which SDKs raise."""
        if framing is Framing.AWS:
            return bedrock.stream_error(refusal)
        return sse(anthropic_render.error(refusal), "error")


def _chunks(events: bytes) -> bytes:
    """Our own server-sent events, each of one line of data, as Bedrock sends them."""
    return b"".join(chunk(line[6:]) for line in events.split(b"\n") if line.startswith(b"data: "))
