"""Reading what Gemini answers: whole answers, stream chunks (each an answer of its own), errors, usage."""

from __future__ import annotations

from typing import Any

from mitmesh.dialects.base import Answer, AnswerText, Event, Kind, Part, Path, Provenance, Text, Usage
from mitmesh.dialects.gemini_parts import camel, read_part
from mitmesh.dialects.parts import Parts
from mitmesh.dialects.walk import Finder, count, dump, items, more_than, obj, string, strings

NO_TEXTS = frozenset(
    {"role", "finishReason", "modelVersion", "responseId", "blockReason", "category", "probability", "mimeType"}
    | {"createTime", "urlRetrievalStatus", "status", "@type"}
)
"""Keys outside of parts whose strings, where they look like a name, are no texts."""
_MOST_CANDIDATES = 1000
_CANDIDATE = frozenset({"content", "finishReason", "index", "safetyRatings", "avgLogprobs", "tokenCount", "score"})
_PART = frozenset({"text", "thought", "functionCall"})
_CALL = frozenset({"id", "name", "args"})
"""What of a candidate, a part and a call is rendered again, or says nothing of the answer. What is signed is not."""


def read_answer(doc: Any) -> Answer:
    """A whole answer; a list is a stream read as one document."""
    reader = Reader(2**63)
    for chunk in doc if isinstance(doc, list) else [doc]:
        reader.feed(Event(b""), chunk)
    reader.finish()
    answer = reader.answer
    fields = obj(doc)
    if any(key in fields for key in ("totalTokens", "embedding", "embeddings", "models")):
        answer.complete = answer.error is None
    return answer


def usage(doc: dict[str, Any]) -> Usage:
    """Google's usage as ours. What tools put into the prompt and what was thought are counted apart from prompt and
    candidates; cached tokens are within the prompt."""
    thoughts = count(doc.get("thoughtsTokenCount"))
    return Usage(
        prompt=count(doc.get("promptTokenCount")) + count(doc.get("toolUsePromptTokenCount")),
        completion=count(doc.get("candidatesTokenCount")) + thoughts,
        cache_read=count(doc.get("cachedContentTokenCount")),
        reasoning=thoughts,
    )


class Reader:
    """Builds an Answer from chunks. Complete once each candidate seen gave its finish reason; a Gemini stream has no
    closing event."""

    __slots__ = ("_seen", "_usage", "answer", "cut", "parts")

    def __init__(self, limit: int) -> None:
        self.answer = Answer()
        self.cut = False
        self.parts = Parts(self.answer.parts, limit)
        self._usage: dict[str, Any] = {}
        self._seen: set[int] = set()

    def feed(self, event: Event, doc: Any) -> None:
        """Take one chunk."""
        if not isinstance(doc, dict):
            return
        answer = self.answer
        if "error" in doc:
            error = obj(doc["error"])
            answer.error = string(error.get("status")) or str(count(error.get("code")) or "error")
        answer.id = string(doc.get("responseId")) or answer.id
        answer.model = string(doc.get("modelVersion")) or answer.model
        candidates = items(doc.get("candidates"))
        answer.beyond |= len(candidates) > 1
        for candidate in candidates:
            self._candidate(obj(candidate))
        if reason := string(obj(doc.get("promptFeedback")).get("blockReason")):
            answer.finish = reason
        if isinstance(counted := doc.get("usageMetadata"), dict):
            self._usage.update(counted)  # cumulative: what a later chunk does not say again stands
            answer.usage = usage(self._usage)
        answer.complete = answer.error is None and answer.finish is not None and not answer.open

    def finish(self) -> None:
        """The stream ended."""
        self.parts.close_all()

    def _candidate(self, candidate: dict[str, Any]) -> None:
        index = count(candidate.get("index"))
        if index not in self._seen and len(self._seen) < _MOST_CANDIDATES:
            self._seen.add(index)
            self.answer.open.append(index)
        self.answer.beyond |= index > 0 or more_than(candidate, _CANDIDATE)
        for part in items(obj(candidate.get("content")).get("parts")):
            self._part(index, obj(part))
        if reason := string(candidate.get("finishReason")):
            if index in self.answer.open:
                self.answer.open.remove(index)
            if index == 0 or self.answer.finish is None:
                self.answer.finish = reason

    def _part(self, index: int, doc: dict[str, Any]) -> None:
        self.answer.beyond |= more_than(doc, _PART) or more_than(obj(doc.get("functionCall")), _CALL)
        part = as_part(doc)
        if part is None:
            return
        before = self.parts.last(index)
        continues = part.kind in (Kind.TEXT, Kind.REASONING) or (part.kind is Kind.TOOL_CALL and not part.name)
        if before and before.kind is part.kind and continues:
            self.cut |= not self.parts.add(index, part.text)
        elif part.text or part.kind not in (Kind.TEXT, Kind.REASONING):
            self.cut |= not self.parts.open(index, part)


