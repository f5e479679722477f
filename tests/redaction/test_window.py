from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Event
from mitmesh.redaction.replace import MASK
from mitmesh.redaction.window import Window, masked
from redactions import Finder

CHAT = DIALECTS["openai_chat"]
ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]*\w")


def event(text: str, key: str = "content") -> tuple[Event, Any]:
    delta: Any = {key: text}
    if key == "arguments":
        delta = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
    data = json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()
    return Event(b"data: " + data + b"\n\n", data), json.loads(data)


def said(events: Iterable[Event]) -> str:
    return "".join(text.text for event in events for text in CHAT.event_texts(json.loads(event.data)))


def window(
    seen: list[str] | None = None, known: str = "", size: int = 80, mask: bool = True, dialect: str = "openai_chat"
) -> Window:
    noted = seen if seen is not None else []

    def note(types: Iterable[str]) -> bool:
        noted.extend(types)
        return mask

    return Window(DIALECTS[dialect], Finder().find, lambda value: value in known, note, size)


async def through(look: Window, pieces: list[str], key: str = "content") -> list[Event]:
    out: list[Event] = []
    for piece in pieces:
        out += await look.feed(*event(piece, key))
    return out + await look.end()


async def test_masked_across_events() -> None:
    """A value that came in pieces is masked once, and the rest stays, event by event."""
    seen: list[str] = []
    out = await through(window(seen), ["mail ", "eve@exa", "mple.com", " now"])
    assert [said([each]) for each in out] == ["mail ", MASK, "", " now"]
    assert seen == ["EMAIL"]


async def test_the_callers_own() -> None:
    """What the caller sent is no news to the caller."""
    assert said(await through(window(known="I am ann@example.com"), ["ann@example.com ", "eve@example.com"])) == (
        f"ann@example.com {MASK}"
    )


async def test_unchanged_events_keep_their_bytes() -> None:
    """Events without a find are passed on as they came."""
    first, doc = event("hello")
    look = window()
    assert [*await look.feed(first, doc), *await look.end()] == [first]


async def test_observed() -> None:
    """What is only observed is noted and passes."""
    seen: list[str] = []
    assert said(await through(window(seen, mask=False), ["eve@example.com"])) == "eve@example.com"
    assert seen == ["EMAIL"]


async def test_delay() -> None:
    """No event waits for more text than the window declares."""
    look, size = window(size=80), 80
    fed = passed = 0
    for _ in range(200):
        fed += 5
        passed += len(said(await look.feed(*event("abcd "))))
        assert fed - passed <= size


async def test_end_of_a_text_releases_it() -> None:
    """A text that has ended does not wait for another."""
    look = window(size=400)
    await look.feed(*event("eve@example.com"))
    data = b'{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'
    out = await look.feed(Event(b"data: " + data + b"\n\n", data), json.loads(data))
    assert said(out) == MASK and len(out) == 2


async def test_number_in_arguments() -> None:
    """In JSON a bare number that is masked becomes a string: the arguments stay valid."""
    look = Window(CHAT, Finder(re.compile(r"(?P<CARD>4\d{15})")).find, lambda _: False, lambda _: True, 80)
    out = await through(look, ['{"card": 4111', '111111111111, "a": "4111111111111111"}'], "arguments")
    assert json.loads(said(out)) == {"card": MASK, "a": MASK}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["word ", "eve@example.com ", "x" * 30 + " ", "ann@example.com,", "a@b ", "\n"]), max_size=30
    ),
    st.lists(st.integers(1, 25), min_size=1, max_size=5),
)
async def test_any_cut(words: list[str], sizes: list[int]) -> None:
    """However a text is cut into events, what comes out is the text with its values masked."""
    text, pieces, at = "".join(words), [], 0
    while at < len(text):
        pieces.append(text[at : at + sizes[len(pieces) % len(sizes)]])
        at += len(pieces[-1])
    assert said(await through(window(), pieces)) == ADDRESS.sub(MASK, text)


def test_masked() -> None:
    """Asterisks where a value begins, nothing where it goes on."""
    assert masked("abcdef", 10, [(8, 12), (13, 14), (15, 20)], is_json=False) == f"c{MASK}e{MASK}"


async def test_escaped_arguments() -> None:
    """A value that a tool call's arguments say in escapes is masked, in pieces and behind a long beginning."""
    arguments = json.dumps({"to": "x" * 900 + " eve@example.com now", "cc": "bob@example.com"}).replace("@", "\\u0040")
    pieces = [arguments[at : at + 7] for at in range(0, len(arguments), 7)]
    told = said(await through(window(known="bob@example.com"), pieces, "arguments"))
    assert json.loads(told) == {"to": "x" * 900 + f" {MASK} now", "cc": "bob@example.com"}


