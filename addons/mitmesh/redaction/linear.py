"""A Python pattern as one for RE2, which matches wherever the first does (perhaps elsewhere too), in linear time.

What only narrows a pattern is left out (looks ahead and behind), and counts are loosened, for they make
an automaton large. It holds for texts that are `plain`: of others the two do not mean the same by a letter or a space.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_SPACES = "\x0b\x1c\x1d\x1e\x1f"
"""White space that RE2 does not know."""
_DIFFERENT = re.compile("(?=[^\x00-\x7f])[\\w\\s\ud800-\udfff]")
"""Letters, digits and spaces beyond ASCII; what is not UTF-8."""
_COUNTED = 16
"""Repetitions above it are taken for "at least so many"."""
_FLAGS = {re.IGNORECASE: "i", re.DOTALL: "s"}
_CLASSES = {
    op.CATEGORY_DIGIT: r"\d", op.CATEGORY_NOT_DIGIT: r"\D", op.CATEGORY_SPACE: r"\s", op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w", op.CATEGORY_NOT_WORD: r"\W",
}  # fmt: skip
_PLACES = {
    op.AT_BOUNDARY: r"\b", op.AT_NON_BOUNDARY: r"\B", op.AT_BEGINNING: "(?m:^)", op.AT_END: "(?m:$)",
    op.AT_BEGINNING_STRING: r"\A", op.AT_END_STRING: r"\z",
}  # fmt: skip
"""Ends of the text are taken for ends of a line: `$` holds before a last line break too."""


class Untranslatable(ValueError):
    """The pattern has what RE2 has not, such as a back reference."""


def plain(text: str) -> bool:
    """May a translated pattern speak for this text?"""
    return not any(space in text for space in _SPACES) and (text.isascii() or not _DIFFERENT.search(text))


def translated(pattern: str) -> str:
    """A pattern that `re` takes, for RE2. Raises Untranslatable."""
    parsed = parser.parse(pattern)
    return _flagged(parsed.state.flags, 0, _all(parsed))


def _all(nodes: Iterable[tuple[Any, Any]]) -> str:
    return "".join(_one(kind, value) for kind, value in nodes)


def _one(kind: Any, value: Any) -> str:
    if (write := _WRITE.get(kind)) is None:
        raise Untranslatable(f"RE2 has no {str(kind).lower().replace('_', ' ')}")
    return write(value)


def _char(code: int) -> str:
    char = chr(code)
    return char if char.isascii() and char.isalnum() else f"\\x{{{code:x}}}"


def _set(items: Iterable[tuple[Any, Any]]) -> str:
    out = []
    for kind, value in items:
        if kind is op.RANGE:
            out.append(f"{_char(value[0])}-{_char(value[1])}")
        elif kind is op.CATEGORY:
            out.append(_CLASSES[value])
        else:
            out.append("^" if kind is op.NEGATE else _char(value))
    return f"[{''.join(out)}]"


def _repeat(value: tuple[int, int, Any]) -> str:
    least, most, inner = value
    least = min(least, _COUNTED)
    count = f"{{{least},{most}}}" if most <= _COUNTED else {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    return f"(?:{_all(inner)}){count}"


def _group(value: tuple[Any, int, int, Any]) -> str:
    _, added, removed, inner = value
    return _flagged(added, removed, _all(inner))


def _flagged(added: int, removed: int, pattern: str) -> str:
    on = "".join(letter for flag, letter in _FLAGS.items() if added & flag)
    off = "".join(letter for flag, letter in _FLAGS.items() if removed & flag)
    return f"(?{on}{'-' if off else ''}{off}:{pattern})"


def _nothing(_: Any) -> str:
    return ""


_WRITE: dict[Any, Callable[[Any], str]] = {
    op.LITERAL: _char,
    op.NOT_LITERAL: lambda code: f"[^{_char(code)}]",
    op.ANY: lambda _: ".",
    op.IN: _set,
    op.BRANCH: lambda value: f"(?:{'|'.join(map(_all, value[1]))})",
    op.SUBPATTERN: _group,
    op.ATOMIC_GROUP: lambda value: f"(?:{_all(value)})",
    op.MAX_REPEAT: _repeat,
    op.MIN_REPEAT: _repeat,
    op.POSSESSIVE_REPEAT: _repeat,
    op.AT: lambda place: _PLACES[place],
    op.ASSERT: _nothing,
    op.ASSERT_NOT: _nothing,
}
