"""The same events whatever the cuts, and not a byte lost."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cassettes import Recorded, calls, names
from mitmesh.dialects.base import Event, Framing
from mitmesh.wire.frames import FrameTooLong, framer

ok = settings(max_examples=200, deadline=None)
STREAMS = [Framing.SSE, Framing.NDJSON, Framing.JSON_ARRAY]


def events(framing: Framing, *chunks: bytes, limit: int = 1_000_000) -> list[Event]:
    """All events of a stream that comes in these chunks."""
    parser = framer(framing, limit)
    return [event for chunk in chunks for event in parser.feed(chunk)] + parser.flush()


def seen(framing: Framing, stream: bytes) -> list[tuple[bytes, bytes, str | None]]:
    """The events as plain values, after a look that no byte is lost and that no cut matters."""
    whole = events(framing, stream)
    assert b"".join(event.raw for event in whole) == stream
    assert all(event.raw for event in whole)
    for cut in range(len(stream) + 1):
        assert events(framing, stream[:cut], b"", stream[cut:]) == whole
    assert events(framing, *(stream[at : at + 1] for at in range(len(stream)))) == whole
    return [(event.raw, event.data, event.name) for event in whole]


SSE: list[tuple[str, bytes, list[tuple[bytes, bytes, str | None]]]] = [
    ("nothing", b"", []),
    ("one", b"data: x\n\n", [(b"data: x\n\n", b"x", None)]),
    (
        "named",
        b"event: delta\ndata: 1\n\ndata: 2\n\n",
        [(b"event: delta\ndata: 1\n\n", b"1", "delta"), (b"data: 2\n\n", b"2", None)],
    ),
    ("CRLF", b"data: 1\r\n\r\ndata: 2\r\n\r\n", [(b"data: 1\r\n\r\n", b"1", None), (b"data: 2\r\n\r\n", b"2", None)]),
    ("CR", b"data: 1\r\rdata: 2\r\r", [(b"data: 1\r\r", b"1", None), (b"data: 2\r\r", b"2", None)]),
    ("mixed ends", b"data: 1\r\n\ndata: 2\r\r\ndata: 3\n\r", [
        (b"data: 1\r\n\n", b"1", None), (b"data: 2\r\r\n", b"2", None), (b"data: 3\n\r", b"3", None),
    ]),
    ("CR, then LF is one end", b"data: 1\r\ndata: 2\n\n", [(b"data: 1\r\ndata: 2\n\n", b"1\n2", None)]),
    ("many lines", b"data: 1\ndata\ndata:3\n\n", [(b"data: 1\ndata\ndata:3\n\n", b"1\n\n3", None)]),
    ("one space goes", b"data:  x \n\n", [(b"data:  x \n\n", b" x ", None)]),
    ("colons stay", b"data: a: b\n\n", [(b"data: a: b\n\n", b"a: b", None)]),
    ("comment", b": ping\n\ndata: x\n\n", [(b": ping\n\n", b"", None), (b"data: x\n\n", b"x", None)]),
    ("comment within", b": c\nid: 7\nretry: 3\ndata: x\n\n", [(b": c\nid: 7\nretry: 3\ndata: x\n\n", b"x", None)]),
    ("other fields", b"Data: x\n data: y\ndatax: z\n\n", [(b"Data: x\n data: y\ndatax: z\n\n", b"", None)]),
    ("more blank lines", b"\n\ndata: x\n\n\n", [
        (b"\n", b"", None), (b"\n", b"", None), (b"data: x\n\n", b"x", None), (b"\n", b"", None),
    ]),
    ("byte order mark", b"\xef\xbb\xbfdata: x\n\n\xef\xbb\xbfdata: y\n\n", [
        (b"\xef\xbb\xbfdata: x\n\n", b"x", None), (b"\xef\xbb\xbfdata: y\n\n", b"", None),
    ]),
    ("byte order mark alone", b"\xef\xbb\xbf\r\ndata: x\n\n", [
        (b"\xef\xbb\xbf\r\n", b"", None), (b"data: x\n\n", b"x", None),
    ]),
    ("last name wins", b"event: a\nevent:b\ndata\n\n", [(b"event: a\nevent:b\ndata\n\n", b"", "b")]),
    ("empty name is none", b"event: a\nevent\ndata: x\n\n", [(b"event: a\nevent\ndata: x\n\n", b"x", None)]),
    ("name that is no UTF-8", b"event: \xff\n\n", [(b"event: \xff\n\n", b"", "�")]),
    ("no blank line at the end", b"data: 1\n\nevent: e\ndata: [DONE]\n", [
        (b"data: 1\n\n", b"1", None), (b"event: e\ndata: [DONE]\n", b"[DONE]", "e"),
    ]),
    ("cut within a line", b'data: {"a": ', [(b'data: {"a": ', b'{"a": ', None)]),
    ("other line ends are none", "data: a\x0b\x0c\x1c\u0085\u2028b\n\n".encode(), [
        ("data: a\x0b\x0c\x1c\u0085\u2028b\n\n".encode(), "a\x0b\x0c\x1c\u0085\u2028b".encode(), None),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("stream", "expected"), [row[1:] for row in SSE], ids=[row[0] for row in SSE])
def test_server_sent_events(stream: bytes, expected: list[tuple[bytes, bytes, str | None]]) -> None:
    """As the specification reads them, with every byte kept."""
    assert seen(Framing.SSE, stream) == expected


NDJSON: list[tuple[bytes, list[tuple[bytes, bytes]]]] = [
    (b'{"a": 1}\n{"b": 2}\r\n', [(b'{"a": 1}\n', b'{"a": 1}'), (b'{"b": 2}\r\n', b'{"b": 2}')]),
    (b'{"a": 1}\n{"b": ', [(b'{"a": 1}\n', b'{"a": 1}'), (b'{"b": ', b'{"b":')]),
    (b'\n{"a":"\\n"}\n\n', [(b"\n", b""), (b'{"a":"\\n"}\n', b'{"a":"\\n"}'), (b"\n", b"")]),
]


@pytest.mark.parametrize(("stream", "expected"), NDJSON)
def test_a_line_is_a_document(stream: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    """Newline-delimited JSON, the last line's end optional."""
    assert [row[:2] for row in seen(Framing.NDJSON, stream)] == expected


