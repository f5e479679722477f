"""Putting the caller's own values back: in whole answers, and in streams as they come."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mitmesh.dialects.base import AnswerText, Dialect, Event, Kind, Path
from mitmesh.dialects.walk import obj, strings
from mitmesh.redaction.members import restore_names
from mitmesh.redaction.nesting import Nesting, is_document
from mitmesh.redaction.placeholders import Table
from mitmesh.redaction.remains import MAY_BE_SIGNED, remains
from mitmesh.wire.awsmessage import is_message, with_data
from mitmesh.wire.jsontext import Body
from mitmesh.wire.splice import dumps

if TYPE_CHECKING:
    from mitmesh.dialects.base import Answer

_REPEATED = ("error", "instructions", "metadata", "user", "tools", "prompt", "safety_identifier", "prompt_cache_key")
"""Fields of the request that OpenAI's response objects repeat, and errors, which may quote it."""
_NAMED = re.compile(rb'(?:>|u003[eE])[^"]*"\s*:')
"""What may be a placeholder in the name of a member."""
_MARKS = (b"<", b"u003")
"""What every placeholder has."""
_SIGNS = (*_MARKS, b"\\\\", b'\\"')
"""What an event has in it that holds a placeholder, or a quote that tells where in a JSON document one lies."""
_DATA_LINE = re.compile(rb"^data:[^\r\n]*\r?\n?", re.MULTILINE)


def restore_body(body: Body, dialect: Dialect, table: Table, *, structured: bool = False) -> None:
    """Put the values back into a whole JSON answer: its texts, its error message, and whatever else is not signed.
    `structured`: the visible text is itself a JSON document."""
    if not any(mark in body.raw for mark in _MARKS):
        return
    texts = [(text.path, text.text, is_json(text, structured)) for text in dialect.answer_texts(body.doc)]
    texts += besides(body.doc)
    texts += [(text.path, text.text, False) for text in remains(body.doc, [path for path, _, _ in texts])]
    for path, text, inner in texts:
        if (restored := restore_whole(text, table, is_json=inner)) != text:
            body.set(path, restored)
    if _NAMED.search(body.raw):
        restore_names(body, table)


def restore_whole(text: str, table: Table, *, is_json: bool) -> str:
    """Put the values back into one whole text: `is_json` says that it is a JSON document, as others may be too."""
    if "<" not in text and "\\u003" not in text:
        return text
    return table.restore(text, Nesting() if is_json or is_document(text) else None)


def besides(doc: Any) -> Iterator[tuple[Path, str, bool]]:
    """What else of an answer or event may quote the request: an error's message, and what a provider repeats of it."""
    if not isinstance(doc, dict):
        return
    for base, fields in (((), doc), (("response",), obj(doc.get("response")))):
        for key in _REPEATED:
            if value := fields.get(key):
                yield from ((path, text, False) for path, text in strings(value, (*base, key)))
    if doc.get("type") == "error" and isinstance(doc.get("message"), str):
        yield ("message",), doc["message"], False


def restore_answer(answer: Answer, table: Table, *, structured: bool = False) -> None:
    """The same for an answer of our own (a cache's), before it is rendered."""
    for part in answer.parts:
        inner = part.kind is Kind.TOOL_CALL or (structured and part.kind is Kind.TEXT)
        part.text = restore_whole(part.text, table, is_json=inner)


def is_json(text: AnswerText, structured: bool) -> bool:
    """Is what this text belongs to a JSON document of its own?"""
    return text.is_json or (structured and text.kind is Kind.TEXT)


@dataclass(slots=True)
class _Held:
    """The end of a text that may be the beginning of a placeholder, and the event it came in."""

    text: str
    event: Event
    doc: Any
    path: Path


