"""JSON as it came: strict parsing, and edits that leave every other byte alone.

Two readers of one body must not see two bodies: what we inspect is what the provider acts on. So whatever parsers
disagree about (duplicate keys, lone surrogates, NaN, a byte order mark) is refused, not guessed at.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from mitmesh.dialects.base import Path
from mitmesh.wire.splice import Edit, Edits, dumps, splice

DEPTH = 200
"""Arrays and objects within each other; agents' tool schemas reach about 20."""
VALUES = 200_000
"""Values in one body. A few compressed bytes can stand for millions of `[]`, which take memory and stop the process."""
LOCATE_LIMIT = 256 * 1024
"""Bytes: where a fault has to be looked for, it is not in a larger body, for errors must stay cheap."""

TOO_DEEP = "nested too deeply"


class BadJSON(ValueError):
    """The body is no JSON that every parser reads alike. The message says what and at which byte, never the content;
    `offset` is that byte, or None where it was not looked for."""

    def __init__(self, what: str, offset: int | None = None) -> None:
        super().__init__(what if offset is None else f"{what} at byte {offset}")
        self.offset = offset


class BadPath(LookupError):
    """The document has no such place to set."""


class _Fault(ValueError):
    """Found by one of the hooks below, which do not know where they are."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Fault("duplicate key")
    return members


def _constant(_name: str) -> NoReturn:
    raise _Fault("NaN or Infinity")


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):  # 1e999 is valid JSON; to some it is infinite, to some an error
        raise _Fault("number out of range")
    return number


_strict = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)

_surrogate = re.compile(rb"\\u[dD][89a-fA-F]").search  # faster here than bytes.find
# Up to the first \u escape that is half a surrogate pair. In valid JSON a backslash is always the start of an escape.
_paired = re.compile(rb"(?:[^\\]++|\\(?:[^u]|u(?![dD][89a-fA-F])|u[dD][89abAB]..\\u[dD][c-fC-F]..))*+", re.DOTALL).match


_string = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


def crowded(body: bytes, values: int = VALUES) -> bool:
    """Does `body` hold more than about so many values? Cheap for what is mostly text; needs no parsing."""
    if len(body) <= values:  # each takes a byte
        return False
    if body.count(b",") + body.count(b"[") + body.count(b"{") <= values:
        return False
    bare = _string.sub(b"", body)  # what stands in strings counts as one value
    return bare.count(b",") + bare.count(b"[") + bare.count(b"{") > values


def parse(body: bytes, *, depth: int = DEPTH) -> Any:
    """The document in `body`, with at most `depth` arrays and objects within each other, VALUES values, and integers
    of as many digits as Python takes (4300). Raises BadJSON, and nothing else, for what is not strictly JSON in
    UTF-8."""
    if crowded(body):
        raise BadJSON(f"more than {VALUES:,} values")
    text = _decode(body)
    try:
        doc = _strict.decode(text)
    except json.JSONDecodeError as error:
        raise BadJSON(_what(error), len(text[: error.pos].encode())) from None
    except _Fault as fault:
        raise _located(str(fault), text, depth) from None
    except RecursionError:
        raise _located(TOO_DEEP, text, depth) from None
    except ValueError:  # int() has had enough
        raise _located("integer with too many digits", text, depth) from None
    if _surrogate(body):
        paired = _paired(body)
        if paired and paired.end() < len(body):
            raise BadJSON("lone surrogate", paired.end())
    if len(body) > 2 * depth and _deeper(doc, depth):
        raise _located(TOO_DEEP, text, depth)
    return doc


def _decode(body: bytes) -> str:
    if body.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in body[:2]:
        raise BadJSON("UTF-16 or UTF-32, JSON must be UTF-8,", 0)
    if body.startswith(b"\xef\xbb\xbf"):
        raise BadJSON("byte order mark", 0)
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise BadJSON("invalid UTF-8", error.start) from None


def _what(error: json.JSONDecodeError) -> str:
    """The decoder's message: a fixed text, apart from an escape or control character it may quote."""
    return "not JSON: " + error.msg.partition(":")[0].removesuffix(" at").lower()


