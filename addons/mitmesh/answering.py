"""From an answer's bytes to an Answer, and from a stream's events to the client, as they come."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mitmesh.dialects.base import Answer, Event, Framing, Refusal
from mitmesh.exchange import Exchange, Mode
from mitmesh.guard import Guard, StageFailed
from mitmesh.stage import StreamEnded, StreamHeld
from mitmesh.wire.compression import CompressionError, Decoder, decoder, decompress
from mitmesh.wire.eventstream import BadMessage
from mitmesh.wire.frames import FrameTooLong, framer
from mitmesh.wire.jsontext import Body, crowded

if TYPE_CHECKING:
    from mitmesh.stage import Stage, Transform

ANSWER_LIMIT = 128 * 2**20
"""Largest JSON answer that is read, decompressed, in bytes; a larger one passes and its usage is estimated."""
SLICE = 64 * 1024
"""Bytes of a stream that are cut into events at once."""
MOST_EVENTS = 50_000
"""Events one chunk may hold: a few compressed bytes can stand for millions, which would stop every other call."""


def framing_of(x: Exchange, content_type: str) -> Framing:
    """How this answer is cut. The request decides; the content type only where it says that it was not heeded
    (a JSON answer to a streaming call) or where no dialect is known."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        return Framing.SSE
    if kind in (
        "application/x-ndjson",
        "application/jsonl",
        "application/x-jsonl",
        "application/ndjson",
        "application/stream+json",
    ):
        return Framing.NDJSON
    if x.framing is Framing.JSON_ARRAY:
        return x.framing
    if (x.framing is Framing.AWS) is not (kind == "application/vnd.amazon.eventstream"):
        return Framing.NONE
    return Framing.NONE if kind.endswith("json") else x.framing


def read_json(x: Exchange, raw: bytes, encoding: str) -> Answer | None:
    """A whole JSON answer; None where it is none (the exchange is then malformed)."""
    try:
        plain = decompress(raw, encoding, ANSWER_LIMIT) if encoding else raw
        if crowded(plain):
            return None
        doc = json.loads(plain)
    except (ValueError, RecursionError):
        return None
    x.answer_body = Body(plain, doc)
    return x.dialect.read_answer(doc)


class Unwritable(ValueError):
    """A stage changed an answer to what JSON cannot say: the bytes that came are not what was to be given."""


def changed_json(x: Exchange) -> bytes | None:
    """The JSON answer as the stages left it, in identity encoding; None where none changed it, so that it goes on as
    it came. Raises Unwritable: what a stage took out must not pass because the rest cannot be written."""
    if x.answer_body is None or not x.answer_body.changed:
        return None
    try:
        return x.answer_body.render()
    except (ValueError, TypeError):  # not UTF-8, half of a surrogate pair, what is no JSON value
        raise Unwritable from None


def withhold(x: Exchange, rule_id: str) -> None:
    """Refuse in place of an answer that is unwritable."""
    said = "The answer as it was changed cannot be written as JSON. Ask again, past the cache if it is on: "
    said += "`Cache-Control: no-cache`."
    x.refuse(rule_id.partition(".")[0], rule_id, said, mode=Mode.ENFORCE, status=503, type="stage_failed")


FAILED: Any = []
"""Stands for the events of a transform that failed: this very list."""


class TooManyEvents(ValueError):
    """One chunk of a stream holds more events than anybody means to send."""


UNREADABLE = (CompressionError, FrameTooLong, TooManyEvents, BadMessage)
"""What a stream can be accused of; anything else is a fault of ours."""


