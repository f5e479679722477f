"""One canonical text for what differs in form alone: layer 1 of the cache compares what comes out of here."""

from __future__ import annotations

import datetime
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from mitmesh.caching.spelling import american

LONGEST = 32_768
"""Characters; a longer text is compared as it is."""

_KEPT = re.compile(
    r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`|\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»|(?<!\w)'[^'\n]*'(?!\w)|"
    r"^(?: {4}|\t|[ \t]*>)[^\n]*$|https?://\S+|<[A-Z][A-Z_]*_\d+>",
    re.DOTALL | re.MULTILINE,
)
"""Code, quotes, addresses and placeholders; an opening fence without its end takes the rest."""
_CODE = re.compile(r"[{}\[\];=\\]|^[ \t]+\S|\|.*\|", re.MULTILINE)
"""Signs that spaces and line ends may mean something: then they stay."""
_EMPHASIS = re.compile(r"(?<![\w*])(\*\*|\*)(?=[^\s*])([^*\n]{1,200}?)(?<=[^\s*])\1(?![\w*])")
_HEADING = re.compile(r"(?m)^#{1,6}[ \t]+(?=\S)")
_POLITE = re.compile(
    r"(?i)^\s*(?:(?:hi|hello|hey)(?: there)?[,!.]\s+|(?:could|can|would|will) you (?:please|kindly) (?=\w)|please[,]? (?=\w)|kindly (?=\w))+"
)
_THANKS = re.compile(r"(?i)(?<=[.!?])\s+(?:thanks|thank you)(?: (?:in advance|very much|so much|a lot))?[.!]?\s*$")
_PERSONA = re.compile(
    r"(?i)^\s*you are (?:an?|my) (?:(?:very )?(?:helpful|friendly|knowledgeable|useful) )?(?:ai )?(?:language model|assistant|expert)\.\s+(?=\S)"
)
_ISO = re.compile(r"(?<![\w./-])(\d{4})/(\d{2})/(\d{2})(?![\w/-])")
_NAMED = re.compile(
    r"(?<![\w.,/-])(?:(?P<d>\d{1,2})(?:st|nd|rd|th)? (?P<m>MONTHS)|(?P<M>MONTHS) (?P<D>\d{1,2})(?:st|nd|rd|th)?),? (?P<y>\d{4})(?![\w/-])".replace(
        "MONTHS",
        "January|February|March|April|May|June|July|August|September|October|November|December",
    )
)
_MONTHS = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
]  # fmt: skip
_THOUSANDS = re.compile(r"(?<![\w.,/([{-])\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\w)}\]/-]|[.,]\d)")
_WORD = re.compile(r"(?<![\w.@/\\#$-])[A-Za-z]+(?![\w@/\\(-]|\.\w)")


@dataclass(frozen=True, slots=True)
class Normalise:
    """Which differences do not count. All of them outside code and quotes only."""

    unicode: bool = True
    whitespace: bool = True
    markdown: bool = True
    politeness: bool = True
    persona: bool = True
    dates: bool = True
    thousands: bool = True
    spelling: bool = True


def normalise(text: str, rules: Normalise) -> str:
    """The text of the last user turn as its canonical text. Idempotent, never raises, empty only where `text` is."""
    if len(text) > LONGEST:
        return text
    for _ in range(4):  # what one rule uncovers another may change
        again = _once(text, rules)
        if again == text or not again.strip():
            return text
        text = again
    return text


def _once(text: str, rules: Normalise) -> str:
    if rules.unicode:
        text = _outside(text, lambda part: unicodedata.normalize("NFC", part))
    if rules.politeness:
        text = _THANKS.sub("", _POLITE.sub("", text)) if not _KEPT.match(text) else text
    if rules.persona:
        text = _PERSONA.sub("", text)
    steps: list[Callable[[str], str]] = []
    if rules.markdown:
        steps.append(_markdown)
    if rules.dates:
        steps.append(_dates)
    if rules.thousands:
        steps.append(lambda part: _THOUSANDS.sub(lambda found: found[0].replace(",", ""), part))
    if rules.spelling:
        steps.append(lambda part: _WORD.sub(lambda found: american(found[0]), part))
    if rules.whitespace and not _CODE.search(_KEPT.sub("", text)):
        steps.append(lambda part: re.sub(r"\s+", lambda found: "\n" if "\n" in found[0] else " ", part))
    for step in steps:
        text = _outside(text, step)
    return text.strip() if rules.whitespace and not text[:1].isspace() else text.rstrip() if rules.whitespace else text


def _outside(text: str, change: Callable[[str], str]) -> str:
    """`change` of all that is neither code nor quote; quotes and code stay byte by byte."""
    parts, last = [], 0
    for kept in _KEPT.finditer(text):
        parts += [change(text[last : kept.start()]), kept[0]]
        last = kept.end()
    return "".join([*parts, change(text[last:])])


def _markdown(part: str) -> str:
    return _EMPHASIS.sub(r"\2", _HEADING.sub("", part))


def _dates(part: str) -> str:
    """Dates that can be read in one way alone; 03/04/2026 and 13/06/2026 stay as they are."""
    part = _ISO.sub(lambda found: _iso(found[0], *map(int, found.groups())), part)
    return _NAMED.sub(
        lambda found: _iso(
            found[0], int(found["y"]), _MONTHS.index(found["m"] or found["M"]) + 1, int(found["d"] or found["D"])
        ),
        part,
    )


def _iso(written: str, year: int, month: int, day: int) -> str:
    try:
        return datetime.date(year, month, day).isoformat()
    except ValueError:
        return written
