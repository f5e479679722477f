"""What of a body is no string value and may yet say something: names of members, and long whole numbers.

A dialect's text positions are string values. But `{"ann@example.com": {"card": 4111111111111111}}` has two values that
must not leave in places where none of them looks.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mitmesh.dialects.base import Path, Provenance, Text
from mitmesh.redaction.placeholders import SHAPE, Table
from mitmesh.wire.jsontext import Body

_PLAIN = re.compile(r"[A-Za-z0-9_$]{1,32}(?:[-./:][A-Za-z0-9_$]{1,32}){0,2}")
"""Names as APIs and schemas have them. Those with letters alone are told by str.isidentifier, which is faster."""
_SECRET_NAME = re.compile(r"[A-Za-z0-9_$./:-]{6,}")
"""Values that can be part of a name which looks like a field's."""
_COMMON = frozenset({
    "role", "content", "type", "text", "name", "id", "input", "parts", "tool_calls", "tool_call_id", "tool_use_id",
    "function", "arguments", "cache_control", "description", "parameters", "properties", "required", "items",
})  # fmt: skip
"""The names that most members have; told in one look, without a look at each."""
_SHORT_NAME = 40
_SHORT_NUMBER = 10**6
_LONGEST_NUMBER = 10**20
"""Beyond it no number is anybody's card, account or phone."""
_FIELDS = {
    "input": Provenance.TOOL_CALL,
    "args": Provenance.TOOL_CALL,
    "arguments": Provenance.TOOL_CALL,
    "functionCall": Provenance.TOOL_CALL,
    "function_call": Provenance.TOOL_CALL,
    "functionResponse": Provenance.TOOL_RESULT,
    "function_response": Provenance.TOOL_RESULT,
    "input_schema": Provenance.TOOL_DEFINITION,
    "parameters": Provenance.TOOL_DEFINITION,
    "functionDeclarations": Provenance.TOOL_DEFINITION,
    "function_declarations": Provenance.TOOL_DEFINITION,
}
"""Fields of the dialects in which whole JSON documents stand, and who wrote those. (Not at the top: the Responses API
has its messages in `input`.)"""


def members(doc: Any, telling: Callable[[str], Any] | None = None) -> list[Text]:
    """Names of members that do not look like a field's or are `telling`, and whole numbers of seven digits or more; as
    texts whose path is the member's, in document order. (What is a name and what a number follows from whether the
    path leads to a number.)"""
    found: list[Text] = []
    todo: list[tuple[Path, Any]] = [((), doc)]
    while todo:
        path, node = todo.pop()
        below: list[tuple[Path, Any]] = []
        steps: Iterable[tuple[str | int, Any]]
        if type(node) is dict:
            steps = node.items()
            if telling or not node.keys() <= _COMMON:
                found += [
                    Text((*path, key), Provenance.METADATA, key)
                    for key in node
                    if (not _usual(key) and _odd(key)) or (telling and telling(key))
                ]
        else:
            steps = enumerate(node) if type(node) is list else ()
        for step, value in steps:
            kind = type(value)
            if kind is str:  # most of them
                continue
            if kind is dict or kind is list:
                below.append(((*path, step), value))
            elif (kind is int or (kind is float and value.is_integer())) and not -_SHORT_NUMBER < value < _SHORT_NUMBER:
                found.append(Text((*path, step), Provenance.METADATA, _digits(value), is_json=True))
        if below:
            below.reverse()
            todo += below
    return found


def called(doc: Any, values: Iterable[str]) -> list[Text]:
    """Names of members that hold one of these values and look like a field's, so that `members` has none of them:
    `{"hunter2zz9Q": 1}`, where that is a password. (A value of small letters alone may be any field's name.)"""
    wanted = {value for value in values if _SECRET_NAME.fullmatch(value) and not value.islower()}
    wanted = {value for value in wanted if not _many_digits(value)}  # such a name looks like no field's
    if not wanted:
        return []
    found: list[Text] = []
    todo: list[tuple[Path, Any]] = [((), doc)]
    while todo:
        path, node = todo.pop()
        steps: Iterable[tuple[str | int, Any]] = ()
        if isinstance(node, dict):
            steps = node.items()
            usual = (key for key in node if _usual(key) or not _odd(key))
            named = (key for key in usual if any(value in key for value in wanted))
            found += [Text((*path, key), Provenance.METADATA, key) for key in named]
        elif isinstance(node, list):
            steps = enumerate(node)
        todo += [((*path, step), value) for step, value in steps if isinstance(value, (dict, list))]
    return found


