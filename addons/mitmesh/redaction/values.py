"""Where a value in a text ends: one in quotes at its closing quote, another where the next thing begins."""

from __future__ import annotations

import re

LONGEST = 7_000
"""Characters that a value has at most; less than two pieces of a long text overlap (`finder.OVERLAP`)."""
_QUOTES = "\"'`"
_BARE = re.compile(r"[^\s\"'`<>,;\\\0]+")
_PARAMETER = re.compile(r"&[\w.-]{1,60}=")
_TRAIL = 16
_LINE = 200
"""Signs at the end of a value, and characters before it, that are looked at."""
_CLOSERS = {")": "(", "]": "[", "}": "{"}


def quoted(text: str, start: int) -> bool:
    """Does the value that begins at `start` stand in quotes, which are closed?"""
    return _closing(text, start) >= 0


def end_of(text: str, start: int, *, parameter: bool = False, most: int = LONGEST) -> int:
    """The end of the value that begins at `start`, and has `most` characters at most. Of the parameter of a URL it is
    where the next begins."""
    if (closed := _closing(text, start)) >= 0:
        return min(closed, start + most)
    bare = _BARE.match(text, start, start + most)
    if not bare:
        return start
    end = bare.end()
    if parameter and (following := _PARAMETER.search(text, start, end)):
        end = following.start()
    return _trimmed(text, start, end)


def _closing(text: str, start: int) -> int:
    """The quote that closes the one before `start`, on the same line; -1 where there is none, or nothing opened. In
    JSON within a string (`\\"key\\": \\"value\\"`) the signs before it are no part of the value."""
    if not start or text[start - 1] not in _QUOTES:
        return -1
    quote, escaped = text[start - 1], text[max(0, start - 2) : start - 1] == "\\"
    line = text.find("\n", start, start + LONGEST)
    last = line if line >= 0 else start + LONGEST
    end = text.find(quote, start, last)
    while end > 0 and not escaped and _escaped(text, start, end):
        end = text.find(quote, end + 1, last)
    while escaped and end > start and text[end - 1] == "\\":
        end -= 1
    return end


def _escaped(text: str, start: int, end: int) -> bool:
    before = text[max(start, end - 8) : end]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _trimmed(text: str, start: int, end: int) -> int:
    """Without the end of a sentence, and the brackets that were opened before the value on its line."""
    line = text[max(text.rfind("\n", 0, start) + 1, start - _LINE) : start]
    for _ in range(min(_TRAIL, end - start)):
        last = text[end - 1]
        opener = _CLOSERS.get(last, "")
        opened = bool(opener) and line.count(opener) > line.count(last)
        if last not in ".:" and not (opened and text.count(last, start, end) > text.count(opener, start, end)):
            break
        end -= 1
    return end
