"""Reading answers and streams of the Responses dialect."""

from __future__ import annotations

import sys
from typing import Any

from mitmesh.dialects.base import Answer, Event, Kind, OutputItem, Part
from mitmesh.dialects.openai_common import error_word, read_usage
from mitmesh.dialects.openai_responses_texts import channel, delta_kind
from mitmesh.dialects.parts import Parts
from mitmesh.dialects.walk import count, dump, items, more_than, obj, string

_NAME_LENGTH = 256
_MOST_ITEMS = 1000
_NAMES = ("id", "type", "call_id", "name", "namespace", "role", "phase", "server_label", "container_id")
"""What an item that did not become whole is said again with."""
_ENDS = frozenset({"completed", "incomplete"})
_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_DELTAS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.function_call_arguments.delta",
        "response.mcp_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.code_interpreter_call_code.delta",
    }
)
_RENDERED = {
    "message": frozenset({"id", "type", "status", "role", "content"}),
    "function_call": frozenset({"id", "type", "status", "call_id", "name", "arguments"}),
}
"""What is rendered again of which items; other items (reasoning is known by its id) are not."""
_TEXT = frozenset({"type", "text", "refusal"})
_INPUTS = ("arguments", "input", "code", "action", "operation", "queries")
"""Fields of an item that say what a tool is called with; the first that is there counts."""


def read_answer(doc: Any) -> Answer:
    """A whole JSON answer, an error one too. Never raises."""
    reader = Reader(sys.maxsize)
    if isinstance(doc, dict):
        reader.take_response(doc)
    reader.finish()
    return reader.answer


class Reader:
    """Reads one stream; complete with `response.completed` or `response.incomplete`."""

    __slots__ = ("_items", "answer", "cut", "parts")

    def __init__(self, limit: int) -> None:
        self.answer = Answer()
        self.cut = False
        self.parts = Parts(self.answer.parts, limit)
        self._items: dict[int, OutputItem] = {}

    def feed(self, event: Event, doc: Any) -> None:
        """Take one event and its parsed payload."""
        if not isinstance(doc, dict) or not isinstance(kind := doc.get("type"), str):
            return
        if kind in _DELTAS:
            self._delta(doc, kind[:-6])
        elif kind == "response.output_item.added":
            self._added(count(doc.get("output_index")), obj(doc.get("item")))
        elif kind == "response.output_item.done":
            self._done(count(doc.get("output_index")), obj(doc.get("item")))
        elif kind in _TERMINAL:
            self.take_response(obj(doc.get("response")))
        elif kind == "response.created":
            self._head(obj(doc.get("response")))
        elif kind == "error":
            self.answer.error = error_word(doc.get("error") or {"code": doc.get("code")})

    def finish(self) -> None:
        """The stream ended: join what was collected."""
        self.parts.close_all()

    def take_response(self, response: dict[str, Any]) -> None:
        """Take a whole response object. Its output counts where no event brought any (a stream taken up again)."""
        answer = self.answer
        self._head(response)
        answer.beyond |= any(_is_beyond(obj(item)) for item in items(response.get("output")))
        if not answer.parts:
            for index, item in enumerate(items(response.get("output"))):
                self._whole(index, obj(item))
        answer.usage = read_usage(response.get("usage")) or answer.usage
        if response.get("error"):
            answer.error = error_word(response["error"])
        status = response.get("status")
        if isinstance(status, str) and status not in ("in_progress", "queued"):
            reason = string(obj(response.get("incomplete_details")).get("reason"))
            answer.finish = (reason or status)[:_NAME_LENGTH]
            answer.complete = status in _ENDS and answer.error is None
            for part in answer.parts:
                part.item = None  # the whole answer said its items itself

    def _head(self, response: dict[str, Any]) -> None:
        self.answer.id = self.answer.id or string(response.get("id"))
        self.answer.model = self.answer.model or string(response.get("model"))

    def _delta(self, doc: dict[str, Any], stem: str) -> None:
        delta = doc.get("delta")
        if not isinstance(delta, str):
            return
        kind = delta_kind(stem)
        index = count(doc.get("output_index"))
        key = f"call:{index}" if kind is Kind.TOOL_CALL else channel(doc, stem)
        if self.parts.last(key):
            self.cut |= not self.parts.add(key, delta)
        else:
            self.cut |= not self.parts.open(key, Part(kind, delta, item=self._items.get(index)))

    def _added(self, index: int, item: dict[str, Any]) -> None:
        """An item begins; what a tool is called with follows in deltas, or with the whole item."""
        if len(self._items) < _MOST_ITEMS:
            self._items[index] = OutputItem(index, _names(item))
        if _is_call(item):
            part = _call(item, "")
            part.item = self._items.get(index)
            self.cut |= not self.parts.open(f"call:{index}", part)

    def _done(self, index: int, item: dict[str, Any]) -> None:
        """An item is whole: a tool call that had no deltas has its input here."""
        self.answer.beyond |= _is_beyond(item)
        if index in self._items:
            self._items[index].whole = item.get("status") in (None, "completed")
        if _is_call(item):
            key = f"call:{index}"
            if self.parts.last(key) is None:
                self.cut |= not self.parts.open(key, _call(item, _input(item)))
            else:
                if self.parts.is_empty(key):
                    self.cut |= not self.parts.add(key, _input(item))
                self.parts.close(key)
        elif string(item.get("type")) in _OPAQUE:
            self.cut |= not self.parts.open(f"item:{index}", Part(Kind.OPAQUE))

    def _whole(self, index: int, item: dict[str, Any]) -> None:
        if _is_call(item) or string(item.get("type")) in _OPAQUE:
            self._done(index, item)
        for key, kind in (("summary", Kind.REASONING), ("content", Kind.TEXT)):
            if key == "content" and item.get("type") == "reasoning":
                kind = Kind.REASONING
            for place, part in enumerate(items(item.get(key))):
                refusal = string(obj(part).get("refusal"))
                text = refusal or string(obj(part).get("text"))
                if text:
                    what = Kind.REFUSAL if refusal else kind
                    self.cut |= not self.parts.open(f"{index}.{key}.{place}", Part(what, text))


_OPAQUE = frozenset({"image_generation_call", "compaction"})


def _is_beyond(item: dict[str, Any]) -> bool:
    """Is there more in an item than is rendered again? One that was not finished is no whole item either."""
    known = _RENDERED.get(str(item.get("type")))
    if known is None or more_than(item, known) or item.get("status") not in (None, "completed"):
        return True
    return any(more_than(obj(part), _TEXT) for part in items(item.get("content")))


def _is_call(item: dict[str, Any]) -> bool:
    kind = item.get("type")
    return isinstance(kind, str) and kind.endswith("_call") and kind not in _OPAQUE


def _names(item: dict[str, Any]) -> dict[str, str]:
    """What it is called."""
    found = ((name, string(item.get(name))) for name in _NAMES)
    return {name: value for name, value in found if value and len(value) <= _NAME_LENGTH}


def _call(item: dict[str, Any], text: str) -> Part:
    """A tool call; a built-in tool's name is its item's type."""
    name = string(item.get("name")) or str(item["type"])
    call_id = string(item.get("call_id")) or string(item.get("id"))
    return Part(Kind.TOOL_CALL, text, name[:_NAME_LENGTH], call_id[:_NAME_LENGTH] if call_id else None)


def _input(item: dict[str, Any]) -> str:
    value = next((item[key] for key in _INPUTS if item.get(key)), "")
    return value if isinstance(value, str) else dump(value)
