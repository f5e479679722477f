"""What of a body is no string value and may yet say something: names of members, and long numbers.

A dialect's text positions are string values. But `{"ann@example.com": {"card": 4111111111111111}}` has two values that
must not leave in places where none of them looks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mitmesh.dialects.base import Path, Provenance, Text
from mitmesh.redaction.placeholders import SHAPE, Table
from mitmesh.wire.jsontext import Body

_PLAIN = re.compile(r"[A-Za-z0-9_$]{1,32}(?:[-./:][A-Za-z0-9_$]{1,32}){0,2}")
"""Names as APIs and schemas have them. Those with letters alone are told by str.isidentifier, which is faster."""
_SHORT_NAME = 40
_SHORT_NUMBER = 10**6


def members(doc: Any) -> list[Text]:
    """Names of members that do not look like a field's, and whole numbers of seven digits or more; as texts whose path
    is the member's. (What is a name and what a number follows from whether the path leads to a number.)"""
    found: list[Text] = []
    todo: list[tuple[Path, Any]] = [((), doc)]
    while todo:
        path, node = todo.pop()
        if type(node) is dict:
            for key, value in node.items():
                if not (key.isidentifier() and key.isascii() and len(key) < _SHORT_NAME) and _odd(key):
                    found.append(Text((*path, key), Provenance.METADATA, key))
                kind = type(value)
                if kind is dict or kind is list:
                    todo.append(((*path, key), value))
                elif kind is int and (value >= _SHORT_NUMBER or value <= -_SHORT_NUMBER):
                    found.append(Text((*path, key), Provenance.METADATA, str(value), is_json=True))
        else:
            for index, value in enumerate(node) if type(node) is list else ():
                kind = type(value)
                if kind is dict or kind is list:
                    todo.append(((*path, index), value))
                elif kind is int and (value >= _SHORT_NUMBER or value <= -_SHORT_NUMBER):
                    found.append(Text((*path, index), Provenance.METADATA, str(value), is_json=True))
    return found


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
