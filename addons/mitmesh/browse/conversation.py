"""One session as turns: what each call added to the conversation, what was decided, which tools were called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SHOWN_CHARS = 1_200
"""Of a message before the rest is folded away."""
LONGEST_CHARS = 100_000
"""Of a message on a page at all; Datasette's own row has the whole of it."""


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
    """Messages of the request that the turns before had as well."""
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
    known: set[int] = set()
    before: list[str] = []
    for id, turn in found.items():
        turn.said, turn.answer = [], []
        for message in by_call[id]:
            if message["direction"] == "answer":
                turn.answer.append(_said(message))
                if message["role"] == "tool_call":
                    turn.answer[-1].tools = [_tool(message)]
                    turn.tools.append(_tool(message))
            elif message["message"] in known:
                turn.repeated += 1
            else:
                turn.said.append(_said(message))
                if message["role"] == "tool_call":  # what the answer before asked for, sent back without a name
                    turn.said[-1].tools, before = before, []
            if message["message"] is not None:
                known.add(message["message"])
        before = list(turn.tools)


def _said(message: Mapping[str, Any]) -> Said:
    text: str | None = message["text"]
    if text is None:
        return Said(message["role"], message["chars"], None)
    cut = len(text) > LONGEST_CHARS
    return Said(message["role"], message["chars"], text[:SHOWN_CHARS], text[SHOWN_CHARS:LONGEST_CHARS], cut)


def _tool(message: Mapping[str, Any]) -> str:
    """The tool's name; in rows from before there was a column for it, the beginning of the text."""
    return str(message.get("tool") or message["text"] or "tool").partition("\n")[0][:80]
