"""What a machine drew at random, told from what people write: words, identifiers, paths. Pure functions."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from operator import add

_SELDOM = (
    "aeq bbcdfghjkmnpqtvwxyz cbdfgjmnpqsvwxy dbcfghjkmpqtvwxy fbcdghjkmnpqsvwxyz gbcdfjkmpqvwxyz hbcdfghjkmnpqsvwxyz "
    "ihiwy jbcdfghjklmnpqrstvwxyz kbcdfgjkmpqvwxyz lcfhjpqrvwxz mcdfghjklqrtvwxyz nmpqrwx ohjqxy pbcdfgjkmnqvwxyz "
    "qabcdefghijklmnopqrstvwxyz rhjqx sbdgjqrvwx tbdfgjkmpqvx uhoquvwxyz vbcdfghjklmnpqrstuvwxyz wbcdfghjklmpqrstuvwxz "
    "xabcdfghjklmnoqrsuvwxyz ybdfghjklqruvwxyz zbcdfghjklmpqrstvwxz"
)
"""A letter, and those that seldom follow it: each pair is under 0.04% of the pairs in 84,000 words of identifiers (Go,
Python, JavaScript) and of programs' messages in English, German, French, Spanish, Italian, Dutch, Portuguese, Swedish
and Polish. Half of all pairs are such."""
_SMALL, _LARGE, _DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits


def _pairs(left: str, right: str) -> set[str]:
    return {a + b for a in left for b in right}


_ODD = (
    _pairs(_SMALL, _LARGE) | _pairs(_SMALL + _LARGE, _DIGITS) | _pairs(_DIGITS, _SMALL + _LARGE)
    | {pair for letters in _SELDOM.split() for each in letters[1:]
       for pair in _pairs(letters[0] + letters[0].upper(), each + each.upper())}
)  # fmt: skip
"""Neighbours that no word has: a capital behind a small letter, a digit beside a letter, letters that seldom meet."""
_EVEN = _pairs(_SMALL + _LARGE + _DIGITS, _SMALL + _LARGE + _DIGITS) - _ODD
_NAME, _JOINTS = re.compile(r"[\w.-]+"), re.compile(r"[_.-]+")
_ENOUGH = 8
"""Fewer letters and digits tell nothing."""


def entropy(value: str) -> float:
    """Shannon entropy in bits per character."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values()) if size else 0.0


def drawn(value: str) -> bool:
    """Does it look drawn at random? What counts is how many neighbours in it no word has. Signs part words; of words
    that are joined as in a name (`self._key.pkcs8_pem`) one must look so by itself.

    Asked are a fifth of all neighbours and 1.6 more. Of 12 letters and digits drawn at random one in two hundred have
    less, of 16 letters too, of 16 small letters eight in a hundred, of 32 one in two hundred. Of 86,000 identifiers in
    code two in a hundred have as many."""
    if _NAME.fullmatch(value):
        return any(map(_drawn, _JOINTS.split(value)))
    return _drawn(value)


def _drawn(value: str) -> bool:
    neighbours = list(map(add, value, value[1:]))
    odd = sum(map(_ODD.__contains__, neighbours))
    pairs = odd + sum(map(_EVEN.__contains__, neighbours))
    return pairs >= _ENOUGH - 1 and odd >= pairs / 5 + 1.6