class RestoreStream:
    """The transform of one stream. Every event goes on at once, without the end of its text that may be the beginning
    of a placeholder; that comes with the text's next event, or before the event that ends the text."""

    __slots__ = ("_dialect", "_held", "_nestings", "_structured", "_table", "_undecided")

    def __init__(self, dialect: Dialect, table: Table, *, structured: bool = False) -> None:
        self._dialect, self._table, self._structured = dialect, table, structured
        self._held: dict[str, _Held] = {}
        self._nestings: dict[str, Nesting] = {}
        self._undecided = False

    def event(self, event: Event, doc: Any) -> Sequence[Event] | None:
        """See Transform."""
        data = event.data
        if not self._held and not self._undecided and not any(sign in data for sign in _SIGNS):
            return None
        if not data:
            return [*self.end(), event] if event.raw.strip() == b"]" else None  # a JSON array's end
        ends = self._dialect.ends(doc)
        if self._held and doc is not None and self._dialect.one_at_a_time:
            present = {text.channel for text in self._dialect.event_texts(doc)}
            ends = [*ends, *(channel for channel in self._held if channel not in present)]
        changed = self._texts(event, doc, ends) if doc is not None else {}
        before = self._released(ends)
        self._undecided = any(nesting.undecided for nesting in self._nestings.values())
        new = rewritten(event, doc, changed) if changed else event
        if _NAMED.search(data):
            new = self._named(new)
        return None if new is event and not before else [*before, new]

    def _named(self, event: Event) -> Event:
        """The event with the values in names of members too."""
        body = Body(event.data, json.loads(event.data))
        restore_names(body, self._table)
        return framed(event, body.render()) if body.changed else event

    def end(self) -> Sequence[Event]:
        """See Transform: what is left unfinished passes as it is."""
        return self._released([""])

    def _texts(self, event: Event, doc: Any, ends: Sequence[str]) -> dict[Path, tuple[str, str]]:
        """The event's texts that become something else: as they are, and as they become."""
        changed: dict[Path, tuple[str, str]] = {}
        texts, beside = self._dialect.event_texts(doc), list(besides(doc))
        if self._held or any(mark in event.data for mark in _MARKS):
            taken = [*(text.path for text in texts), *(path for path, _, _ in beside)]
            texts = [*texts, *remains(doc, taken, MAY_BE_SIGNED)]
        for text in texts:
            held = self._held.pop(text.channel, None) if text.channel else None
            whole = held.text + text.text if held else text.text
            if text.channel and not ended(text.channel, ends) and (kept := self._table.held(whole)):
                self._held[text.channel] = _Held(whole[-kept:], event, doc, text.path)
                whole = whole[:-kept]
            new = self._restored(whole, text)
            if new != text.text:
                changed[text.path] = (text.text, new)
        for path, said, _ in beside:
            if (new := self._table.restore(said)) != said:
                changed[path] = (said, new)
        return changed

    def _restored(self, said: str, text: AnswerText) -> str:
        """What was said of a text (an end that is held not yet), with the values."""
        if not text.channel:
            return restore_whole(said, self._table, is_json=is_json(text, self._structured))
        if not is_json(text, self._structured):
            return self._table.restore(said)
        return self._table.restore(said, self._nestings.setdefault(text.channel, Nesting()))

    def _released(self, ends: Sequence[str]) -> list[Event]:
        """Events with what was held of the texts that end now."""
        for channel in [channel for channel in self._nestings if ended(channel, ends)]:
            del self._nestings[channel]
        if not self._held or not ends:
            return []
        released = []
        for channel in [channel for channel in self._held if ended(channel, ends)]:
            held = self._held.pop(channel)
            released.append(_more(held, self._dialect.more(held.doc, held.path, held.text)))
        return released


def ended(channel: str, ends: Sequence[str]) -> bool:
    """Is this channel among those that `Dialect.ends` names?"""
    return any(not end or channel == end or channel.startswith(end + ".") for end in ends)


def rewritten(event: Event, doc: Any, changed: dict[Path, tuple[str, str]]) -> Event:
    """The event with other texts (`changed`: the old and the new by path); all else keeps its bytes."""
    data = event.data
    try:
        for old, new in changed.values():
            said = dumps(old).encode()
            if data.count(said) != 1:  # it is written otherwise, or stands there twice: its place has to be found
                data = _spliced(event, doc, changed)
                break
            data = data.replace(said, dumps(new).encode())
    except UnicodeEncodeError:  # a lone surrogate: half of a character, the other half is in the next event
        data = _spliced(event, doc, changed)
    return framed(event, data)


def _spliced(event: Event, doc: Any, changed: dict[Path, tuple[str, str]]) -> bytes:
    body = Body(event.data, doc)
    for path, (_, text) in changed.items():
        body.set(path, text)
    return rendered(body)


def rendered(body: Body) -> bytes:
    """An event's payload with its edits."""
    try:
        return body.render()
    except ValueError:  # the surrogate again: written anew, it stays an escape
        return json.dumps(body.doc).encode()


def framed(event: Event, data: bytes) -> Event:
    """The event with other data."""
    if is_message(event.raw):
        return Event(with_data(event.raw, data), data, event.name)
    at = event.raw.rfind(event.data)
    if at >= 0:
        raw = event.raw[:at] + data + event.raw[at + len(event.data) :]
    else:
        lines = b"".join(b"data: " + line + b"\n" for line in data.split(b"\n"))
        first = _DATA_LINE.search(event.raw)
        begin = first.start() if first else 0
        raw = event.raw[:begin] + lines + _DATA_LINE.sub(b"", event.raw[begin:])
    return Event(raw, data, event.name)


def _more(held: _Held, doc: Any) -> Event:
    """An event of ours that carries on the text of another."""
    body = Body(b"{}", None)
    body.set((), doc)
    data = body.render()
    raw = held.event.raw.lstrip()
    if raw[:1] in (b"[", b","):
        return Event(b"," + data, data)
    return framed(held.event, data)
