"""What is kept of the texts of an exchange, and how it is written: each message once, under its keyed hash.

Two notes on the Exchange are hooks for stages that tell apart what is sent from what is stored:
`stored_texts` (dict of `Text.path` to the text to store) and `stored_answer` (dict of a part's index to its text, of
`(NAME, index)` to the name a part has, and of `ANSWER_MODEL` to the model's).
A stage that sets `stored_texts` has looked at every text of the request; what it left out is stored as it is.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mitmesh.dialects.base import Kind, Part, Text
from mitmesh.rules import Content
from mitmesh.store.database import Row, insert, transaction
from mitmesh.store.histories import History, Said, history, known, link

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange
    from mitmesh.store.keys import Hasher

STORED_TEXTS = "stored_texts"
STORED_ANSWER = "stored_answer"
NAME, ANSWER_MODEL = "name", "model"

REQUEST = "request"
ANSWER = "answer"

type Message = tuple[str, str]
"""Role and text."""

_ROLES = {Kind.TEXT: "assistant", Kind.REASONING: "reasoning", Kind.TOOL_CALL: "tool_call", Kind.REFUSAL: "refusal"}
_ADD_MESSAGE = "insert or ignore into messages (hash, role, text, first_seen) values (?, ?, ?, ?)"
_SAY = (
    "insert or ignore into own_messages (exchange, direction, position, role, chars, message, tool)"
    " values (?, ?, ?, ?, ?, ?, ?)"
)
_TOOL = 200
"""Characters kept of a tool's name."""
_FIND = "select json_group_object(hash, id) from messages where hash in (select value from json_each(?))"


@dataclass(slots=True, frozen=True)
class Texts:
    """The texts of one direction of one exchange, on their way to content.db. `keep` false keeps sizes and roles only.
    `size` is about how many bytes they hold in memory."""

    exchange: str
    direction: str
    when: str
    parts: tuple[Text | Part, ...]
    keep: bool
    size: int
    stored: Mapping[Any, str] = field(default_factory=dict)


def kept(x: Exchange, *, redacting: bool, passed: bool) -> Content:
    """What the rules let us keep of this exchange. Text that no redaction has seen is kept only where the rules say
    `text: raw` in words: `redacting` tells whether the stage is loaded, `passed` whether the call got past it."""
    content: Content = x.rules.content(x.identity.team)
    if content in (Content.NONE, Content.METADATA) or x.rules.mesh.audit.text == "raw":
        return content
    seen = redacting and (passed or STORED_TEXTS in x.notes)
    return content if seen else Content.METADATA


def request_texts(x: Exchange, content: Content, when: str) -> Texts:
    """The request's texts as they are to be stored: `full` as they are sent, `redacted` as the redaction says."""
    stored = x.notes.get(STORED_TEXTS, {}) if content is Content.REDACTED else {}
    keep = content in (Content.FULL, Content.REDACTED)
    size = max(x.request_bytes, len(x.body.raw) if x.body else 0)  # the first is smaller where it came compressed
    return Texts(x.id, REQUEST, when, tuple(x.call.texts), keep, size, stored)


def answer_texts(x: Exchange, content: Content, when: str) -> Texts:
    """The answer's parts, the same way."""
    stored = x.notes.get(STORED_ANSWER, {}) if content is Content.REDACTED else {}
    parts = tuple(x.answer.parts) if x.answer else ()
    return Texts(x.id, ANSWER, when, parts, content in (Content.FULL, Content.REDACTED), x.response_bytes, stored)


def answer_model(x: Exchange) -> str | None:
    """The model that the answer says it is from, as audit and metrics may show it."""
    if x.answer is None or x.answer.model is None:
        return None
    stored: Mapping[Any, str] = x.notes.get(STORED_ANSWER, {})
    return stored.get(ANSWER_MODEL, x.answer.model)


def messages(texts: Texts) -> list[Message]:
    """The texts as messages: all texts of one message and role are one, a line each, in conversation order."""
    if texts.direction == ANSWER:
        return list(_answer_messages(texts))
    grouped: dict[tuple[int, str], list[str]] = {}
    stored = texts.stored
    for text in texts.parts:
        assert isinstance(text, Text)
        line = stored.get(text.path, text.text) if stored else text.text
        grouped.setdefault((text.message, text.provenance.value), []).append(line)
    return [(role, "\n".join(lines)) for (_, role), lines in grouped.items()]


def _answer_messages(texts: Texts) -> Iterable[Message]:
    for index, part in enumerate(texts.parts):
        assert isinstance(part, Part)
        if part.kind is not Kind.OPAQUE:
            text = texts.stored.get(index, part.text)
            name = texts.stored.get((NAME, index), part.name) if part.name else None
            yield _ROLES[part.kind], f"{name}\n{text}" if name else text


def _tools(texts: Texts) -> set[int]:
    """The positions of an answer's messages that begin with the name of a tool."""
    if texts.direction == REQUEST:
        return set()
    said = [part for part in texts.parts if isinstance(part, Part) and part.kind is not Kind.OPAQUE]
    return {position for position, part in enumerate(said) if part.kind is Kind.TOOL_CALL and part.name}


def write(conn: sqlite3.Connection, batch: list[Texts], hasher: Hasher) -> None:
    """Store a batch in one transaction: new messages are added and indexed, known ones only pointed at. The last
    message of a request and those of an answer are the exchange's own; what comes before is a history, which it may
    share."""
    histories: list[History] = []
    own: list[tuple[Texts, int, Said]] = []
    for texts in batch:
        said = [Said(role, text, texts.keep) for role, text in messages(texts)]
        begin = len(said) - 1 if texts.direction == REQUEST else 0
        if begin > 0:
            histories.append(history(texts.exchange, texts.when, said[:begin], hasher))
        own += [(texts, position, said[position]) for position in range(max(begin, 0), len(said))]
    with transaction(conn):
        known_histories = known(conn, histories)
        new = {said: one.when for one in histories for said in one.new if said.kept}
        new |= {said: texts.when for texts, _, said in own if said.kept and said not in new}
        ids = _messages(conn, new, hasher)
        link(conn, histories, known_histories, ids)
        insert(conn, _SAY, [_own(texts, position, said, ids) for texts, position, said in own])


def _own(texts: Texts, position: int, said: Said, ids: dict[Said, int]) -> Row:
    tool = said.text.partition("\n")[0][:_TOOL] if said.kept and position in _tools(texts) else None
    return (texts.exchange, texts.direction, position, said.role, len(said.text), ids.get(said), tool)


def _messages(conn: sqlite3.Connection, wanted: dict[Said, str], hasher: Hasher) -> dict[Said, int]:
    """The ids of these messages, with when each was seen; those that are not there yet are added."""
    keys = {said: hasher.message(said.role, said.text) for said in wanted}
    ids = _find(conn, keys.values())
    missing: list[Row] = [
        (keys[said], said.role, said.text, when) for said, when in wanted.items() if keys[said] not in ids
    ]
    if missing:
        insert(conn, _ADD_MESSAGE, missing)
        ids |= _find(conn, [row[0] for row in missing])
    return {said: ids[key] for said, key in keys.items()}


def _find(conn: sqlite3.Connection, hashes: Iterable[str]) -> dict[str, int]:
    """The ids of those that are there already. Asked inside the transaction and not remembered between batches:
    another worker's retention may have deleted them."""
    wanted = json.dumps(list(hashes))
    answer = conn.execute(_FIND, (wanted,)).fetchone()[0]
    result: dict[str, int] = json.loads(answer)
    return result