def _digits(number: float) -> str:
    """A whole number as JSON, without an exponent: `4.111111111111111e15` is a card's number too."""
    return str(int(number)) if abs(number) < _LONGEST_NUMBER else str(number)


def woven(texts: Sequence[Text], found: Sequence[Text]) -> tuple[list[Text], frozenset[int]]:
    """The texts of a call with such members among them, each behind the last text beside it, in its own message: a
    member is numbered where it stands in the conversation, and not anew on every turn. And the members' indices."""
    if not found:
        return list(texts), frozenset()
    last: dict[Path, int] = {}
    siblings: dict[Path, list[int]] = {}
    for index, text in enumerate(texts):
        for size in range(len(text.path) + 1):
            last[text.path[:size]] = index
    for path in last:
        if path and isinstance(path[-1], int):
            siblings.setdefault(path[:-1], []).append(path[-1])
    for indices in siblings.values():
        indices.sort()
    behind: dict[int, list[Text]] = {}
    for member in found:
        index = _beside(member.path, last, siblings)
        member.provenance = _provenance(member.path, texts[index] if 0 <= index < len(texts) else None)
        behind.setdefault(index, []).append(member)
    out, members_at = list(behind.get(-1, ())), set(range(len(behind.get(-1, ()))))
    for index, text in enumerate(texts):
        out.append(text)
        for member in behind.get(index, ()):
            members_at.add(len(out))
            out.append(member)
    return out, frozenset(members_at)


def _beside(path: Path, last: Mapping[Path, int], siblings: Mapping[Path, list[int]]) -> int:
    """The index of the last text under the nearest node that has any; in a list without one at our place, of the
    elements before ours: those behind it may not be there yet on the turn before. -1: before all texts."""
    for size in range(len(path), -1, -1):
        if (index := last.get(path[:size])) is None:
            continue
        step = path[size] if size < len(path) else None
        if not isinstance(step, int):
            return index
        before = bisect_left(siblings.get(path[:size], []), step) - 1
        if before >= 0:
            return last[(*path[:size], siblings[path[:size]][before])]
    return -1


def _provenance(path: Path, beside: Text | None) -> Provenance:
    """Who wrote a member: by the field it stands in, else as the text beside it in the same message."""
    for step in path[:0:-1]:
        if provenance := _FIELDS.get(str(step)):
            return provenance
    return beside.provenance if beside and beside.path[:2] == path[:2] else Provenance.METADATA


def _usual(key: str) -> bool:
    return key.isidentifier() and key.isascii() and len(key) < _SHORT_NAME


def _odd(key: str) -> bool:
    return bool(key) and not (_PLAIN.fullmatch(key) and not _many_digits(key))


def _many_digits(key: str) -> bool:
    return sum(char.isdigit() for char in key) >= 7  # as many as the shortest number that is looked at has


def write_members(body: Body, found: Sequence[Text], new: Mapping[int, str]) -> None:
    """Put new texts (by index) in the place of such members. After all other edits: paths below a renamed member no
    longer hold."""
    names: dict[Path, dict[str, str]] = {}
    for index, text in new.items():
        member = found[index]
        if member.is_json:  # a number: the text is a JSON document by itself
            body.set(member.path, text.strip('"'))
        else:
            names.setdefault(member.path[:-1], {})[member.text] = text
    for parent in sorted(names, key=len, reverse=True):
        _rename(body, parent, names[parent])


def restore_names(body: Body, table: Table) -> None:
    """Put the caller's values back into names of members."""
    todo: list[tuple[Path, Any]] = [((), body.doc)]
    names: dict[Path, dict[str, str]] = {}
    while todo:
        path, node = todo.pop()
        if isinstance(node, dict):
            for key in node:
                if SHAPE.search(key) and (new := table.restore(key)) != key:
                    names.setdefault(path, {})[key] = new
        below = node.items() if isinstance(node, dict) else enumerate(node)
        todo += [((*path, key), value) for key, value in below if isinstance(value, (dict, list))]
    for parent in sorted(names, key=len, reverse=True):
        _rename(body, parent, names[parent])


def _rename(body: Body, parent: Path, names: Mapping[str, str]) -> None:
    node = body.doc
    for step in parent:
        node = node[step]
    renamed: dict[str, Any] = {}
    for key, value in node.items():
        name = names.get(key, key)
        while name in renamed:  # two that are masked alike must both stay
            name += "_"
        renamed[name] = value
    body.set(parent, renamed)
