"""In how many strings of JSON a place of a text lies: so often must a value be escaped that is put there."""

from __future__ import annotations

import json
import re

_QUOTE = re.compile(r'(\\*)"')
_UNDECIDED = re.compile(r'\\+\Z|\\*"\s*\Z')
"""The end of a piece that only the next one explains: escapes, or a quote that may open a string with JSON in it."""
_OPENS = re.compile(r"\s*[{\[]")


class Nesting:
    """Reads a JSON text piece by piece. A string within the document counts where its content looks like JSON in turn:
    with `{"content": "{\\"key\\": \\"<PRIVATE_KEY_1>\\"}"}` a model has a file made that must be JSON too."""

    __slots__ = ("_open", "_rest")

    def __init__(self) -> None:
        self._open: list[bool] = []
        """The open strings: is the content of each JSON?"""
        self._rest = ""

    def read(self, text: str) -> None:
        """The next piece."""
        text = self._rest + text
        found = _UNDECIDED.search(text, max(0, len(text) - 100))
        self._rest = text[found.start() :] if found else ""
        self._read(text, found.start() if found else len(text))

    @property
    def undecided(self) -> bool:
        """Does the next piece tell what the end of the last one was?"""
        return bool(self._rest)

    def depth(self) -> int:
        """In how many strings the place behind what was read lies, if neither a quote nor a bracket comes there."""
        rest, self._rest = self._rest, ""
        self._read(rest, len(rest))
        return len(self._open)

    def _read(self, text: str, end: int) -> None:
        for quote in _QUOTE.finditer(text, 0, end):
            level, escapes = 1, len(quote[1])
            while escapes % 2:
                level, escapes = level + 1, escapes // 2
            if len(self._open) >= level:
                del self._open[level - 1 :]
            elif level == 1 or (len(self._open) == level - 1 and self._open[-1]):
                self._open.append(_OPENS.match(text, quote.end()) is not None)


def is_document(text: str) -> bool:
    """Is the whole text a JSON object or array?"""
    if not _OPENS.match(text):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
