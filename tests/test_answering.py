"""Answers are read as they pass, whatever the cuts; what nothing edits passes byte for byte."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import brotli  # type: ignore[import-untyped]  # it ships no types
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from cassettes import calls
from mitmesh import answering
from mitmesh.answering import Tap, Unwritable, changed_json, framing_of, read_json
from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Answer, Call, Event, Framing, Operation
from mitmesh.exchange import Action, Exchange, Mode, Target, Verdict
from mitmesh.guard import Guard
from mitmesh.redaction.placeholders import Table
from mitmesh.redaction.restore import RestoreStream
from mitmesh.rules import HostRule, Rules
from mitmesh.stage import Stage, StreamEnded, StreamHeld
from mitmesh.wire.frames import framer

RECORDED = {
    "anthropic_stream_thinking": ("anthropic", Framing.SSE),
    "chat_stream_tools": ("openai_chat", Framing.SSE),
    "responses_stream_usage": ("openai_responses", Framing.SSE),
    "gemini_stream_thought_signature": ("gemini", Framing.SSE),
}


def exchange(dialect: str = "openai_chat", framing: Framing = Framing.NONE) -> Exchange:
    """A call that waits for its answer."""
    return Exchange(
        dialect=DIALECTS[dialect],
        call=Call(Operation.CHAT, "m"),
        host=HostRule(id="h", match=["h"], provider="openai"),
        target=Target("https", "h", 443),
        path="/v1/x",
        headers={},
        rules=Rules(),
        framing=framing,
    )


class Edits:
    """A transform made of a function, and what it gives at the end."""

    def __init__(self, change: Any, end: Sequence[Event] = ()) -> None:
        self.event = lambda event, doc: change(event, doc)
        self.end = lambda: end


class Named(Stage):
    def __init__(self, name: str) -> None:
        self.name = name


class Taps:
    """A Tap with what it did: `cuts`, `known`, and what came out."""

    def __init__(
        self, x: Exchange, framing: Framing, encoding: str = "", *edits: tuple[str, Any], tail: bytes = b""
    ) -> None:
        self.x, self.cuts, self.known, self.out = x, 0, 0, b""
        self.guard = Guard()
        self.tail = tail
        transforms = [(Named(name), edit) for name, edit in edits]
        self.tap = Tap(x, framing, encoding, transforms, self.guard, self._cut, self._know)

    def _cut(self) -> None:
        self.cuts += 1

    def _know(self) -> bytes:
        self.known += 1
        return self.tail

    def run(self, chunks: Sequence[bytes]) -> Taps:
        """Feed as mitmproxy does: chunks, then the end. b"" in the middle would end an HTTP/1 body."""
        for chunk in chunks:
            given = self.tap(chunk)
            assert given != b""
            self.out += given if isinstance(given, bytes) else b"".join(given)
        last = self.tap(b"")
        self.out += last if isinstance(last, bytes) else b"".join(last)
        return self

    def feed(self, chunks: Sequence[bytes | None]) -> None:
        """As they are: b"" is the end, None goes on after a hold."""
        for chunk in chunks:
            given = self.tap(chunk)
            self.out += given if isinstance(given, bytes) else b"".join(given)

    @property
    def answer(self) -> Answer:
        assert self.x.answer is not None
        return self.x.answer


def stream(name: str) -> bytes:
    """A recorded stream."""
    return next(call.stream for call in calls(name) if call.answer is None)


def cut(data: bytes, places: Sequence[int]) -> Iterator[bytes]:
    """The data in pieces, none empty."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return (data[a:b] for a, b in itertools.pairwise(ends))


def packed(data: bytes, encoding: str) -> bytes:
    """Compressed as a whole."""
    pack = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstandard.ZstdCompressor().compress}
    return pack[encoding](data) if encoding else data


@pytest.mark.parametrize("encoding", ["", "gzip", "br", "zstd"])
@pytest.mark.parametrize("name", RECORDED)
def test_whatever_the_cuts(name: str, encoding: str) -> None:
    """In any cuts, down to single bytes, the same answer is read and the same bytes pass."""
    dialect, framing = RECORDED[name]
    plain = stream(name)
    wire = packed(plain, encoding)
    whole = Taps(exchange(dialect), framing, encoding).run([wire])
    assert whole.answer.complete and whole.answer.usage and whole.answer.parts
    single = Taps(exchange(dialect), framing, encoding).run([bytes([byte]) for byte in wire])

    @settings(max_examples=15)
    @given(st.lists(st.integers(min_value=0), max_size=8))
    def any_cuts(places: list[int]) -> None:
        check(Taps(exchange(dialect), framing, encoding).run(list(cut(wire, places))))

    def check(taps: Taps) -> None:
        assert (taps.answer, taps.out, taps.known, taps.cuts) == (whole.answer, wire, 1, 0)
        assert taps.x.response_bytes == len(wire)

    check(whole)
    check(single)
    any_cuts()


