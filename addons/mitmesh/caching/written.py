"""What of plain words counts as it is written: MB and Mb, Polish and polish, x and X, an order and a question."""

from __future__ import annotations

import re

from mitmesh.caching.lexicon import word_set
from mitmesh.caching.spelling import AMERICAN

_UNIT = re.compile(
    r"(?<![A-Za-z])(?:[kKMGTPmµ]i?[bB](?:it|yte)?s?(?:ps|/s)?|[mkKMGT]W[Hh]?|[mkMGT]Hz|[kmM]A|[kMG]?Pa)(?![A-Za-z])"
)
_AFTER_NUMBER = re.compile(r"\d\s?([A-Za-zµ]{1,4})(?![A-Za-z])")
_LETTER = re.compile(
    r"(?<![\w'’.-])[b-hj-zB-HJ-Z](?![\w'’-])"
    r"|\ba(?= (?:with|by|to|from|and|or|in|is|for|on|at|plus|minus|[b-z])\b|[,.;:?!]|\Z)"
)
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_BEGINS = re.compile(r"(?:^|[.!?:\n*(\[]|[-–] )\s*$")
_CAPITAL = word_set(
    "polish turkey china march august bill mark rose grace apple amazon windows word teams target mercury jersey "
    "guinea chad nice reading bath cork mobile orange go swift rust shell java oracle meta edge signal express rest "
    "may will frank true false none null nil some"
)
"""Another thing with a capital."""
_SHOUTED = word_set("us it who aids or in me am so as is be for and not if on at to do")
"""Another thing in capitals alone: IT, AND."""
_ASKS = re.compile(
    r"(?i)\b(?:what|when|where|who|whom|whose|which|why|how)\b|\b(?:is|are|was|were|do|does|did|can|could|may|might|shall|"
    r"should|will|would|must|have|has|had|am|isn't|aren't|don't|doesn't|didn't|can't|won't|couldn't|shouldn't|"
    r"wouldn't) "
    r"(?:i|you|we|he|she|it|they|there|the|an?|my|your|our|his|her|its|their|this|that|these|those|any|some|one)\b"
    r"|(?:\A|[,.;:!?\n])\s*(?:is|are|was|were|do|does|did|can|could|may|might|should|will|would|must|have|has|had|any)\b"
)
_WORKS = re.compile(
    r"(?i)\b(?:translat|correct|proofread|gramma|re(?:phras|word|writ)|paraphras|classif|polite|sentiment|tone\b|intent\b|"
    r"style\b|friendl|formal|improve|sentence|say\b|spell|pronounc|punctuat|label|respond|reply\b|shorten|edit\b)"
)
"""Asks for something to be done with words."""
_SAYS = re.compile(r"(?i)\b(?:how|what)\b[^.:?]{1,20}\bsay\b")
_POLITE = re.compile(r"(?i)(?<![\w'-])([a-z]+) (kindly|thank(?:s|[ -]you)?)(?![\w'])")
_BEFORE_POLITE = word_set("you please and many so ok okay hi hello would could can will also but")
_TWO_WAYS = frozenset(AMERICAN) | frozenset(AMERICAN.values())


def units(prose: str) -> list[str]:
    """With capitals, which are factors (mW, MW), bits or bytes, or another unit (nm, NM)."""
    if prose[1:].islower():
        return []
    return sorted({each for each in (*_UNIT.findall(prose), *_AFTER_NUMBER.findall(prose)) if not each.islower()})


def letters(prose: str) -> list[str]:
    """Lone letters, in order; but for the words a and I."""
    return _LETTER.findall(prose)


def capitals(prose: str) -> list[str]:
    """Words inside a sentence that are other words without their capitals, and those others where both stand, in
    order; none where most have capitals."""
    if prose[1:].islower():
        return []
    every = list(_WORD.finditer(prose))
    capital = [each for each in every if each[0][0].isupper()]
    if len(capital) * 5 > len(every) * 3:
        return []
    found = {
        each[0].lower() for each in capital
        if (each[0].lower() in _SHOUTED and each[0].isupper() and len(each[0]) > 1)
        or (each[0].lower() in _CAPITAL and not _BEGINS.search(prose, max(0, each.start() - 5), each.start()))
    }  # fmt: skip
    return list(dict.fromkeys(each[0] for each in every if each[0].lower() in found)) if found else []


def asked(prose: str) -> bool:
    """A question by nothing but its mark: `Delete it?` is no `Delete it.`"""
    return prose.rstrip().endswith("?") and not _ASKS.search(prose)


def material(text: str) -> str:
    """What a text gives to be worked on as it is worded: behind the colon of `Correct the grammar:`, and all of `How do
    you say ... in Spanish?`. There a polite word or another way to ask is no mere form."""
    before, colon, behind = text.partition(":")
    said = before.rpartition("\n")[2].lstrip()
    if colon and not said.startswith(("*", "#")) and _WORKS.search(said):  # those are headings
        return behind.strip()
    return text.strip() if _SAYS.search(text) else ""


def polite(prose: str) -> list[str]:
    """Polite words that are what is asked for: respond kindly, a thank you note; not those at either end."""
    return [found[2].lower() for found in _POLITE.finditer(prose) if found[1].lower() not in _BEFORE_POLITE]


def two_ways(words: list[str]) -> tuple[str, ...]:
    """Those that are also spelt otherwise, in order."""
    return tuple(each for each in words if each in _TWO_WAYS)