def _deeper(doc: Any, depth: int) -> bool:
    """Is anything in `doc` nested deeper than `depth`? Goes down level by level, so it needs no stack."""
    level = [doc] if isinstance(doc, (dict, list)) else []
    for _ in range(depth):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


_token = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}:]|[^\s\[\]{}:,"]++', re.DOTALL)


def _located(what: str, text: str, depth: int) -> BadJSON:
    """`what` went wrong, with its place where that is cheaply found. Of two faults the first in the text is told."""
    if len(text) > LOCATE_LIMIT:
        return BadJSON(what)
    try:
        found = _first_fault(text, depth)
    except (ValueError, IndexError):  # behind the fault the text need not be JSON at all
        found = None
    return BadJSON(found[0], len(text[: found[1]].encode())) if found else BadJSON(what)


def _first_fault(text: str, depth: int) -> tuple[str, int] | None:
    """What the hooks, int() or the depth limit would not take, and its place in the text."""
    stack: list[set[str]] = []
    before, start = "", 0
    for found in _token.finditer(text):
        token, at = found[0], found.start()
        if token == ":":
            key = _strict.decode(before)
            if key in stack[-1]:
                return "duplicate key", start
            stack[-1].add(key)
        elif token in "{[":
            stack.append(set())
            if len(stack) > depth:
                return TOO_DEEP, at
        elif token in "}]":
            stack.pop()
        elif token[0] in "-0123456789NI" and (fault := _number_fault(token)):
            return fault, at
        before, start = token, at
    return None


def _number_fault(token: str) -> str | None:
    try:
        _strict.decode(token)
    except _Fault as fault:
        return str(fault)
    except ValueError:
        return "integer with too many digits"
    return None


class Body:
    """A JSON body and its edits. `doc` is what it says now; change it through `set` alone."""

    __slots__ = ("_edits", "_rendered", "doc", "raw")

    def __init__(self, raw: bytes, doc: Any) -> None:
        """`raw` is the body as it came and `doc` what `parse` made of it."""
        self.raw = raw
        self.doc = doc
        self._edits: Edits | None = {}
        self._rendered: bytes | None = raw

    @property
    def changed(self) -> bool:
        """Was anything set that was not so before?"""
        return self._edits != {}

    def set(self, path: Path, value: Any) -> None:
        """Put `value` (any JSON value; kept, not copied) at `path`: in place of what is there, or as a new member of
        an object. Raises BadPath where there is no such place."""
        if not path:
            if not (type(value) is str and type(self.doc) is str and self.doc == value):
                self.doc, self._edits, self._rendered = value, None, None
            return
        parent, last = self.doc, path[-1]
        for step, key in enumerate(path[:-1]):
            _check(parent, key, step)
            parent = parent[key]
        _check(parent, last, len(path) - 1, new=True)
        new = isinstance(parent, dict) and last not in parent
        if not new and type(value) is str and type(parent[last]) is str and parent[last] == value:
            return
        parent[last] = value
        self._note(path, Edit.INSERT if new else Edit.REPLACE)

    def _note(self, path: Path, edit: Edit) -> None:
        self._rendered = None
        edits: Edits | Edit | None = self._edits
        for key in path[:-1]:
            if edits is None or isinstance(edits, Edit):  # a value above it is written as a whole
                return
            edits = edits.setdefault(key, {})
        if isinstance(edits, dict) and edits.get(path[-1]) is not Edit.INSERT:  # what is new stays new
            edits[path[-1]] = edit

    def render(self) -> bytes:
        """The body's bytes now: those that came, but for the values that were set; made once. Raises ValueError for a
        value that JSON cannot say (NaN, a lone surrogate)."""
        if self._rendered is not None:
            return self._rendered
        text = dumps(self.doc) if self._edits is None else splice(self.raw.decode(), self.doc, self._edits)
        try:
            self._rendered = text.encode()
        except UnicodeEncodeError:
            raise ValueError("a value that was set holds a lone surrogate") from None
        return self._rendered


def _check(node: Any, key: str | int, step: int, *, new: bool = False) -> None:
    if isinstance(node, dict) and isinstance(key, str) and (new or key in node):
        return
    if isinstance(node, list) and isinstance(key, int) and 0 <= key < len(node):
        return
    raise BadPath(f"the document has no place for step {step + 1} of the path")
