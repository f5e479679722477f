"""Is a comma between digits surely one of thousands? 1,000 kg of rice are a ton, 1,000 kg Reis are one kilogram."""

from __future__ import annotations

import re

from mitmesh.caching.lexicon import FUNCTION, word_set

_ONLY_ENGLISH = word_set(
    "the what how much many more than does are this that which from with and you my it can when where why would should "
    "have has your their our please there these those between"
)
"""Words of no other language."""
_FOREIGN = word_set(
    "der das den dem des und ist nicht wie ein eine einen einer mein meine für mit von zu zum zur wo warum nach auf "
    "bei sind haben kostet le la les et est pas je un une mon ma sur pour avec du où el los las y es cómo como mi por "
    "qué dónde il lo gli e è mio mia che os uma com não em de het en een mijn voor met van och att det som jag på og "
    "er ikke jeg til się czy jak"
)
_WORD = re.compile(r"[^\W\d_]+")
_LISTED = re.compile(
    r"(?i)\d,\d{3}(?:,?\s+|\s*[&;/+-]\s*)(?:(?:and|or|to|then|plus|&)\s+)?\d|"
    r"\d(?:,?\s+|\s*[&;/+-]\s*)(?:(?:and|or|to|then|plus|&)\s+)?\d{1,3},\d{3}|(?<![\d$€£¥])\d{1,3}(?:,\d{3}){2,}(?<!,000)(?!\.?\d)"
)
"""100,200 and 300; 10,200,300."""


def groups_thousands(text: str) -> bool:
    """Is it plainly English, with no numbers in a list? Where in doubt it is not, and numbers count as written."""
    words = _WORD.findall(text.lower())
    if _LISTED.search(text) or any(not each.isascii() or each in _FOREIGN for each in words):
        return False
    return not _ONLY_ENGLISH.isdisjoint(words) and sum(each in FUNCTION for each in words) > 1