def as_part(doc: dict[str, Any]) -> Part | None:
    """A part of an answer as ours; None where there is nothing in it. Of arguments that come in pieces (Vertex's
    `partialArgs`) the strings are kept, joined."""
    if isinstance(text := doc.get("text"), str):
        return Part(Kind.REASONING if doc.get("thought") is True else Kind.TEXT, text)
    for key in ("functionCall", "toolCall"):
        if isinstance(call := doc.get(key), dict):
            name = string(call.get("name")) or string(call.get("toolType"))
            pieces = [string(obj(piece).get("stringValue")) or "" for piece in items(call.get("partialArgs"))]
            text = "".join(pieces) if "args" not in call and ("partialArgs" in call or not name) else None
            return Part(
                Kind.TOOL_CALL, dump(obj(call.get("args"))) if text is None else text, name, string(call.get("id"))
            )
    kind = next((key for key in doc if key not in ("thought", "thoughtSignature")), None)
    return Part(Kind.OPAQUE, name=kind) if kind else None


def answer_texts(doc: Any) -> list[AnswerText]:
    """The text positions of a whole answer or of one chunk (`path` begins with an index where `doc` is a list)."""
    if isinstance(doc, list):
        return [text for index, chunk in enumerate(doc) for text in _chunk_texts(chunk, (index,))]
    return _chunk_texts(doc, ())


def _chunk_texts(doc: Any, base: Path) -> list[AnswerText]:
    found: list[AnswerText] = []
    for key, value in obj(doc).items():
        if key == "candidates" and isinstance(value, list):
            for index, candidate in enumerate(value):
                found += _candidate_texts(obj(candidate), (*base, key, index))
        elif key != "usageMetadata":
            found += _whole({key: value}, base)
    return found


def _candidate_texts(candidate: dict[str, Any], path: Path) -> list[AnswerText]:
    found: list[AnswerText] = []
    number = count(candidate.get("index"))
    for key, value in candidate.items():
        if key != "content":
            found += _whole({key: value}, path)
            continue
        for name, below in obj(value).items():
            if name == "parts":
                for index, part in enumerate(items(below)):
                    found += _part_texts(part, (*path, key, name, index), number)
            else:
                found += _whole({name: below}, (*path, key))
    return found


def _part_texts(part: Any, path: Path, candidate: int) -> list[AnswerText]:
    """A part's own text continues that of the candidate's earlier parts; any other string is a text of its own."""
    if isinstance(part, dict) and isinstance(text := part.get("text"), str):
        kind = Kind.REASONING if part.get("thought") is True else Kind.TEXT
        own = [AnswerText((*path, "text"), f"{candidate}.{kind}", kind, text)] if text else []
        if len(part) == 1:
            return own
        return own + _part_texts({key: value for key, value in part.items() if key != "text"}, path, candidate)
    find = Finder()
    find.provider = True
    read_part(find, part, path, Provenance.ASSISTANT, 0)
    return [_exchanged_text(text, part, len(path), candidate) for text in find.texts]


def _exchanged_text(text: Text, part: Any, depth: int, candidate: int) -> AnswerText:
    """A string of a call or another part; the pieces of one argument (`partialArgs`) continue each other."""
    inside = text.path[depth:]
    called = bool(inside) and camel(str(inside[0])) in ("functionCall", "toolCall")
    channel = ""
    if called and inside[-1] == "stringValue" and inside[1:2] == ("partialArgs",):
        piece = obj(part[inside[0]]["partialArgs"][inside[2]])
        channel = f"{candidate}.{piece.get('jsonPath')}"
    return AnswerText(text.path, channel, Kind.TOOL_CALL if called else Kind.TEXT, text.text)


def _whole(value: Any, path: Path) -> list[AnswerText]:
    """Strings that come whole: each is a text of its own and continues nothing (an empty channel)."""
    return [AnswerText(at, "", Kind.TEXT, text) for at, text in strings(value, path, NO_TEXTS)]