async def test_errors() -> None:
    """An error's message may quote what others sent."""
    data = json.dumps({"error": {"message": "bad input eve@example.com", "type": "t"}}).encode()
    event_ = Event(b"data: " + data + b"\n\n", data)
    look = window()
    out = [*await look.feed(event_, json.loads(data)), *await look.end()]
    assert [json.loads(each.data)["error"]["message"] for each in out] == [f"bad input {MASK}"]


def chunk(doc: Any) -> tuple[Event, Any]:
    data = json.dumps(doc).encode()
    return Event(b"data: " + data + b"\n\n", data), json.loads(data)


X = "eve@example.com"
ANYWHERE: list[Any] = [
    {"choices": [{"index": 0, "delta": {"zzz": {"a": [X]}}}]},
    {"choices": [{"index": 0, "delta": {X: 1}}]},
    {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": X, "function": {"name": X}}]}}]},
    {"choices": [], "warning": X},
    {"x": [[X]], "choices": [{"index": 0, "delta": {"content": "hi"}}]},
    {"choices": [{"index": 0, "delta": {}, "logprobs": {"content": [{"token": X}]}}]},
    {"choices": [{"index": 0, "delta": {"content": "hi"}, "logprobs": {"content": [{"token": "eve@"}, {"token": X}]}}]},
    {"choices": [{"index": 0, "delta": {"annotations": [{"url": f"https://x/?{X}"}]}}]},
]


@pytest.mark.parametrize("doc", ANYWHERE)
async def test_anywhere(doc: Any) -> None:
    """A value is masked wherever an event says it: in fields nobody knows, names of members, ids, token by token."""
    look = window()
    out = [*await look.feed(*event("hello ")), *await look.feed(*chunk(doc)), *await look.end()]
    assert len(out) == 2 and b"eve" not in out[1].raw and json.loads(out[1].data)
    plain = window(mask=False)
    assert [*await plain.feed(*chunk({"a": X})), *await plain.end()] == [chunk({"a": X})[0]]


async def test_anywhere_in_pieces() -> None:
    """In pieces too, where they continue each other; and a field that is not said again holds nothing up."""
    deltas = [{"role": "assistant", "zzz": "no "}, {"zzz": "to eve@exa"}, {"zzz": "mple.com"}, {"content": "hi"}]
    look, out = window(), []
    for delta in deltas:
        out += await look.feed(*chunk({"choices": [{"index": 0, "delta": delta}]}))
    told = "".join(json.loads(each.data)["choices"][0]["delta"].get("zzz", "") for each in out)
    assert told == f"no to {MASK}"


@pytest.mark.parametrize(
    ("data", "left"),
    [
        (b"eve@example.com", MASK.encode()),
        (b'{"choices":[{"delta":{"content":"eve@example.com', b'{"choices":[{"delta":{"content":"' + MASK.encode()),
        (b'{"a": eve@example.com}', b'{"a": ' + MASK.encode() + b"}"),
        (b"\xff eve@example.com \xc3\xa9", b"\xff " + MASK.encode() + b" \xc3\xa9"),
        (b"[DONE]", b"[DONE]"),
    ],
)
async def test_no_json(data: bytes, left: bytes) -> None:
    """What is no JSON, or an unfinished event, is searched as a text."""
    look = window()
    out = [*await look.feed(Event(b"data: " + data + b"\n\n", data), None), *await look.end()]
    assert [each.raw for each in out] == [b"data: " + left + b"\n\n"]


async def test_numbers_anywhere() -> None:
    """A long number of a tool's input is masked as a string."""
    look = Window(
        DIALECTS["anthropic"], Finder(re.compile(r"(?P<CARD>4\d{15})")).find, lambda _: False, lambda _: True, 80
    )
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {"card": 4111111111111111}}
    out = [
        *await look.feed(*chunk({"type": "content_block_start", "index": 0, "content_block": block})),
        *await look.end(),
    ]
    assert json.loads(out[0].data)["content_block"]["input"] == {"card": MASK}


async def test_ids_are_searched_once() -> None:
    """What comes in every event (ids, the model's name) is searched once, not anew for each."""
    finder = Finder()
    look = Window(CHAT, finder.find, lambda _: False, lambda _: True, 80)
    for _ in range(40):
        await look.feed(*chunk({"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": "word "}}]}))
    await look.end()
    assert finder.asked.count("c1") <= 4  # as many as there are before the first search


async def test_apis_that_no_dialect_is_for() -> None:
    """A value in pieces is masked there too, and what ends a text lets it go."""
    look = window(dialect="generic")
    out: list[Event] = []
    for piece in ("mail ", "eve", "@exa", "mple.com", " now"):
        out += await look.feed(*chunk({"model": "m", "message": {"content": piece}, "done": False}))
    out += await look.feed(*chunk({"done": True, "eval_count": 3}))
    assert "".join(json.loads(each.data)["message"]["content"] for each in out[:-1]) == f"mail {MASK} now"
    assert json.loads(out[-1].data) == {"done": True, "eval_count": 3}
    assert await look.end() == []
