"""Reading answers and streams of the Chat Completions dialect."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from mitmesh.dialects.base import Answer, AnswerText, Event, Kind, Part, Path
from mitmesh.dialects.openai_common import error_word, read_usage
from mitmesh.dialects.parts import Parts
from mitmesh.dialects.walk import count, items, more_than, obj, string, strings

type Slot = str
"""Which text of a choice: a field's name, or a tool call's."""

_NAME_LENGTH = 256
_MOST_CHOICES = 1000
_STRINGS = (
    ("reasoning_content", Kind.REASONING),
    ("reasoning", Kind.REASONING),
    ("content", Kind.TEXT),
    ("refusal", Kind.REFUSAL),
)
_BODIES = ("delta", "message")
_SAID = frozenset({"role", "content", "refusal", "reasoning_content", "tool_calls"})
_CALLED = frozenset({"id", "type", "index", "function"})
"""What is rendered again of a message or delta, and of a tool call."""
_BESIDE = frozenset({"citations", "search_results", "related_questions", "images"})
"""What some providers put beside the choices that belongs to the answer."""
_NO_TEXTS = frozenset({"type", "file_id", "id"})


def read_answer(doc: Any) -> Answer:
    """A whole JSON answer, an error one too. Never raises."""
    reader = Reader(sys.maxsize)
    reader.take(doc)
    reader.finish()
    reader.answer.complete = reader.finished
    return reader.answer


class Reader:
    """Reads one stream; complete with every choice's finish reason and `[DONE]`."""

    __slots__ = ("_seen", "answer", "cut", "parts")

    def __init__(self, limit: int) -> None:
        self.answer = Answer()
        self.cut = False
        self.parts = Parts(self.answer.parts, limit)
        self._seen: set[int] = set()

    @property
    def finished(self) -> bool:
        """Has every choice its finish reason, and did nothing fail?"""
        return self.answer.error is None and bool(self._seen) and not self.answer.open

    def feed(self, event: Event, doc: Any) -> None:
        """Take one event and its parsed payload, None for `[DONE]`."""
        if doc is not None:
            self.take(doc)
        elif event.data.startswith(b"[DONE]"):
            self.answer.complete = self.finished

    def finish(self) -> None:
        """The stream ended: join what was collected."""
        self.parts.close_all()

    def take(self, doc: Any) -> None:
        """Take a chunk, or a whole answer."""
        if not isinstance(doc, dict):
            return
        answer = self.answer
        if doc.get("error"):
            answer.error = error_word(doc["error"])
        if answer.model is None:
            answer.id, answer.model = answer.id or string(doc.get("id")), string(doc.get("model"))
        choices = items(doc.get("choices"))
        answer.beyond |= len(choices) > 1 or any(doc.get(name) for name in _BESIDE & doc.keys())
        for choice in choices:
            if isinstance(choice, dict):
                self._choice(choice)
        usage = doc.get("usage") or obj(doc.get("x_groq")).get("usage")
        if usage:
            answer.usage = read_usage(usage) or answer.usage

    def _choice(self, choice: dict[str, Any]) -> None:
        index = count(choice.get("index"))
        body = choice.get("delta") or choice.get("message")
        if isinstance(body, dict):
            for _, slot, kind, text in _spoken(body):
                self._say((index, slot), kind, text)
            if not ("reasoning" in body or "reasoning_content" in body):
                for text in _detailed(body):
                    self._say((index, "reasoning"), Kind.REASONING, text)
            if "tool_calls" in body or "function_call" in body:
                for _, slot, call, text, _ in _tool_calls(body):
                    self._call((index, slot), call, text)
            self.answer.beyond |= _is_beyond(body)
            if "audio" in body or "images" in body:
                self._opaque(index, body)
        if "text" in choice and isinstance(text := choice["text"], str):
            self._say((index, "text"), Kind.TEXT, text)
            self.answer.beyond = True  # completions have a form of their own
        self.answer.beyond |= index > 0 or bool(choice.get("logprobs"))
        finish = choice.get("finish_reason")
        if isinstance(finish, str):
            self._seen.add(index)
            if index in self.answer.open:
                self.answer.open.remove(index)
            self.answer.finish = self.answer.finish or finish[:_NAME_LENGTH]
        elif index not in self._seen and len(self._seen) < _MOST_CHOICES:
            self._seen.add(index)
            self.answer.open.append(index)

    def _say(self, key: tuple[int, Slot], kind: Kind, text: str) -> None:
        if text:
            known = self.parts.last(key)
            self.cut |= not (self.parts.add(key, text) if known else self.parts.open(key, Part(kind, text)))

    def _call(self, key: tuple[int, Slot], call: dict[str, Any], text: str) -> None:
        name, call_id = _name(call), _cut(call.get("id"))
        part = self.parts.last(key)
        # Gemini's OpenAI endpoint gives every call the index 0: a new id is a new call
        if part is None or (call_id and part.call_id and part.call_id != call_id):
            self.cut |= not self.parts.open(key, Part(Kind.TOOL_CALL, text, name, call_id))
            return
        part.name, part.call_id = part.name or name, part.call_id or call_id
        self.cut |= not self.parts.add(key, text)

    def _opaque(self, index: int, body: dict[str, Any]) -> None:
        for slot in ("audio", "images"):
            if body.get(slot) and self.parts.last((index, slot)) is None:
                self.cut |= not self.parts.open((index, slot), Part(Kind.OPAQUE))