class Tap:
    """mitmproxy's stream callable for one answer: reads its events, and sends what the transforms make of them.

    Without transforms every chunk passes exactly as it came, and reading it can fail without harm. `cut` closes the
    connection to the provider; `known` is called when the whole answer was read, and returns bytes to end it with.
    """

    def __init__(
        self,
        x: Exchange,
        framing: Framing,
        encoding: str,
        transforms: Sequence[tuple[Stage, Transform]],
        guard: Guard,
        cut: Callable[[], None],
        known: Callable[[], bytes],
    ) -> None:
        self.x, self.framing = x, framing
        self._transforms, self._guard, self._cut, self._known = list(transforms), guard, cut, known
        self._edits = bool(transforms)
        self._encoding = encoding
        self._decoder: Decoder | None = None
        self._framer = framer(framing)
        self._reader = x.dialect.reader(x.rules.mesh.limits.answer_text_bytes)
        x.answer, x.stop_reading, x.reading = self._reader.answer, self._stop, self._reader
        self.malformed = False
        """Is it no stream that can be read? What follows passes unread, where nothing edits it."""
        self._ended = False
        self.held: Awaitable[object] | None = None
        """What the stream waits for: once it is done, call the tap with None."""
        self._waiting: deque[Event] = deque()
        self._was_read = False  # the first of them, which a transform holds
        self._sent = False

    def __call__(self, chunk: bytes | None) -> bytes | list[bytes]:
        """Take a chunk as it came (b"" at the end, None to go on after a hold), return what goes to the client. Never
        raises."""
        began = time.perf_counter()
        self.x.response_bytes += len(chunk or b"")
        try:
            return self._take(chunk)
        finally:
            self.x.times.own += time.perf_counter() - began

    def _stop(self) -> None:
        self._reader.finish()
        self.x.answer_cut = self._reader.cut

    def _take(self, chunk: bytes | None) -> bytes | list[bytes]:
        ends, chunk = chunk == b"", chunk or b""
        if self._ended or self.malformed:
            return [] if self._ended else chunk
        try:
            self._waiting.extend(self._framed(chunk) if chunk or ends else ())
            out = self._passed(ends=ends)
        except StageFailed as failed:
            return self._end(f"{failed}.failed", f"The {failed} stage failed, so the answer was ended.")
        except Exception as error:  # noqa: BLE001 # what a provider sends must end nothing but its own reading
            if not isinstance(error, UNREADABLE):
                self._guard.note("engine", "stream", error)
            self.malformed = True
            return self._end("engine.stream", "The provider's stream could not be read.") if self._edits else chunk
        if not self._edits:
            return out if out else chunk
        return out if chunk or out else b""

    def _framed(self, chunk: bytes) -> list[Event]:
        """The events that a chunk completes, or the end."""
        if self._encoding and self._decoder is None:  # not when it is made: an unknown one is for _take to judge
            self._decoder = decoder(self._encoding)
        decode = self._decoder
        if chunk:
            plain = decode.feed(chunk) if decode else chunk
            return self._framer.feed(plain) if len(plain) <= SLICE else self._sliced(plain)
        events = self._framer.feed(decode.finish()) if decode else []
        return events + self._framer.flush()

    def _passed(self, *, ends: bool) -> list[bytes]:
        """What the waiting events become, as far as they may go on."""
        out: list[bytes] = []
        self.held = None
        while self._waiting:
            event = self._waiting[0]
            doc = _parsed(event.data)
            if not self._was_read:
                self._reader.parts.mark()
                self._reader.feed(event, doc)
            self._was_read = False
            try:
                out += [piece.raw for piece in self._transformed(event, doc)] if self._edits else ()
            except StreamHeld as held:
                self.held, self._was_read = held.until, True
                return out if not ends else out + self._end("engine.stream", "The stream ended within an event.")
            except StreamEnded as ended:
                self._reader.parts.undo()  # an answer is what was delivered of it
                return out + self._stopped(ended, doc)
            self._waiting.popleft()
            self._sent = self._sent or bool(out)
        if self.x.times.first_token is None and self._reader.answer.parts:
            self.x.times.first_token = time.monotonic()
        if ends:
            self._stop()
            out += self._held_back()
            if tail := self._known():
                out.append(tail)
        return out

    def lost(self) -> list[bytes]:
        """The provider broke off: what was held back, as at an end in order, but for what a stage has not decided on.
        Never raises."""
        if self._ended or self.malformed or not self._edits or self.held is not None:
            return []
        try:
            self._waiting.extend(self._framer.flush())
            out = self._passed(ends=False)
            return out if self.held is not None else out + self._held_back()
        except StageFailed as failed:
            return self._end(f"{failed}.failed", f"The {failed} stage failed, so the answer was ended.")
        except Exception as error:  # noqa: BLE001 # as above
            self._guard.note("engine", "stream", error)
            return []

    def _sliced(self, plain: bytes) -> list[Event]:
        events: list[Event] = []
        for start in range(0, len(plain), SLICE):
            events += self._framer.feed(plain[start : start + SLICE])
            if len(events) > MOST_EVENTS:
                raise TooManyEvents
        return events

    def _transformed(self, event: Event, doc: Any) -> list[Event]:
        pieces, parsed = [event], [doc]
        for stage, transform in list(self._transforms):
            made: list[Event] = []
            docs: list[Any] = []
            for piece, one in zip(pieces, parsed, strict=True):
                new = self._one(stage, transform, piece, one)
                made += [piece] if new is None else new
                docs += [one] if new is None else [_parsed(changed.data) for changed in new]
            pieces, parsed = made, docs
        return pieces

    def _one(self, stage: Stage, transform: Transform, event: Event, doc: Any) -> Sequence[Event] | None:
        """What a transform makes of an event. One that fails is not asked again: what it held back goes first."""
        if (stage, transform) not in self._transforms:
            return None
        new = self._guard.answer(stage, self.x, "stream", lambda: transform.event(event, doc), FAILED)
        if new is not FAILED:
            return new
        self._transforms = [pair for pair in self._transforms if pair != (stage, transform)]
        return [*(self._guard.answer(stage, self.x, "stream", transform.end) or ()), event]

    def _held_back(self) -> list[bytes]:
        out: list[bytes] = []
        while self._transforms:
            stage, transform = self._transforms.pop(0)
            for event in self._guard.answer(stage, self.x, "stream", transform.end) or ():
                out += [piece.raw for piece in self._transformed(event, _parsed(event.data))]
        return out

    def _finish(self) -> None:
        self._ended, self.held = True, None
        self._waiting.clear()
        self._cut()

    def _stopped(self, ended: StreamEnded, last: Any) -> list[bytes]:
        """End the stream as a stage decided: the dialect's own finish as the others would have it (it may say again
        what was said), what they held back, then the reason."""
        self._finish()
        self._stop()
        said, x = ended.verdict, self.x
        refusal = Refusal(said.status, said.type, said.reason, said.rule_id, x.id, said.retry_after)
        finish = x.dialect.stop(_used(self._reader.answer, ended.output), last, framing=self.framing)
        self._transforms = [pair for pair in self._transforms if pair[0].name != said.stage]
        events = [*(cut := framer(self.framing)).feed(finish), *cut.flush()]
        out = [piece.raw for event in events for piece in self._transformed(event, _parsed(event.data))]
        out += self._held_back()
        error = x.dialect.stream_error(refusal, framing=self.framing, last=last)
        return [self._opened(b"".join([*out, error]))]

    def _end(self, rule: str, message: str) -> list[bytes]:
        """Cut the provider off; the bytes that tell the client so, in its dialect. Nothing can be said in a stream
        that passes compressed."""
        self._finish()
        refusal = Refusal(503, "stage_failed", message, rule, self.x.id)
        compressed = self._decoder is not None and not self._edits
        return [] if compressed else [self._opened(self.x.dialect.stream_error(refusal, framing=self.framing))]

    def _opened(self, last: bytes) -> bytes:
        """The last events; where they are the first as well, an array begins with them."""
        begun = self._sent or self.framing is not Framing.JSON_ARRAY or last.startswith(b"[")
        return last if begun else b"[" + last.lstrip(b",\r\n")


def _used(answer: Answer, output: int) -> Answer:
    """With what was delivered, where a provider told less at the beginning."""
    if answer.usage is None or answer.usage.completion >= output:
        return answer
    return replace(answer, usage=replace(answer.usage, completion=output))


def _parsed(data: bytes) -> Any:
    """An event's payload, or None where it is no JSON (`[DONE]`, a comment)."""
    if data[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


__all__ = ["ANSWER_LIMIT", "FrameTooLong", "Tap", "Unwritable", "changed_json", "framing_of", "read_json", "withhold"]