@settings(max_examples=25)
@given(st.sampled_from(list(RECORDED)), st.lists(st.integers(min_value=0), max_size=8))
def test_a_transform_that_changes_nothing(name: str, places: list[int]) -> None:
    """A stream in which no event is changed passes byte for byte, event by event, through several transforms."""
    dialect, framing = RECORDED[name]
    plain = stream(name)
    same = Edits(lambda event, doc: None)
    again = Edits(lambda event, doc: [event])
    taps = Taps(exchange(dialect), framing, "", ("redact", same), ("cache", again)).run(list(cut(plain, places)))
    assert taps.out == plain


@settings(max_examples=25)
@given(st.sampled_from(list(RECORDED)), st.lists(st.integers(min_value=0), max_size=8))
def test_transforms_are_chained(name: str, places: list[int]) -> None:
    """Each transform sees what the one before it made, parsed; in any cuts with the same result."""
    dialect, framing = RECORDED[name]
    plain = stream(name)

    def rewrite(event: Event, doc: Any) -> list[Event] | None:
        if doc is None:
            return None
        data = json.dumps({"n": 1}).encode()
        return [Event(b"data: " + data + b"\n\n", data)] * 2

    def count(event: Event, doc: Any) -> list[Event] | None:
        if doc is not None:
            assert doc == {"n": 1}
            seen.append(doc)
        return None

    seen: list[Any] = []
    whole = Taps(exchange(dialect), framing, "", ("redact", Edits(rewrite)), ("cache", Edits(count))).run([plain])
    first, seen = len(seen), []
    pieces = list(cut(plain, places))
    taps = Taps(exchange(dialect), framing, "", ("redact", Edits(rewrite)), ("cache", Edits(count))).run(pieces)
    assert (taps.out, len(seen)) == (whole.out, first)
    assert first == whole.out.count(b'{"n": 1}') > 0


def test_dropping_and_holding_back() -> None:
    """A dropped event is gone; one held back comes at the end, through the transforms after it."""
    plain = b'data: {"a": 1}\n\n: comment\n\ndata: {"b": 2}\n\n'
    held: list[Event] = []
    later: list[Any] = []

    def hold(event: Event, doc: Any) -> list[Event]:
        held.append(event)
        return []

    def see(event: Event, doc: Any) -> None:
        later.append(doc)

    dropped = Taps(exchange(), Framing.SSE, "", ("redact", Edits(lambda e, d: () if d == {"a": 1} else None)))
    assert dropped.run([plain]).out == b': comment\n\ndata: {"b": 2}\n\n'
    kept = Taps(exchange(), Framing.SSE, "", ("redact", Edits(hold, held)), ("cache", Edits(see))).run([plain])
    assert kept.out == plain
    assert later == [{"a": 1}, None, {"b": 2}]


def test_nothing_is_sent_while_held() -> None:
    """While a transform holds back, no empty chunk leaves, which would end the body."""
    tap = Taps(exchange(), Framing.SSE, "", ("redact", Edits(lambda e, d: []))).tap
    assert tap(b'data: {"a": 1}\n\n') == []
    assert tap(b"data: ") == []
    assert tap(b"") == b""


class Waits:
    """Holds the second event until it is told, and takes down what it was asked."""

    def __init__(self, then: Exception | None = None) -> None:
        self.asked: list[bytes] = []
        self.ready, self.then = False, then
        self.until: Any = object()

    def event(self, event: Event, doc: Any) -> None:
        self.asked.append(event.data)
        if b"two" in event.data and not self.ready:
            raise StreamHeld(self.until)
        if b"two" in event.data and self.then:
            raise self.then

    def end(self) -> Sequence[Event]:
        return ()


def spoken(*words: str) -> bytes:
    return b"".join(
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": word}}]}).encode() + b"\n\n"
        for word in words
    )


