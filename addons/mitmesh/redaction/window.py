"""A stream that is looked at on its way: values the caller did not send are masked before they are passed on.

A value can only be told when it is whole, so events wait until their text has LOOKAHEAD characters behind it (or has
ended), and are searched in batches: together that is the window the rules declare.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mitmesh.dialects.base import AnswerText, Dialect, Event, Kind, Path, Text
from mitmesh.redaction.escapes import EscapedText, is_escaped
from mitmesh.redaction.findings import Finding
from mitmesh.redaction.members import members, write_members
from mitmesh.redaction.remains import TOKENS, remains, token_lists
from mitmesh.redaction.replace import MASK
from mitmesh.redaction.restore import besides, ended, framed, rendered, rewritten
from mitmesh.wire.charset import decoded, encoded
from mitmesh.wire.jsontext import Body

LONGEST = 16_384
"""Characters of a value that is waited for while it grows (a private key)."""

DONE = b"[DONE]"
"""The end mark of OpenAI's streams, the only data that is no JSON of any API of ours."""
_MOST_CLEAN, _LONGEST_CLEAN = 500, 200
"""Strings in which nothing was found that are remembered, and characters of each: ids and names come in every event."""

type Find = Callable[[Sequence[str]], Awaitable[list[list[Finding]]]]
type Seen = Callable[[Iterable[str]], bool]
"""Is told the types of values that are masked; false where nothing is to be changed."""


@dataclass(slots=True)
class _Channel:
    """One text as far as it came: what is kept of it begins at `base`; up to `settled` nothing more will be found."""

    is_json: bool
    text: str = ""
    base: int = 0
    settled: int = 0
    whole: bool = False
    single: bool = False
    """Is it a text that came whole, in one event?"""
    searched: int = 0
    values: list[tuple[int, int]] = field(default_factory=list)

    @property
    def length(self) -> int:
        return self.base + len(self.text)


@dataclass(slots=True)
class _Waiting:
    event: Event
    doc: Any
    texts: list[tuple[Path, _Channel, int, str]] = field(default_factory=list)
    members: list[tuple[Text, _Channel]] = field(default_factory=list)
    tokens: list[tuple[Path, Any]] = field(default_factory=list)

    def ready(self) -> bool:
        """Is all of it settled?"""
        return all(channel.settled >= start + len(text) for _, channel, start, text in self.texts) and all(
            channel.settled >= channel.length for _, channel in self.members
        )


@dataclass(slots=True)
class _Found:
    """A finding, or a part of one, by its place in the text as written; the value is as it is read."""

    start: int
    end: int
    type: str
    value: str


def _as_written(view: EscapedText | None, text: str, findings: Iterable[Finding]) -> Iterator[_Found]:
    for found in findings:
        value = (view.text if view else text)[found.start : found.end]
        for start, end in view.written(found.start, found.end) if view else [(found.start, found.end)]:
            yield _Found(start, end, found.type, value)