ARRAY: list[tuple[str, bytes, list[tuple[bytes, bytes]]]] = [
    ("gemini", b'[{"a": 1}\n,\r\n{"b": 2}\n]\n', [
        (b'[{"a": 1}', b'{"a": 1}'), (b'\n,\r\n{"b": 2}', b'{"b": 2}'), (b"\n]", b""), (b"\n", b""),
    ]),
    ("brackets and quotes in strings", b'[{"a": "]}\\"[{\\\\"},{"\\"}": [[]]}]', [
        (b'[{"a": "]}\\"[{\\\\"}', b'{"a": "]}\\"[{\\\\"}'), (b',{"\\"}": [[]]}', b'{"\\"}": [[]]}'), (b"]", b""),
    ]),
    ("nested arrays", b"[[1, [2]], []]", [(b"[[1, [2]]", b"[1, [2]]"), (b", []", b"[]"), (b"]", b"")]),
    ("scalars", b'[1, "a,]", null , true]', [
        (b"[1", b"1"), (b', "a,]"', b'"a,]"'), (b", null", b"null"), (b" , true", b"true"), (b"]", b""),
    ]),
    ("empty", b" [ ] ", [(b" [ ]", b""), (b" ", b"")]),
    ("an error in its place", b' {"error": {"code": 429}}\n', [
        (b' {"error": {"code": 429}}', b'{"error": {"code": 429}}'), (b"\n", b""),
    ]),
    ("byte order mark", b"\xef\xbb\xbf[{}]", [(b"\xef\xbb\xbf[{}", b"{}"), (b"]", b"")]),
    ("cut", b'[{"a": 1}, {"b": "', [(b'[{"a": 1}', b'{"a": 1}'), (b', {"b": "', b'{"b": "')]),
]  # fmt: skip


@pytest.mark.parametrize(("stream", "expected"), [row[1:] for row in ARRAY], ids=[row[0] for row in ARRAY])
def test_an_element_is_an_event(stream: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    """The elements of an array, whatever lies between them."""
    assert [row[:2] for row in seen(Framing.JSON_ARRAY, stream)] == expected


@pytest.mark.parametrize(
    ("framing", "chunks"),
    [
        (Framing.SSE, [b"data: 1\n\n", b"data: 2\r\n\r\n", b"data: [DONE]\n\n"]),
        (Framing.NDJSON, [b'{"a": 1}\n', b'{"b": 2}\n']),
        (Framing.JSON_ARRAY, [b'[{"a": 1}', b'\n,\r\n{"b": 2}', b"\n]"]),
    ],
)
def test_an_event_is_given_with_its_last_byte(framing: Framing, chunks: list[bytes]) -> None:
    """No event waits for the next."""
    parser = framer(framing)
    for chunk in chunks:
        assert [event.raw for event in parser.feed(chunk)] == [chunk]
    assert parser.flush() == []


def test_a_document_is_one_event() -> None:
    """A body that is not cut comes whole, at its end."""
    parser = framer(Framing.NONE)
    assert parser.feed(b'{"a":') == parser.feed(b" 1}") == []
    assert parser.flush() == [Event(b'{"a": 1}', b'{"a": 1}')]
    assert events(Framing.NONE) == []


soup = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"data", b":", b" ", b"event: e", b"\xef\xbb\xbf", b'"', b"\\", b"{", b"}",
                     b"[", b"]", b",", b'{"a":"b"}', b"1", "é".encode(), b"\xff"]), max_size=30,
).map(b"".join)  # fmt: skip


