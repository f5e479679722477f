"""A text as it is searched: what looks or works like plain ASCII is read as that, and words end where they end.

Three things hide a value from a pattern: signs that nobody sees (`ann\\u200b@example.com`), other ways to write the
same sign (`ann&#64;example.com`, full-width digits, no-break spaces, dashes), and letters beside it that are no part
of it: of a script without spaces (`请写信给ann@example.com谢谢`), or the `n` of a written `\\n`. Between such a letter
and the value a MARK is read, which is no letter, digit or space. Findings come back as places in the text as it stands.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator

MARK = "\0"
"""Ends a word where the text has nothing that does."""


_LAST = 0x20000
"""No script has digits beyond it, and to look through all of Unicode takes a tenth of a second at every start."""


def _folded() -> dict[int, str]:
    """Characters that stand for one of ASCII: full-width, small and mathematical forms, any script's digits, spaces."""
    forms = [*range(0xFF01, 0xFF5F), *range(0xFE50, 0xFE6C), *range(0x1D400, 0x1D800)]
    found = {code: unicodedata.normalize("NFKC", chr(code)) for code in forms}
    found |= {code: str(unicodedata.decimal(chr(code))) for code in range(0x660, _LAST) if chr(code).isdecimal()}
    found |= dict.fromkeys([0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000], " ")
    return {code: char for code, char in found.items() if char.isascii() and len(char) == 1}


def _ranges(codes: list[int]) -> Iterator[tuple[int, int]]:
    """As few as there are: a class of single characters is looked through one by one."""
    first = last = codes[0]
    for code in codes[1:]:
        if code > last + 1:
            yield first, last
            first = code
        last = code
    yield first, last


_FOLDED = _folded()
_FOLDS = re.compile("[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in _ranges(sorted(_FOLDED))) + "]")
UNSPACED = (
    "\u0590-\u06ff\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U00020000-\U0003ffff"
)
"""Ranges of letters that stand beside a word of another script without a space: Chinese, Japanese, Korean, Thai, Lao,
Burmese, Khmer; Arabic and Hebrew, whose `and` is a letter before the word."""
_UNSEEN = re.compile(
    "[\0\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]+"
)
_UNSPACED = re.compile(f"[{UNSPACED}]+")
_DASH = re.compile("[\u2010-\u2015\u2212](?<=[0-9)].)(?=[0-9(])")
_BEHIND, _BEFORE = re.compile(r"[A-Za-z0-9_+(]"), re.compile(r"[A-Za-z0-9_)]")
"""What of another script may follow, and what may stand before."""
_ESCAPES = (
    ("\\", re.compile(r"\\(?:[nrt](?=[A-Za-z0-9_+(])|x[2-7][0-9A-Fa-f])")),
    ("&", re.compile(r"&(?:#0{0,5}\d{2,3}|#[xX]0{0,5}[2-7][0-9A-Fa-f]|commat);", re.ASCII)),
    ("%25", re.compile(r"%25(?=[0-7][0-9A-Fa-f])")),
    ("\x1b", re.compile(r"\x1b\[[0-9;]{0,16}m")),
)
"""A sign, and what begins with it that is read otherwise: line breaks as code has them, characters by their numbers, an
escaped `%`, the color of a terminal. Each has a pass of its own: together they would be tried at every character."""

type Step = tuple[int, int, str]
"""From where to where in the text stands what is read as this."""


class Plainly:
    """One text. `text` is as it is searched: the very text where nothing in it has to be read otherwise."""

    __slots__ = ("_begins", "_ends", "_shifts", "text")

    def __init__(self, text: str) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        self._shifts = [0]
        self.text = text
        signs = "" if text.isascii() else "".join(set(text))
        if _FOLDS.search(signs):
            text = self.text = text.translate(_FOLDED)
        if steps := sorted(_steps(text, signs)):
            self._read(text, steps)

    def written(self, start: int, end: int) -> tuple[int, int]:
        """Places as read as places in the text as it stands; unseen signs at either end are left out."""
        first, last = bisect_right(self._ends, start), bisect_right(self._ends, end)
        while last and self._begins[last - 1] == self._ends[last - 1] == end:
            last -= 1
        return start + self._shifts[first], end + self._shifts[last]

    def _read(self, text: str, steps: list[Step]) -> None:
        """Note the steps (where each begins and ends as read, and how far the text is ahead behind it)."""
        out, copied, shift = [], 0, 0
        for start, end, said in steps:
            out += [text[copied:start], said]
            self._begins.append(start - shift)
            shift += end - start - len(said)
            self._ends.append(end - shift)
            self._shifts.append(shift)
            copied = end
        self.text = "".join([*out, text[copied:]])


def _steps(text: str, signs: str) -> Iterator[Step]:
    """All of them, in no order; none overlaps another. `signs` are the text's characters, unless all are ASCII."""
    for sign, pattern in _ESCAPES:
        if sign in text:
            yield from ((*found.span(), _said(found[0])) for found in pattern.finditer(text))
    if "\0" in text or _UNSEEN.search(signs):
        for found in _UNSEEN.finditer(text):
            start, end = found.span()
            parted = _UNSPACED.match(text, end) or (start and _UNSPACED.match(text, start - 1))
            yield start, end, MARK if parted else ""
    if signs:
        yield from ((*found.span(), "-") for found in _DASH.finditer(text))
    if _UNSPACED.search(signs):
        yield from _edges(text)


def _edges(text: str) -> Iterator[Step]:
    for found in _UNSPACED.finditer(text):
        start, end = found.span()
        if start and _BEFORE.match(text, start - 1):
            yield start, start, MARK
        if _BEHIND.match(text, end):
            yield end, end, MARK


def _said(escape: str) -> str:
    """What an escape is read as. `\\n` keeps its signs and ends there; so does what is no printable ASCII."""
    if escape[0] == "\x1b":
        return MARK
    if escape == "%25":
        return "%"
    if escape == "&commat;":
        return "@"
    digits = escape.strip("&#;\\")
    if digits[0] in "nrt":
        return escape + MARK
    code = int(digits[1:], 16) if digits[0] in "xX" else int(digits)
    return chr(code) if 32 <= code < 127 else escape
