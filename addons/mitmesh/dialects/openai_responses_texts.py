"""Where the texts are in answers and stream events of the Responses dialect."""

from __future__ import annotations

from typing import Any

from mitmesh.dialects.base import AnswerText, Kind, Path
from mitmesh.dialects.walk import count, items, obj, string, strings

_DELTA_KINDS = {
    "response.output_text": Kind.TEXT,
    "response.audio.transcript": Kind.TEXT,
    "response.refusal": Kind.REFUSAL,
    "response.reasoning_text": Kind.REASONING,
    "response.reasoning_summary_text": Kind.REASONING,
    "response.reasoning_summary": Kind.REASONING,
}
_PART_KINDS = {
    "output_text": Kind.TEXT,
    "refusal": Kind.REFUSAL,
    "reasoning_text": Kind.REASONING,
    "summary_text": Kind.REASONING,
}
_DONE_KEYS = ("text", "refusal", "arguments", "input", "code", "command", "diff", "transcript")
_INDICES = ("content_index", "summary_index", "command_index")
_CALL_FIELDS = ("arguments", "input", "code", "action", "operation", "queries", "output", "outputs", "results")
_MEDIA = frozenset({"response.audio", "response.image_generation_call.partial_image"})
_SKIP = frozenset({"type", "id", "status", "file_id", "image_url", "url"})


def delta_kind(stem: str) -> Kind:
    """What the deltas of an event type (without its `.delta`) are; whatever is not spoken is a tool call's."""
    return _DELTA_KINDS.get(stem, Kind.TOOL_CALL)


def answer_texts(doc: Any) -> list[AnswerText]:
    """Every text position of a whole answer's output."""
    return _output(obj(doc).get("output"), ("output",), "response")


def event_texts(doc: Any) -> list[AnswerText]:
    """Every text position of one event's payload."""
    if not isinstance(doc, dict) or not isinstance(kind := doc.get("type"), str):
        return []
    stem, _, end = kind.rpartition(".")
    if end == "delta":
        delta = doc.get("delta")
        if not delta or not isinstance(delta, str) or stem in _MEDIA:
            return []
        return [AnswerText(("delta",), channel(doc, stem), delta_kind(stem), delta, stem.endswith("arguments"))]
    if isinstance(part := doc.get("part"), dict):
        return _part(part, ("part",), f"{channel(doc, stem)}.{end}")
    if isinstance(item := doc.get("item"), dict):
        return _item(item, ("item",), f"{channel(doc, stem)}.{end}")
    if isinstance(annotation := doc.get("annotation"), dict):
        return _whole(annotation, ("annotation",))
    if isinstance(response := doc.get("response"), dict):
        return _output(response.get("output"), ("response", "output"), end)
    if end != "done":
        return []
    found = [(key, text) for key in _DONE_KEYS if (text := string(doc.get(key)))]
    name = f"{channel(doc, stem)}.done"
    return [AnswerText((key,), f"{name}.{key}", delta_kind(stem), text, key == "arguments") for key, text in found]


def channel(doc: dict[str, Any], stem: str) -> str:
    """A name for the text that events of this type continue: type, output item, part of it."""
    index = next((doc[key] for key in _INDICES if key in doc), 0)
    return f"{stem}:{count(doc.get('output_index'))}:{count(index)}"


def _output(output: Any, path: Path, name: str) -> list[AnswerText]:
    found: list[AnswerText] = []
    for index, item in enumerate(items(output)):
        if isinstance(item, dict):
            found += _item(item, (*path, index), f"{name}.{index}")
    return found


def _item(item: dict[str, Any], path: Path, name: str) -> list[AnswerText]:
    found: list[AnswerText] = []
    for key in ("summary", "content"):
        for index, part in enumerate(items(item.get(key))):
            if isinstance(part, dict):
                found += _part(part, (*path, key, index), f"{name}.{key}.{index}")
    for key in _CALL_FIELDS:
        if key in item:
            found += _field(item[key], (*path, key), f"{name}.{key}", key)
    return found


def _field(value: Any, path: Path, name: str, key: str) -> list[AnswerText]:
    if isinstance(value, str):
        return [AnswerText(path, name, Kind.TOOL_CALL, value, key == "arguments")] if value else []
    found = strings(value, path, _SKIP)
    return [AnswerText(at, f"{name}.{number}", Kind.TOOL_CALL, text) for number, (at, text) in enumerate(found)]


def _part(part: dict[str, Any], path: Path, name: str) -> list[AnswerText]:
    kind = part.get("type")
    what = _PART_KINDS.get(kind, Kind.TEXT) if isinstance(kind, str) else Kind.TEXT
    found = [
        AnswerText((*path, key), f"{name}.{key}", what, text)
        for key in ("text", "refusal", "transcript")
        if (text := string(part.get(key)))
    ]
    return found + _whole(part["annotations"], (*path, "annotations")) if part.get("annotations") else found


def _whole(value: Any, path: Path) -> list[AnswerText]:
    """Strings that come whole: each is a text of its own and continues nothing (an empty channel)."""
    return [AnswerText(at, "", Kind.TEXT, text) for at, text in strings(value, path, _SKIP - {"url"})]
