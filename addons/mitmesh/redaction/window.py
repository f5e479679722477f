"""A stream that is looked at on its way: values the caller did not send are masked before they are passed on.

A value can only be told when it is whole, so events wait until their text has LOOKAHEAD characters behind it (or has
ended), and are searched in batches: together that is the window the rules declare.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mitmesh.dialects.base import AnswerText, Dialect, Event, Path
from mitmesh.redaction.escapes import EscapedText, is_escaped
from mitmesh.redaction.findings import Finding
from mitmesh.redaction.replace import MASK
from mitmesh.redaction.restore import besides, ended, rewritten

LONGEST = 16_384
"""Characters of a value that is waited for while it grows (a private key)."""

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
    searched: int = 0
    values: list[tuple[int, int]] = field(default_factory=list)

    @property
    def length(self) -> int:
        return self.base + len(self.text)


@dataclass(slots=True)
class _Waiting:
    event: Event
    doc: Any
    texts: list[tuple[Path, _Channel, int, str]]


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
    """One stream. `known` tells values the caller sent; `seen` is told of the others, and decides."""

    def __init__(self, dialect: Dialect, find: Find, known: Callable[[str], bool], seen: Seen, size: int) -> None:
        self._dialect, self._find, self._known, self._seen = dialect, find, known, seen
        self._batch = size // 4
        self._lookahead = size - self._batch
        self._queue: deque[_Waiting] = deque()
        self._channels: dict[str, _Channel] = {}
        self._unsearched = 0

    async def feed(self, event: Event, doc: Any) -> list[Event]:
        """Take one event; the events that may go on. Raises FinderFailed."""
        waiting = _Waiting(event, doc, [])
        ends = self._dialect.ends(doc) if event.data else []
        now = False
        texts = [(text.path, text.channel, text.text, text.is_json) for text in self._texts(doc)]
        for path, name, text, is_json in [*texts, *((path, "", text, is_json) for path, text, is_json in besides(doc))]:
            channel = self._channel(name, is_json)
            waiting.texts.append((path, channel, channel.length, text))
            channel.text += text
            self._unsearched += len(text)
            if not name:
                channel.whole = now = True
        self._queue.append(waiting)
        for name in [name for name in self._channels if ended(name, ends)]:
            self._channels.pop(name).whole = now = True
        if now or self._unsearched >= self._batch:
            await self._search()
        return self._released()

    async def end(self) -> list[Event]:
        """The stream has ended: all that is left. Raises FinderFailed."""
        for channel in self._channels.values():
            channel.whole = True
        await self._search()
        return self._released()

    def _texts(self, doc: Any) -> list[AnswerText]:
        return self._dialect.event_texts(doc) if doc is not None else []

    def _channel(self, name: str, is_json: bool) -> _Channel:
        channel = self._channels.get(name) if name else None
        if channel is None:
            channel = _Channel(is_json)
            if name:
                self._channels[name] = channel
        return channel

    async def _search(self) -> None:
        """Look at every text that has grown or ended."""
        waiting = {id(channel): channel for item in self._queue for _, channel, _, _ in item.texts}
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
            first = self._queue[0]
            if any(channel.settled < start + len(text) for _, channel, start, text in first.texts):
                break
            self._queue.popleft()
            released.append(self._masked(first))
        return released

    def _masked(self, item: _Waiting) -> Event:
        changed = {}
        for path, channel, start, text in item.texts:
            new = masked(text, start, channel.values, is_json=channel.is_json)
            if new != text:
                changed[path] = (text, new)
        return rewritten(item.event, item.doc, changed) if changed else item.event


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
