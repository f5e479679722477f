"""One session as turns: what each call added to the conversation, what was decided, which tools were called."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Any

SHOWN_CHARS = 1_200
"""Of a message before the rest is folded away."""
LONGEST_CHARS = 100_000
"""Of a message on a page at all; Datasette's own row has the whole of it."""
LOOK_BACK = 16
"""Calls before; a session may be several conversations, an agent's and those of its helpers."""


@dataclass(slots=True)
class Said:
    """One message: the beginning that is shown, and the rest. `text` None: its text was not kept."""

    role: str
    chars: int
    text: str | None
    rest: str = ""
    cut: bool = False
    tools: list[str] = field(default_factory=list)
    """What a tool call calls, as far as known."""


@dataclass(slots=True)
class Turn:
    """One call. `said` is what its request added, `answer` what came back; both None where content was not read."""

    number: int
    call: Mapping[str, Any]
    verdicts: list[Mapping[str, Any]] = field(default_factory=list)
    said: list[Said] | None = None
    answer: list[Said] | None = None
    repeated: int = 0
    """Messages of the request that an earlier turn had as well, or answered with."""
    tools: list[str] = field(default_factory=list)

    @property
    def redactions(self) -> list[Mapping[str, Any]]:
        """The verdicts that took something out."""
        return [verdict for verdict in self.verdicts if verdict["action"] == "redact"]

    @property
    def notable(self) -> list[Mapping[str, Any]]:
        """The verdicts that did more than allow."""
        return [verdict for verdict in self.verdicts if verdict["action"] not in ("allow", "redact")]

    @property
    def provider_ms(self) -> float | None:
        """Milliseconds that were not ours."""
        total, own = self.call["total_ms"], self.call["own_ms"]
        return None if total is None else max(total - (own or 0.0), 0.0)


@dataclass(slots=True)
class _Call:
    """What a call had: its messages, its answer's behind them; and of these the calls of tools."""

    messages: list[Hashable]
    called: list[Hashable]


def turns(
    calls: Sequence[Mapping[str, Any]],
    verdicts: Iterable[Mapping[str, Any]],
    messages: Iterable[Mapping[str, Any]] | None,
) -> list[Turn]:
    """The calls of one session in order, with what belongs to each. `messages` None: content is not read."""
    found = {row["id"]: Turn(number, row) for number, row in enumerate(calls, 1)}
    for verdict in verdicts:
        found[verdict["exchange"]].verdicts.append(verdict)
    if messages is not None:
        _add_messages(found, messages)
    return list(found.values())


def _add_messages(found: Mapping[str, Turn], messages: Iterable[Mapping[str, Any]]) -> None:
    by_call: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for message in messages:
        by_call[message["exchange"]].append(message)
    before: deque[_Call] = deque(maxlen=LOOK_BACK)
    for id, turn in found.items():
        asked = [message for message in by_call[id] if message["direction"] != "answer"]
        answered = [message for message in by_call[id] if message["direction"] == "answer"]
        keys = [_key(message) for message in asked]
        again, calls = _again(keys, before)
        turn.said = []
        for place, message in enumerate(asked):
            if place not in again and message["role"] == "tool_call" and calls:  # the answer's, written another way
                calls -= 1
                again.add(place)
            if place not in again:
                turn.said.append(_said(message))
        turn.repeated = len(again)
        turn.answer = [_said(message) for message in answered]
        for message, said in zip(answered, turn.answer, strict=True):
            if message["role"] == "tool_call":
                said.tools = [_tool(message)]
        turn.tools = [tool for said in turn.answer for tool in said.tools]
        called = [_key(message) for message in answered if message["role"] == "tool_call"]
        before.appendleft(_Call(keys + [_key(message) for message in answered], called))


def _key(message: Mapping[str, Any]) -> Hashable:
    """The same for the same message. Of a text that was not kept its size is all that is known."""
    return message["message"] if message["message"] is not None else (message["role"], message["chars"])


def _again(keys: list[Hashable], before: Iterable[_Call]) -> tuple[set[int], int]:
    """The places of the messages that the call before had too (the one that begins most alike, the latest of those),
    but for the last, which is what this call is about; and how many tools its answer called that are not among them."""
    history = keys[:-1]
    earlier = max(before, key=lambda each: _alike(each.messages, history), default=_Call([], []))
    begun = _alike(earlier.messages, history)
    rest = SequenceMatcher(None, earlier.messages[begun:], history[begun:], autojunk=False).get_matching_blocks()
    again = {*range(begun), *(begun + b + place for _, b, size in rest for place in range(size))}
    return again, sum(key not in keys for key in earlier.called)


def _alike(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _said(message: Mapping[str, Any]) -> Said:
    text: str | None = message["text"]
    if text is None:
        return Said(message["role"], message["chars"], None)
    cut = len(text) > LONGEST_CHARS
    return Said(message["role"], message["chars"], text[:SHOWN_CHARS], text[SHOWN_CHARS:LONGEST_CHARS], cut)


def _tool(message: Mapping[str, Any]) -> str:
    """The tool's name; in rows from before there was a column for it, the beginning of the text."""
    return str(message.get("tool") or message["text"] or "tool").partition("\n")[0][:80]