def test_what_is_held_waits_with_all_that_follows() -> None:
    """It is read once, asked about again, and comes in order; what comes meanwhile comes after it."""
    waits = Waits()
    taps = Taps(exchange(), Framing.SSE, "", ("quota", waits))
    taps.feed([spoken("one", "two", "three")])
    assert taps.out == spoken("one") and taps.tap.held is waits.until
    taps.feed([spoken("four")])
    assert taps.out == spoken("one")
    waits.ready = True
    taps.feed([None])
    assert taps.out == spoken("one", "two", "three", "four") and taps.tap.held is None
    taps.feed([b""])
    assert taps.x.answer and taps.x.answer.text == "onetwothreefour" and taps.known == 1


def test_an_end_does_not_wait() -> None:
    """What is still held when the provider has ended is not delivered."""
    waits = Waits()
    taps = Taps(exchange(), Framing.SSE, "", ("quota", waits))
    taps.feed([spoken("one"), spoken("two")[:-2], b""])
    assert taps.out.startswith(spoken("one")) and b"two" not in taps.out and b"error" in taps.out


def test_an_event_that_was_not_delivered_is_no_part_of_the_answer() -> None:
    """A stream that is ended has said what went before."""
    verdict = Verdict("quota", Action.REFUSE, "tok", Mode.ENFORCE, "v", "no more", 429, "quota_exceeded")
    waits = Waits(StreamEnded(verdict))
    waits.ready = True
    taps = Taps(exchange(), Framing.SSE, "", ("quota", waits))
    taps.feed([spoken("one", "two", "three")])
    taps.tap._stop()
    assert taps.x.answer and taps.x.answer.text == "one" and taps.cuts == 1 and b"no more" in taps.out


def test_what_an_end_says_again_is_what_was_delivered() -> None:
    """The caller's own values are back in a finish of ours too, and its numbers go on from what was delivered."""
    waits = Waits(
        StreamEnded(Verdict("quota", Action.REFUSE, "tok", Mode.ENFORCE, "v", "no more", 429, "quota_exceeded"))
    )
    waits.ready = True
    restore = RestoreStream(DIALECTS["openai_responses"], Table({"EMAIL_1": "ann@example.com"}))
    taps = Taps(exchange("openai_responses"), Framing.SSE, "", ("quota", waits), ("redact", restore))
    message = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
    docs: list[Any] = [{"type": "response.output_item.added", "output_index": 0, "item": message}]
    for word in ("to <EMA", "IL_1>, and <EM", "two"):
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        docs.append({"type": "response.output_text.delta", **place, "delta": word})
    taps.feed([b"data: " + json.dumps({**doc, "sequence_number": n}).encode() + b"\n\n" for n, doc in enumerate(docs)])
    said = [json.loads(event.data) for event in framer(Framing.SSE).feed(taps.out)]
    assert "".join(doc.get("delta", "") for doc in said) == "to ann@example.com, and <EM"
    assert [doc["type"] for doc in said[-2:]] == ["response.incomplete", "error"]
    assert [doc["sequence_number"] for doc in said[-2:]] == [3, 4]
    (item,) = said[-2]["response"]["output"]
    assert item["id"] == "msg_1" and item["content"][0]["text"] == "to ann@example.com, and <EM"


def test_an_array_that_ends_before_it_began_is_an_array() -> None:
    """Gemini's stream without SSE: the first element does not fit."""
    verdict = Verdict("quota", Action.REFUSE, "tok", Mode.ENFORCE, "v", "no more", 429, "quota_exceeded")
    waits = Waits(StreamEnded(verdict))
    waits.ready = True
    taps = Taps(exchange("gemini", Framing.JSON_ARRAY), Framing.JSON_ARRAY, "", ("quota", waits))
    taps.feed([b'[{"candidates": [{"content": {"parts": [{"text": "two"}]}}]}'])
    assert json.loads(taps.out)[-1]["error"]["message"].startswith("no more")