def _is_beyond(body: dict[str, Any]) -> bool:
    """Is there more in a message or delta than is rendered again?"""
    if more_than(body, _SAID) or isinstance(body.get("content"), list):
        return True
    calls = items(body.get("tool_calls"))
    return any(more_than(obj(call), _CALLED) or obj(call).get("type") == "custom" for call in calls)


def texts(doc: Any) -> list[AnswerText]:
    """Every text position of a chunk, or of a whole answer."""
    found: list[AnswerText] = []
    for place, choice in enumerate(items(obj(doc).get("choices"))):
        if not isinstance(choice, dict):
            continue
        index = count(choice.get("index"))
        for body in _BODIES:
            if isinstance(said := choice.get(body), dict):
                found += _body_texts(said, ("choices", place, body), index)
        if text := string(choice.get("text")):
            found.append(AnswerText(("choices", place, "text"), f"{index}.text", Kind.TEXT, text))
    return found


def _body_texts(body: dict[str, Any], path: Path, index: int) -> list[AnswerText]:
    found = [AnswerText((*path, *at), f"{index}.{slot}", kind, text) for at, slot, kind, text in _spoken(body) if text]
    if "tool_calls" in body or "function_call" in body:
        for at, slot, _, text, is_json in _tool_calls(body):
            if text:
                found.append(AnswerText((*path, *at), f"{index}.{slot}", Kind.TOOL_CALL, text, is_json))
    if body.get("annotations"):
        cited = strings(body["annotations"], (*path, "annotations"), _NO_TEXTS)
        found += [AnswerText(at, "", Kind.TEXT, text) for at, text in cited]
    return found


def _spoken(body: dict[str, Any]) -> Iterator[tuple[Path, Slot, Kind, str]]:
    """The strings of a message or delta that a person may see: path within it, slot, kind, text."""
    for key, kind in _STRINGS:
        value = body.get(key)
        if isinstance(value, str):
            yield (key,), key, kind, value
        elif isinstance(value, list):
            yield from _chunks(value, key, kind)
    if isinstance(audio := body.get("audio"), dict) and isinstance(said := audio.get("transcript"), str):
        yield ("audio", "transcript"), "transcript", Kind.TEXT, said


def _chunks(chunks: list[Any], key: str, kind: Kind) -> Iterator[tuple[Path, Slot, Kind, str]]:
    """Content as a list of parts, as Mistral's reasoning models give it."""
    for place, chunk in enumerate(chunks):
        if not isinstance(chunk, dict):
            continue
        if isinstance(text := chunk.get("text"), str):
            yield (key, place, "text"), key, kind, text
        for step, thought in enumerate(items(chunk.get("thinking"))):
            if isinstance(text := obj(thought).get("text"), str):
                yield (key, place, "thinking", step, "text"), "thinking", Kind.REASONING, text


def _detailed(body: dict[str, Any]) -> Iterator[str]:
    """OpenRouter's `reasoning_details`, where `reasoning` does not say the same."""
    for block in items(body.get("reasoning_details")):
        for key in ("text", "summary"):
            if isinstance(text := obj(block).get(key), str):
                yield text


def _tool_calls(body: dict[str, Any]) -> Iterator[tuple[Path, Slot, dict[str, Any], str, bool]]:
    """Tool calls of a message or delta: the path of the arguments, a slot, the call, the arguments, are they JSON."""
    for place, call in enumerate(items(body.get("tool_calls"))):
        if isinstance(call, dict):
            index = call.get("index")
            slot = f"tool.{index if isinstance(index, int) else place}"
            inner, key = ("custom", "input") if isinstance(call.get("custom"), dict) else ("function", "arguments")
            text = obj(call.get(inner)).get(key)
            yield ("tool_calls", place, inner, key), slot, call, text if isinstance(text, str) else "", key != "input"
    if isinstance(call := body.get("function_call"), dict):
        text = call.get("arguments")
        yield ("function_call", "arguments"), "function_call", call, text if isinstance(text, str) else "", True


def _name(call: dict[str, Any]) -> str | None:
    inner = obj(call.get("function")) or obj(call.get("custom")) or call
    return _cut(inner.get("name"))


def _cut(value: Any) -> str | None:
    return value[:_NAME_LENGTH] if isinstance(value, str) and value else None
