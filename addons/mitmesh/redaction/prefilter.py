"""The places of a text where anything structured could be: all else need not be analysed.

What no anchor matches can hold no email, number, address or domain that the recognizers would find; tests/redaction
holds the two against each other.
"""

from __future__ import annotations

import re

ANCHOR = (
    r"@|%40"  # emails
    r"|(?<![A-Za-z0-9])\+?\(?\d(?:[ \u00a0()./\-]{0,3}\d){6,}"  # phones, cards, social security numbers
    r"|(?:\d{4}_){3}\d{4}"  # a card all the same
    r"|\d\.\d{1,3}\.\d{1,3}\.\d"  # IPv4
    r"|[0-9A-Fa-f]?:[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]"  # IPv6
    r"|(?<![A-Za-z0-9])[A-Za-z]{2}\d\d(?=(?:[ -]?[A-Za-z0-9]){11})"  # IBAN
    r"|://|(?i:www)\.|(?i:\w\.(?:com|org|edu|gov)\b)"  # domains
    r"|(?i:\b(?:website|site|domain|homepage|hostname|url|visit)\b)[^\n]{0,40}?\w\.[a-zA-Z]{2}"
)
"""What no text without structured data matches."""
_ANCHOR = re.compile(ANCHOR)
BEFORE, AFTER = 90, 60
"""Characters of context around an anchor: five words before, some after."""
PIECE, OVERLAP = 4_000, 256
"""Longest window and how far two of one place overlap; the analyzer's cost grows faster than the text."""
_STRETCH = 60


def windows(text: str) -> list[tuple[int, int]]:
    """The stretches of the text to analyse, in order; they begin and end between words where there are words."""
    found: list[tuple[int, int]] = []
    for anchor in _ANCHOR.finditer(text):
        left, right = max(0, anchor.start() - BEFORE), min(len(text), anchor.end() + AFTER)
        if found and left <= found[-1][1]:
            found[-1] = (found[-1][0], right)
        else:
            found.append((left, right))
    return [piece for left, right in found for piece in pieces(*_whole_words(text, left, right))]


def _whole_words(text: str, left: int, right: int) -> tuple[int, int]:
    for _ in range(_STRETCH):
        if left == 0 or text[left - 1].isspace():
            break
        left -= 1
    for _ in range(_STRETCH):
        if right == len(text) or text[right].isspace():
            break
        right += 1
    return left, right


def pieces(left: int, right: int, size: int = PIECE, overlap: int = OVERLAP) -> list[tuple[int, int]]:
    """A stretch cut into pieces of at most `size` characters that overlap, so that nothing short lies in no piece."""
    found = []
    while right - left > size:
        found.append((left, left + size))
        left += size - overlap
    found.append((left, right))
    return found