class Window:
    """One stream. `known` tells values the caller sent; `seen` is told of the others, and decides. `strict`: what says
    a text once more, token by token, is taken out."""

    def __init__(
        self, dialect: Dialect, find: Find, known: Callable[[str], bool], seen: Seen, size: int, *, strict: bool = True
    ) -> None:
        self._dialect, self._find, self._known, self._seen = dialect, find, known, seen
        self._batch = size // 4
        self._lookahead = size - self._batch
        self._queue: deque[_Waiting] = deque()
        self._channels: dict[str, _Channel] = {}
        self._unsearched = 0
        self._strict = strict
        self._clean: set[str] = set()

    async def feed(self, event: Event, doc: Any) -> list[Event]:
        """Take one event; the events that may go on. Raises FinderFailed."""
        waiting = _Waiting(event, doc)
        self._queue.append(waiting)
        texts = self._texts(doc) if doc is not None else _plain(event)
        for text in texts:
            if text.channel or text.text not in self._clean:
                channel = self._channel(text.channel, text.is_json)
                waiting.texts.append((text.path, channel, channel.length, text.text))
                channel.text += text.text
                self._unsearched += len(text.text) if text.channel else 0
        for member in members(doc):
            waiting.members.append((member, _Channel(False, member.text, whole=True, single=True)))
        if self._strict and any(name.encode() in event.data for name in TOKENS):
            waiting.tokens = token_lists(doc)
        now = self._end({text.channel for text in texts}, event, doc)
        # What comes whole beside a text that streams waits with it for the next search.
        alone = (waiting.texts or waiting.members) and not any(text.channel for text in texts)
        if now or alone or self._unsearched >= self._batch:
            await self._search()
        return self._released()

    def _end(self, present: set[str], event: Event, doc: Any) -> bool:
        """Close the channels that get no more text; are there any?"""
        ends = self._dialect.ends(doc) if doc is not None or event.data == DONE else []
        closed = [name for name in self._channels if ended(name, ends)]
        for name in (
            self._channels.keys() - present - set(closed)
        ):  # no field of a text, so perhaps it never comes again
            choice, unknown, _ = name.partition(".~")
            passed = unknown and any(other.startswith(f"{choice}.") for other in present)
            if passed or (doc is not None and self._dialect.one_at_a_time):
                closed.append(name)
        for name in closed:
            self._channels.pop(name).whole = True
        return bool(closed)

    async def end(self) -> list[Event]:
        """The stream has ended: all that is left. Raises FinderFailed."""
        for channel in self._channels.values():
            channel.whole = True
        await self._search()
        return self._released()

    def _texts(self, doc: Any) -> list[AnswerText]:
        """All that an event says: its texts, and whatever else is a string in it."""
        texts = list(self._dialect.event_texts(doc))
        texts += [AnswerText(path, "", Kind.OPAQUE, text, is_json) for path, text, is_json in besides(doc)]
        skip = TOKENS if self._strict else frozenset[str]()
        return texts + remains(doc, [text.path for text in texts], skip)

    def _channel(self, name: str, is_json: bool) -> _Channel:
        channel = self._channels.get(name) if name else None
        if channel is None:
            channel = _Channel(is_json, whole=not name, single=not name)
            if name:
                self._channels[name] = channel
        return channel

    async def _search(self) -> None:
        """Look at every text that has grown or ended."""
        waiting = {id(channel): channel for item in self._queue for _, channel, _, _ in item.texts}
        waiting |= {id(channel): channel for item in self._queue for _, channel in item.members}
        grown = [c for c in waiting.values() if c.length > c.searched or (c.whole and c.settled < c.length)]
        self._unsearched = 0
        if not grown:
            return
        # Of JSON only what has come is there, without its beginning: its escapes are read, not its strings.
        views = [EscapedText(c.text) if c.is_json or is_escaped(c.text) else None for c in grown]
        found = await self._find([view.text if view else c.text for view, c in zip(views, grown, strict=True)])
        for channel, view, findings in zip(grown, views, found, strict=True):
            self._settle(channel, list(_as_written(view, channel.text, findings)))

    def _settle(self, channel: _Channel, findings: list[_Found]) -> None:
        channel.searched = channel.length
        settled = channel.length if channel.whole else max(channel.settled, channel.length - self._lookahead)
        types = []
        for finding in findings:
            start, end = channel.base + finding.start, channel.base + finding.end
            if end <= channel.settled or self._known(finding.value):
                continue
            if end == channel.length and not channel.whole and end - start < LONGEST:
                settled = min(settled, max(start, channel.settled))  # it may go on
                continue
            if start >= settled:
                continue  # it will be found again
            channel.values = [(a, b) for a, b in channel.values if b <= start or a >= end]
            channel.values.append((start, end))
            settled = max(settled, min(end, channel.length))
            types.append(finding.type)
        if types and not self._seen(types):
            channel.values = []
        channel.settled = settled
        if channel.single and not findings and settled <= _LONGEST_CLEAN and len(self._clean) < _MOST_CLEAN:
            self._clean.add(channel.text)
        kept = max(0, settled - channel.base - 2 * self._lookahead)  # context for what comes
        if kept and self._all_released(channel, channel.base + kept):
            channel.text, channel.base = channel.text[kept:], channel.base + kept
            channel.values = [(start, end) for start, end in channel.values if end > channel.base]

    def _all_released(self, channel: _Channel, before: int) -> bool:
        """Does nothing that waits still need the text before that place?"""
        return all(start >= before for item in self._queue for _, of, start, _ in item.texts if of is channel)

    def _released(self) -> list[Event]:
        released = []
        while self._queue:
            if not self._queue[0].ready():
                break
            released.append(self._masked(self._queue.popleft()))
        return released

    def _masked(self, item: _Waiting) -> Event:
        changed = {}
        for path, channel, start, text in item.texts:
            new = masked(text, start, channel.values, is_json=channel.is_json)
            if new != text:
                changed[path] = (text, new)
        named = {n: MASK for n, (_, channel) in enumerate(item.members) if channel.values}
        if not changed and not named and not item.tokens:
            return item.event
        if item.doc is None:
            return framed(item.event, encoded(changed[()][1], decoded(item.event.data)[1]))
        if not named and not item.tokens:
            return rewritten(item.event, item.doc, changed)
        body = Body(item.event.data, item.doc)
        for path, (_, new) in changed.items():
            body.set(path, new)
        for path, instead in item.tokens:
            body.set(path, instead)
        write_members(body, [member for member, _ in item.members], named)
        return framed(item.event, rendered(body))


def _plain(event: Event) -> list[AnswerText]:
    """What an event says that is no JSON, or one that nobody could read: a text."""
    if not event.data or event.data == DONE:
        return []
    return [AnswerText((), "data", Kind.TEXT, decoded(event.data)[0])]


def masked(text: str, offset: int, values: Iterable[tuple[int, int]], *, is_json: bool) -> str:
    """A piece of a text, which begins at `offset` of it, without these values: asterisks where one begins, nothing
    where it goes on. A bare number in JSON becomes a string."""
    out, copied = [], 0
    for start, end in sorted(values):
        left, right = start - offset, end - offset
        if right <= 0 or left >= len(text):
            continue
        before = text[copied : max(left, 0)]
        out.append(before)
        if left >= 0:
            bare = is_json and before.rstrip()[-1:] in (":", ",", "[")
            out.append(f'"{MASK}"' if bare else MASK)
        copied = max(copied, min(right, len(text)))
    return "".join(out) + text[copied:]
