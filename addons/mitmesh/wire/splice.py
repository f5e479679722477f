"""New values put into a JSON text, all other characters left as they are.

One pass that steps into what lies on the path of an edit, and over everything else at the speed of the C scanner: the
time is linear in the text, whatever the number of edits.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import Any


class Edit(Enum):
    """What becomes of a place: its value is replaced as a whole, or it is a new member of an object."""

    REPLACE = 1
    INSERT = 2


type Edits = dict[str | int, "Edits | Edit"]
"""What was set, as a tree along the paths."""

dumps = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
"""A value as compact JSON text. Raises ValueError for NaN and Infinity."""
_scan = json.JSONDecoder().raw_decode  # (text, start) -> (value, end), in C
_space = re.compile(r"[ \t\n\r]*").match


def splice(text: str, doc: Any, edits: Edits) -> str:
    """`text` with the values at `edits` as they are in `doc`, which is otherwise what `text` says; a new member
    goes behind the last of its object. `text` must be valid JSON, an array or object."""
    return _Splice(text).render(doc, edits)


class _Splice:
    """One pass over a text that steps into what lies on a path of an edit, and over all else in C."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._out: list[str] = []
        self._copied = 0

    def render(self, doc: Any, edits: Edits) -> str:
        self._container(self._skip(0), doc, edits, root=True)
        self._out.append(self._text[self._copied :])
        return "".join(self._out)

    def _skip(self, at: int) -> int:
        """Over white space."""
        return _space(self._text, at).end() if self._text[at] in " \t\n\r" else at  # type: ignore[union-attr]

    def _write(self, start: int, end: int, new: str) -> None:
        self._out += (self._text[self._copied : start], new)
        self._copied = end

    def _last(self) -> int:
        """Behind the document's last member."""
        return len(self._text.rstrip(" \t\n\r")[:-1].rstrip(" \t\n\r"))

    def _container(self, at: int, doc: Any, edits: Edits, *, root: bool = False) -> int:
        """Write the array or object at `at` as `doc` now says; gives its end (but for the root, which has none)."""
        text, index, is_object = self._text, -1, self._text[at] == "{"
        left = sum(edit is not Edit.INSERT for edit in edits.values())
        end = at + 1
        at = self._skip(end)
        while text[at] not in "]}":
            if root and not left:  # the rest of a long body need not be read
                end = self._last()
                break
            if text[at] == ",":
                at = self._skip(at + 1)
            key: str | int
            if is_object:
                key, at = _scan(text, at)
                at = self._skip(self._skip(at) + 1)
            else:
                key = index = index + 1
            end = self._value(at, key, doc, edits)
            left -= key in edits
            at = self._skip(end)
        self._insert(end, doc, [key for key, edit in edits.items() if edit is Edit.INSERT])
        return at + 1

    def _insert(self, at: int, doc: Any, keys: list[str | int]) -> None:
        """New members, in the order they were set."""
        for key in keys:
            comma = "" if self._text[at - 1] == "{" and key is keys[0] else ","
            self._write(at, at, f"{comma}{dumps(key)}:{dumps(doc[key])}")

    def _value(self, at: int, key: str | int, doc: Any, edits: Edits) -> int:
        """Write the value at `at`, which is `doc[key]`; gives its end in the text as it came."""
        if key not in edits:
            return int(_scan(self._text, at)[1])
        below = edits[key]
        if isinstance(below, dict):
            return self._container(at, doc[key], below)
        end = int(_scan(self._text, at)[1])
        self._write(at, end, dumps(doc[key]))
        return end