@pytest.mark.parametrize("dialect", list(DIALECTS))
def test_a_failing_guard_ends_the_stream(dialect: str) -> None:
    """Where a stage must not fail on an answer the stream ends with the dialect's error, and the provider is cut."""

    def fail(event: Event, doc: Any) -> None:
        if doc == {"b": 2}:
            raise ValueError("secret")

    taps = Taps(exchange(dialect), Framing.SSE, "", ("guard", Edits(fail)))
    taps.run([b'data: {"a": 1}\n\n', b'data: {"b": 2}\n\n', b'data: {"c": 3}\n\n'])
    begin, _, end = taps.out.partition(b'data: {"a": 1}\n\n')
    assert begin == b"" and b"guard" in end and b"secret" not in taps.out
    assert b'"c"' not in taps.out and b'"b"' not in taps.out
    assert (taps.cuts, taps.known, taps.guard.failures["guard"]) == (1, 0, 1)


def test_a_failing_restore_lets_pass() -> None:
    """Where a failure gives nothing away the events pass as they are."""

    def fail(event: Event, doc: Any) -> None:
        raise ValueError

    plain = b'data: {"a": 1}\n\ndata: {"b": 2}\n\n'
    taps = Taps(exchange(), Framing.SSE, "", ("redact", Edits(fail))).run([plain])
    assert (taps.out, taps.cuts, taps.known) == (plain, 0, 1)


BAD = {
    "corrupt": ("gzip", b"no gzip at all"),
    "truncated": ("gzip", gzip.compress(b'data: {"a": 1}\n\n')[:-4]),
    "unknown": ("snappy", b"data: 1\n\n"),
    "bomb": ("gzip", gzip.compress(b"\n" * 200_000)),
}


@pytest.mark.parametrize("name", BAD)
def test_unreadable_streams_pass(name: str) -> None:
    """What cannot be read passes as it came where nothing edits it, and is marked; that is no failure of a stage."""
    encoding, wire = BAD[name]
    taps = Taps(exchange(), Framing.SSE, encoding).run([wire, b"more"])
    assert (taps.out, taps.tap.malformed, taps.cuts) == (wire + b"more", True, 0)
    assert not taps.guard.failures


@pytest.mark.parametrize("name", BAD)
def test_unreadable_streams_that_are_edited_end(name: str) -> None:
    """What cannot be read cannot be edited: the stream ends with the dialect's error."""
    encoding, wire = BAD[name]
    taps = Taps(exchange(), Framing.SSE, encoding, ("redact", Edits(lambda e, d: None))).run([wire])
    error = json.loads(taps.out.rpartition(b"data: ")[2])["error"]
    assert "could not be read" in error["message"]
    assert (taps.cuts, taps.tap.malformed) == (1, True)


def test_a_large_event_in_a_compressed_chunk() -> None:
    """An event of megabytes, as images are, is read though it comes in one chunk."""
    doc = {"choices": [{"index": 0, "delta": {"content": "x" * 3_000_000}, "finish_reason": "stop"}]}
    plain = f"data: {json.dumps(doc)}\n\ndata: [DONE]\n\n".encode()
    taps = Taps(exchange(), Framing.SSE, "zstd").run([packed(plain, "zstd")])
    assert taps.answer.complete and len(taps.answer.parts[0].text) == 3_000_000


