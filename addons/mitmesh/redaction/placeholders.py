"""Placeholders: their shape, how they are numbered, and the forms in which an answer may say them.

`<EMAIL_1>` stands for the first e-mail address of a call. Numbers follow from the request alone, so the same value has
the same name on every turn of a growing conversation, in every worker and after a restart.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange

from mitmesh.redaction.nesting import Nesting

LITERAL = "LITERAL"
"""The type of what looks like a placeholder in the client's own text."""

_NAME = r"[A-Z][A-Z0-9_]{0,39}_[0-9]{1,9}"
_PLAIN = re.compile(rf"<({_NAME})>")
DEPTHS = (1, 2, 4, 8)
"""Backslashes before an escape that lies in one string of JSON, in a string within a string, and so on."""
_ESCAPED = r"[A-Z](?:[A-Z0-9_]|\2u005[fF]){0,39}(?:_|\2u005[fF])[0-9]{1,9}"
"""The same with its underscores escaped, as what opens it is."""
SHAPE = re.compile(rf"<({_NAME})>|(\\{{8}}|\\{{4}}|\\{{1,2}})u003[cC]({_ESCAPED})\2u003[eE]")
"""A placeholder as it may be said: plainly, or JSON-escaped (JSON within JSON: again and again)."""
_UNDERSCORE = re.compile(r"\\+u005[fF]")
LONGEST = 200
"""Characters of the longest form: a name of 50 between two escapes of thirteen, and some such in it."""

_OPENINGS = (
    ("<", ">", "_"),
    *(
        ("\\" * depth + "u003c", "\\" * depth + "u003e", sign)
        for depth in DEPTHS
        for sign in ("_", "\\" * depth + "u005f")
    ),
)
"""What stands before and behind a name, and for its underscores."""
_MAY_OPEN = re.compile(r"[<\\]")


def values_of(x: Exchange) -> dict[str, str] | None:
    """What was taken out of a call, by name; None where redaction did not see the call, or let something through that
    a rule would have taken out (observe): then its text is no redacted text."""
    state = x.notes.get("redact")
    return None if state is None or state.clear else state.table.values


def literals(text: str) -> Iterable[tuple[int, int]]:
    """Where the text has something that looks like a placeholder."""
    if "_" not in text:
        return ()
    if "\\u003" in text:
        return [found.span() for found in SHAPE.finditer(text)]
    return [found.span() for found in _PLAIN.finditer(text)] if "<" in text else ()  # a tenth of the time


class Names:
    """Gives each value of one call its name. `known` are names of earlier calls, which keep their values; `first` is
    the number to begin with where nothing is known of an earlier call that there was."""

    __slots__ = ("_counts", "_first", "by_value")

    def __init__(self, known: dict[str, str] | None = None, first: int = 1) -> None:
        """`known`: name without brackets (`EMAIL_1`) to value."""
        self._counts: dict[str, int] = {}
        self._first = first
        self.by_value: dict[str, str] = {}
        for name, value in (known or {}).items():
            kind, _, number = name.rpartition("_")
            self._counts[kind] = max(self._counts.get(kind, 0), int(number))
            self.by_value[value] = name

    def reserve(self, names: Iterable[str]) -> None:
        """Give none of these names: nobody knows what they stand for."""
        for name in names:
            kind, _, number = name.rpartition("_")
            self._counts[kind] = max(self._counts.get(kind, 0), int(number))

    def of(self, kind: str, value: str) -> str:
        """The value's name; the next of its type where it has none."""
        name = self.by_value.get(value)
        if name is None:
            number = max(self._counts.get(kind, 0), self._first - 1) + 1
            self._counts[kind] = number
            name = self.by_value[value] = f"{kind}_{number}"
        return name


class Table:
    """What may be restored in the answer of one call: the caller's own values by name, and nothing else."""

    __slots__ = ("_forms", "values")

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values
        self._forms: list[str] | None = None

    def __bool__(self) -> bool:
        return bool(self.values)

    def restore(self, text: str, nesting: Nesting | None = None) -> str:
        """The text with every placeholder of this call replaced by its value, escaped for where it goes: `nesting`
        has read what stands before the text, where that belongs to a JSON document, and reads this text too. What is
        no placeholder of this call stays as it is."""
        out, copied = [], 0
        for found in SHAPE.finditer(text) if "<" in text or "\\u003" in text else ():
            known = self.values.get(found[1] or _UNDERSCORE.sub("_", found[3]))
            if known is None:
                continue
            before = text[copied : found.start()]
            if nesting:
                nesting.read(before)
            depth = max(DEPTHS.index(len(found[2])) + 1 if found[2] else 0, max(1, nesting.depth()) if nesting else 0)
            out += [before, _escaped(known, depth)]
            copied = found.end()
        if nesting:
            nesting.read(text[copied:])
        return "".join([*out, text[copied:]]) if out else text

    def held(self, text: str) -> int:
        """How many characters at the text's end could be the beginning of a placeholder of this call."""
        begin = max(0, len(text) - LONGEST)
        for found in _MAY_OPEN.finditer(text, begin):
            if self._begins(text[found.start() :]):
                return len(text) - found.start()
        return 0

    def _begins(self, suffix: str) -> bool:
        """Is it a proper prefix of a form of one of our placeholders?"""
        if self._forms is None:
            self._forms = sorted(
                f"{left}{name.replace('_', sign)}{right}" for name in self.values for left, right, sign in _OPENINGS
            )
        suffix = suffix.replace("u003C", "u003c").replace("u003E", "u003e").replace("u005F", "u005f")
        at = bisect_left(self._forms, suffix)
        return at < len(self._forms) and self._forms[at].startswith(suffix) and self._forms[at] != suffix


def _escaped(value: str, depth: int) -> str:
    """The value as it stands within a string of JSON, `depth` strings deep."""
    for _ in range(depth):
        value = json.dumps(value, ensure_ascii=False)[1:-1]
    return value
