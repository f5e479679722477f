"""Private keys that one piece or one text does not hold: cut by a piece's end, or given line by line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mitmesh.redaction.findings import Finding, Type, without_overlap

_ENDS = re.compile(r"-----END[^-\n]{0,100}-----|(?=-----)|Private-MAC: ?[0-9a-f]*")
_OPEN = re.compile(r"-----BEGIN[ A-Z0-9_-]{0,100}PRIVATE KEY(?: BLOCK)?-----[^-]*\Z")
_CLOSE = re.compile(r"-----END[^-\n]{0,100}-----")
_LINE = re.compile(
    r"\s*(?:[A-Za-z0-9+/=\s]{16,}|[A-Za-z0-9+/]{2,}={1,2}|=[A-Za-z0-9+/]{4}|[\w-]{3,30}: [^\n]{0,100})?\s*"
)
"""A line of a key, several, or a header of it."""


def whole(found: Finding, text: str, end: int) -> Finding:
    """A finding in a piece of the text that ends at `end`: a private key that reaches it goes on to where it ends."""
    if found.type != Type.PRIVATE_KEY or found.end < end or end == len(text):
        return found
    close = _ENDS.search(text, max(found.start, end - 4))  # its first sign may lie before the cut
    return found.at(found.start, close.end() if close else len(text))


def with_lines(read: Sequence[str], found: Sequence[list[Finding]]) -> list[list[Finding]]:
    """The findings of a call's texts, and those of a key whose lines are texts of their own (`["-----BEGIN ...",
    "MIIE..."]`, or one block of a tool's result each)."""
    own = list(found)
    for first, text in enumerate(read):
        if "PRIVATE KEY" in text and (begins := _OPEN.search(text)):
            for index, start, end in [(first, begins.start(), len(text)), *_lines(read, first + 1)]:
                own[index] = without_overlap([*own[index], Finding(start, end, Type.PRIVATE_KEY, "private-key", 0.9)])
    return own


def _lines(read: Sequence[str], first: int) -> list[tuple[int, int, int]]:
    """What of the texts from `first` on belongs to a key that began before; nothing of what is no key's line."""
    lines: list[tuple[int, int, int]] = []
    for index in range(first, len(read)):
        text = read[index]
        if close := _CLOSE.search(text):
            return [*lines, (index, 0, close.end())] if _LINE.fullmatch(text, 0, close.start()) else lines
        last = index + 1 < len(read) and read[index + 1].startswith("-----END")
        if not _LINE.fullmatch(text) and not (last and text.isalnum()):
            break
        lines.append((index, 0, len(text)))
    return lines