def test_a_fault_of_ours_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in reading harms nobody but the meter, and is counted."""
    monkeypatch.setattr(answering, "_parsed", lambda _: 1 / 0)
    taps = Taps(exchange(), Framing.SSE).run([b"data: 1\n\n"])
    assert (taps.out, taps.guard.failures["engine"]) == (b"data: 1\n\n", 1)


def test_the_tail_comes_last() -> None:
    """What `known` gives ends the stream."""
    taps = Taps(exchange(), Framing.SSE, tail=b": cost\n\n").run([b"data: 1\n\n"])
    assert taps.out == b"data: 1\n\n: cost\n\n"


@settings(max_examples=200)
@given(
    st.sampled_from(list(DIALECTS)),
    st.sampled_from(list(Framing)),
    st.sampled_from(["", "gzip", "br", "zstd", "deflate"]),
    st.lists(
        st.binary(min_size=1, max_size=60) | st.sampled_from([b'data: {"choices":', b"[{", b"}]\n\n"]), max_size=8
    ),
)
def test_any_bytes_pass(dialect: str, framing: Framing, encoding: str, chunks: list[bytes]) -> None:
    """Whatever a provider sends reaches the client, and nothing raises."""
    taps = Taps(exchange(dialect), framing, encoding).run(chunks)
    assert taps.out == b"".join(chunks)
    assert not taps.guard.failures


@pytest.mark.parametrize(
    ("asked", "kind", "expected"),
    [
        (Framing.SSE, "text/event-stream; charset=utf-8", Framing.SSE),
        (Framing.NONE, "text/event-stream", Framing.SSE),
        (Framing.JSON_ARRAY, "text/event-stream", Framing.SSE),
        (Framing.SSE, "application/json", Framing.NONE),
        (Framing.SSE, "", Framing.SSE),
        (Framing.SSE, "text/plain", Framing.SSE),
        (Framing.JSON_ARRAY, "application/json; charset=UTF-8", Framing.JSON_ARRAY),
        (Framing.NONE, "application/x-ndjson", Framing.NDJSON),
        (Framing.NONE, "Application/JSON", Framing.NONE),
        (Framing.NDJSON, "application/json", Framing.NONE),
        (Framing.NONE, "application/problem+json", Framing.NONE),
        (Framing.NONE, "audio/mpeg", Framing.NONE),
    ],
)
def test_framing(asked: Framing, kind: str, expected: Framing) -> None:
    """The request says how an answer is cut, and the content type where it was not heeded."""
    assert framing_of(exchange(framing=asked), kind) is expected


@pytest.mark.parametrize("encoding", ["", "gzip", "br", "zstd"])
def test_json_answers(encoding: str) -> None:
    """A JSON answer is read through its encoding."""
    answer = next(call.answer for call in calls("chat_plain"))
    got = read_json(exchange(), packed(json.dumps(answer).encode(), encoding), encoding)
    assert got and got.complete and got.usage and got.usage.prompt == answer["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("raw", "encoding"),
    [
        (b"", ""),
        (b"<html>", ""),
        (b'{"a"', ""),
        (b"\xff", ""),
        (b"[" * 100_000, ""),
        (b"1" * 5000, ""),
        (b"{}", "gzip"),
        (gzip.compress(b"{}", mtime=0)[:-1], "gzip"),
        (b"{}", "snappy"),
    ],
)
def test_json_that_is_none(raw: bytes, encoding: str) -> None:
    """What is no JSON answer is None."""
    assert read_json(exchange(), raw, encoding) is None


@pytest.mark.parametrize("said", ["\ud800", float("nan"), {1, 2}])
def test_what_cannot_be_written(said: Any) -> None:
    """An answer that a stage changed to what JSON cannot say is withheld: the bytes that came must not pass for it."""
    x = exchange()
    read_json(x, b'{"choices": [{"message": {"content": "secret"}}]}', "")
    assert x.answer_body and changed_json(x) is None
    x.answer_body.set(("choices", 0, "message", "content"), said)
    with pytest.raises(Unwritable):
        changed_json(x)


def test_a_json_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that decompresses to too much is not read."""
    monkeypatch.setattr(answering, "ANSWER_LIMIT", 1000)
    assert read_json(exchange(), gzip.compress(b"[" + b"1," * 1000 + b"1]"), "gzip") is None
    assert read_json(exchange(), gzip.compress(b"[1]", mtime=0), "gzip") is not None


@settings(max_examples=150)
@given(st.sampled_from(list(DIALECTS)), st.binary(max_size=80) | st.text(max_size=40).map(json.dumps).map(str.encode))
def test_any_json_answer(dialect: str, raw: bytes) -> None:
    """No body makes it raise."""
    read_json(exchange(dialect), raw, "")


NUMBERS = st.sampled_from([None, "7", -1, 2**64, 10**400, 1.5, float("nan"), [], {}, True, 3])


@settings(max_examples=100)
@given(st.sampled_from(list(DIALECTS)), NUMBERS, NUMBERS, NUMBERS)
def test_any_usage(dialect: str, one: Any, two: Any, three: Any) -> None:
    """Numbers of tokens that nobody can mean are none: what is read fits a database."""
    usage = {"prompt_tokens": one, "completion_tokens": two, "prompt_tokens_details": {"cached_tokens": three}}
    usage |= {"input_tokens": one, "output_tokens": two, "cache_read_input_tokens": three}
    counted = {"promptTokenCount": one, "candidatesTokenCount": two, "thoughtsTokenCount": three}
    doc = {"type": "message", "usage": usage, "usageMetadata": counted, "choices": [], "content": [], "output": []}
    got = read_json(exchange(dialect), json.dumps(doc).encode(), "")
    if got and got.usage:
        assert 0 <= got.usage.total < 2**50