@ok
@given(st.sampled_from(STREAMS), soup, st.data())
def test_no_cut_matters(framing: Framing, stream: bytes, data: st.DataObject) -> None:
    """Any bytes cut in any way give the same events, and these are the bytes."""
    whole = events(framing, stream)
    assert b"".join(event.raw for event in whole) == stream
    assert events(framing, *(stream[at : at + 1] for at in range(len(stream)))) == whole
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6))), len(stream)]
    assert events(framing, *(stream[a:b] for a, b in itertools.pairwise(cuts))) == whole


documents: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text('"\\[]{},', max_size=3), below, max_size=3),
    max_leaves=6,
)


@ok
@given(st.sampled_from(STREAMS), st.lists(documents, max_size=5), st.sampled_from([None, 1]), st.booleans(), st.data())
def test_documents_come_back(
    framing: Framing, sent: list[Any], indent: int | None, ascii_only: bool, data: st.DataObject
) -> None:
    """What was framed comes out, whatever the JSON and the cut."""
    texts = [json.dumps(doc, indent=indent, ensure_ascii=ascii_only) for doc in sent]
    if framing is Framing.SSE:
        end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
        stream = "".join("".join(f"data: {line}{end}" for line in text.split("\n")) + end for text in texts)
    elif framing is Framing.NDJSON:
        stream = "".join(json.dumps(doc) + "\n" for doc in sent)
    else:
        stream = "[" + "\n,\r\n".join(texts) + "]"
    raw = stream.encode()
    cut = data.draw(st.integers(0, len(raw)))
    got = [event.data for event in events(framing, raw[:cut], raw[cut:]) if event.data]
    assert [json.loads(text) for text in got] == sent


@pytest.mark.parametrize(
    ("framing", "event"),
    [
        (Framing.SSE, b"event: e\ndata: 12345\n\n"),
        (Framing.NDJSON, b'{"a": "12345"}\n'),
        (Framing.JSON_ARRAY, b',{"a": "12345"}'),
    ],
)
def test_the_limit_is_the_longest_event_that_passes(framing: Framing, event: bytes) -> None:
    """An event of exactly the limit passes and one byte more does not, complete or not, however it is cut."""
    stream = event * 3
    size = len(event)
    for limit, step in [(size, 1), (size, 7), (size, len(stream))]:
        chunks = [stream[at : at + step] for at in range(0, len(stream), step)]
        assert len(events(framing, *chunks, limit=limit)) == 3
        with pytest.raises(FrameTooLong):
            events(framing, *chunks, limit=limit - 1)
    parser = framer(framing, 1000)
    with pytest.raises(FrameTooLong):
        for _ in range(2000):
            parser.feed(b"[" if framing is Framing.JSON_ARRAY else b"d")


def test_a_document_has_a_limit_too() -> None:
    """A body that is not cut is bounded like an event."""
    with pytest.raises(FrameTooLong):
        events(Framing.NONE, b"12345", limit=4)


@pytest.mark.parametrize(
    ("framing", "begin", "end"),
    [(Framing.SSE, b"data: ", b"\n\n"), (Framing.NDJSON, b'"', b'"\n'), (Framing.JSON_ARRAY, b'[{"a":"', b'"}')],
)
def test_a_long_event_in_small_pieces_is_linear(framing: Framing, begin: bytes, end: bytes) -> None:
    """Megabytes in one event (an image) are not copied or read again with each chunk."""
    parser = framer(framing)
    parser.feed(begin)
    started = time.process_time()
    for _ in range(40_000):
        assert parser.feed(b"x" * 100) == []
    assert len(parser.feed(end)) == 1
    assert time.process_time() - started < 2  # some 0.05 s; quadratic would be minutes


def is_stream(call: Recorded) -> bool:
    kind = call.answer_headers.get("content-type", "")
    return bool(call.stream) and ("event-stream" in kind or call.stream.lstrip().startswith(b"["))


RECORDED = [(name, index) for name in names() for index, call in enumerate(calls(name)) if is_stream(call)]


def test_there_are_recorded_streams() -> None:
    """The test below is about something."""
    assert len(RECORDED) > 5


@pytest.mark.parametrize(("name", "index"), RECORDED)
def test_recorded_streams_are_read_whole(name: str, index: int) -> None:
    """Streams of real providers: every event is JSON, [DONE] or a keep-alive, in single bytes as in one piece."""
    stream = calls(name)[index].stream
    framing = Framing.JSON_ARRAY if stream.lstrip().startswith(b"[") else Framing.SSE
    whole = events(framing, stream)
    assert b"".join(event.raw for event in whole) == stream
    assert events(framing, *(stream[at : at + 1] for at in range(len(stream)))) == whole
    read = [json.loads(event.data) for event in whole if event.data not in (b"", b"[DONE]")]
    assert len(read) > 1
