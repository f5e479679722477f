"""Reading what Anthropic answers: whole messages, stream events, errors, usage.

Thinking is read into the Answer but is no text position: it is signed, and changed thinking is refused when the client
sends it back.
"""

from __future__ import annotations

from typing import Any

from mitmesh.dialects.anthropic_blocks import IDENTIFIERS, OPAQUE, node
from mitmesh.dialects.base import Answer, AnswerText, Event, Kind, Part, Path, Provenance, Usage
from mitmesh.dialects.parts import Parts
from mitmesh.dialects.walk import Finder, count, dump, items, more_than, obj, string, strings

NO_TEXTS = (
    IDENTIFIERS | OPAQUE | {"model", "role", "stop_reason", "expires_at", "service_tier", "inference_geo", "speed"}
)
"""Keys outside of content blocks whose strings are no texts."""
_RENDERED = {"text": frozenset({"type", "text"}), "tool_use": frozenset({"type", "id", "name", "input"})}
"""What is rendered again of which content blocks."""
_DELTAS = frozenset({"text_delta", "input_json_delta"})


def read_answer(doc: Any) -> Answer:
    """A whole answer: a message, an error, a token count, a list of models."""
    doc = obj(doc)
    answer = Answer(id=string(doc.get("id")), model=string(doc.get("model")))
    if doc.get("type") == "error":
        answer.error = error_type(doc)
    elif doc.get("type") == "message":
        answer.parts = [part for block in items(doc.get("content")) if (part := read_block(obj(block)))]
        answer.beyond = any(_is_beyond(obj(block)) for block in items(doc.get("content")))
        answer.finish, answer.stopped_by = string(doc.get("stop_reason")), string(doc.get("stop_sequence"))
        answer.usage = usage(obj(doc.get("usage"))) if isinstance(doc.get("usage"), dict) else None
        answer.complete = answer.finish is not None
    else:
        answer.complete = type(doc.get("input_tokens")) is int or isinstance(doc.get("data"), list)
    return answer


def _is_beyond(block: dict[str, Any]) -> bool:
    """Is there more in a content block than is rendered again?"""
    known = _RENDERED.get(str(block.get("type")))
    return known is None or more_than(block, known)


def read_block(block: dict[str, Any]) -> Part | None:
    """A content block as a Part; None where it has no type."""
    match block.get("type"):
        case "text":
            return Part(Kind.TEXT, string(block.get("text")) or "")
        case "thinking":
            return Part(Kind.REASONING, string(block.get("thinking")) or "")
        case "tool_use" | "server_tool_use" | "mcp_tool_use":
            text = dump(obj(block.get("input")))
            return Part(Kind.TOOL_CALL, text, string(block.get("name")), string(block.get("id")))
        case str() as kind:
            return Part(Kind.OPAQUE, name=kind)
    return None


def error_type(doc: dict[str, Any]) -> str:
    """The provider's error type."""
    return string(obj(doc.get("error")).get("type")) or "error"


def usage(doc: dict[str, Any]) -> Usage:
    """Anthropic's usage as ours. `input_tokens` leaves out what was read from or written to the cache, so the prompt
    is the sum. `cache_creation` breaks `cache_creation_input_tokens` down by lifetime; what it does not explain is
    counted as five-minute writes. The tokens of a compaction are billed but stand only in `iterations`
    (the SDK's beta_usage.py says so); other entries are in the sums already, or of another model's price."""
    made = obj(doc.get("cache_creation"))
    write_5m, write_1h = count(made.get("ephemeral_5m_input_tokens")), count(made.get("ephemeral_1h_input_tokens"))
    written = max(count(doc.get("cache_creation_input_tokens")), write_5m + write_1h)
    read = count(doc.get("cache_read_input_tokens"))
    total = Usage(
        prompt=count(doc.get("input_tokens")) + read + written,
        completion=count(doc.get("output_tokens")),
        cache_read=read,
        cache_write_5m=written - write_1h,
        cache_write_1h=write_1h,
        reasoning=count(obj(doc.get("output_tokens_details")).get("thinking_tokens")),
    )
    for step in items(doc.get("iterations")):
        if isinstance(step, dict) and step.get("type") == "compaction":
            _add(total, usage({key: value for key, value in step.items() if key != "iterations"}))
    return total


def _add(total: Usage, more: Usage) -> None:
    total.prompt += more.prompt
    total.completion += more.completion
    total.cache_read += more.cache_read
    total.cache_write_5m += more.cache_write_5m
    total.cache_write_1h += more.cache_write_1h


_GROWS = ("text", "partial_json", "thinking", "content")  # what a delta may add to


class Reader:
    """Builds an Answer from a Messages stream."""

    __slots__ = ("_usage", "answer", "cut", "parts")

    def __init__(self, limit: int) -> None:
        self.answer = Answer()
        self.cut = False
        self.parts = Parts(self.answer.parts, limit)
        self._usage: dict[str, Any] = {}

    def feed(self, event: Event, doc: Any) -> None:
        """Take one event."""
        if not isinstance(doc, dict):
            return
        match doc.get("type"):
            case "content_block_delta":
                self._delta(count(doc.get("index")), obj(doc.get("delta")))
            case "content_block_start":
                self._start(count(doc.get("index")), obj(doc.get("content_block")))
            case "content_block_stop":
                self.parts.close(count(doc.get("index")))
            case "message_start":
                message = obj(doc.get("message"))
                self.answer.id, self.answer.model = string(message.get("id")), string(message.get("model"))
                self._count(message.get("usage"))
            case "message_delta":
                delta = obj(doc.get("delta"))
                self.answer.finish = string(delta.get("stop_reason")) or self.answer.finish
                self.answer.stopped_by = string(delta.get("stop_sequence")) or self.answer.stopped_by
                self._count(doc.get("usage"))
            case "message_stop":
                self.answer.complete = self.answer.finish is not None and self.answer.error is None
            case "error":
                self.answer.error = error_type(doc)

    def finish(self) -> None:
        """The stream ended."""
        self.parts.close_all()

    def _start(self, index: int, block: dict[str, Any]) -> None:
        self.answer.beyond |= _is_beyond(block)
        if part := read_block(block):
            if part.kind is Kind.TOOL_CALL and not block.get("input"):
                part.text = ""  # its JSON comes in pieces
            self.cut |= not self.parts.open(index, part)

    def _delta(self, index: int, delta: dict[str, Any]) -> None:
        self.answer.beyond |= string(delta.get("type")) not in _DELTAS
        for key in _GROWS:
            if isinstance(more := delta.get(key), str):
                self.cut |= not self.parts.add(index, more)

    def _count(self, reported: Any) -> None:
        """Counts are cumulative: a later one replaces an earlier one, and what is not said again stands."""
        if isinstance(reported, dict):
            self._usage.update({key: value for key, value in reported.items() if value is not None})
            self.answer.usage = usage(self._usage)


def answer_texts(doc: Any) -> list[AnswerText]:
    """The text positions of a whole answer."""
    found: list[AnswerText] = []
    for key, value in obj(doc).items():
        if key == "content" and isinstance(value, list):
            for index, block in enumerate(value):
                found += _block_texts(block, (key, index), str(index))
        elif key != "usage":
            found += _whole({key: value}, ())
    return found


def event_texts(doc: Any) -> list[AnswerText]:
    """The text positions of one event."""
    if not isinstance(doc, dict):
        return []
    match doc.get("type"):
        case "content_block_delta":
            return _delta_texts(obj(doc.get("delta")), f"{doc.get('index')}")
        case "content_block_start":
            return _block_texts(doc.get("content_block"), ("content_block",), f"{doc.get('index')}")
        case "ping" | "content_block_stop" | "message_stop":
            return []
    return _whole({key: value for key, value in doc.items() if key != "usage"}, ())


def _delta_texts(delta: dict[str, Any], channel: str) -> list[AnswerText]:
    kind = delta.get("type")
    if kind == "text_delta" and isinstance(text := delta.get("text"), str):
        return [AnswerText(("delta", "text"), channel, Kind.TEXT, text)]
    if kind == "input_json_delta" and isinstance(text := delta.get("partial_json"), str):
        return [AnswerText(("delta", "partial_json"), channel, Kind.TOOL_CALL, text, is_json=True)]
    if kind in ("thinking_delta", "signature_delta"):
        return []
    if kind == "compaction_delta" and isinstance(text := delta.get("content"), str):
        return [AnswerText(("delta", "content"), channel, Kind.TEXT, text)]
    return _whole(delta, ("delta",))


def _block_texts(block: Any, path: Path, channel: str) -> list[AnswerText]:
    find = Finder()
    find.provider = True
    node(find, block, path, Provenance.ASSISTANT, 0)
    grows = (*path, "text")
    return [
        AnswerText(
            text.path,
            channel if text.path == grows else "",
            Kind.TOOL_CALL if text.provenance is Provenance.TOOL_CALL else Kind.TEXT,
            text.text,
        )
        for text in find.texts
    ]


def _whole(value: Any, path: Path) -> list[AnswerText]:
    """Strings that come whole: each is a text of its own and continues nothing (an empty channel)."""
    return [AnswerText(at, "", Kind.TEXT, text) for at, text in strings(value, path, NO_TEXTS)]
