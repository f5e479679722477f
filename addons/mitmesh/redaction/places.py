"""Where values stand in a text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from math import isqrt

import re2

from mitmesh.redaction.disguise import UNSPACED
from mitmesh.redaction.escapes import EscapedText

SHORTEST = 3
"""Characters; a shorter value is replaced where it was found, and not looked for elsewhere."""
_UNSPACED = re.compile(f"[{UNSPACED}]")
_SIZES = (12, 8, 6, 4, 3, 2)
"""Of the pieces by which many values are looked for together, in characters; SHORTEST is two of the last less one."""
_USUAL = 6
_ALONE = 4
"""Forms that are looked for one by one at once."""
_LONG = 12
"""Characters; a shorter value is looked for as whole words only."""


def _forms(value: str) -> Iterable[str]:
    """The value, and how JSON within a text, and JSON within that, says it where that is different."""
    if value.isprintable() and '"' not in value and "\\" not in value:
        return (value,)
    once = json.dumps(value, ensure_ascii=False)[1:-1]
    if once == value:
        return (value,)
    twice = json.dumps(once, ensure_ascii=False)[1:-1]
    return dict.fromkeys((value, once, twice, EscapedText(once).text, EscapedText(twice).text))


def places(text: str, values: Iterable[str], few: int = 64) -> Iterator[tuple[int, str, str]]:
    """Where the values stand in the text: place, form and value, longer forms first. Short ones as whole words only.

    Up to `few` forms are looked for one by one. More (an agent reads a list of addresses) are looked for together, by
    pieces of them, in time linear in the text."""
    forms = [(form, value) for value in values for form in _forms(value)]
    forms.sort(key=lambda pair: len(pair[0]), reverse=True)
    hits = _one_by_one(text, forms) if len(forms) <= few else _together(text, forms)
    for at, form, value in hits:
        end = at + len(form)
        if len(form) < _LONG and (
            (_is_word(form[0]) and _is_word(text[at - 1 : at]))
            or (_is_word(form[-1]) and _is_word(text[end : end + 1]))
        ):
            continue
        yield at, form, value


def _one_by_one(text: str, forms: list[tuple[str, str]]) -> Iterator[tuple[int, str, str]]:
    if len(forms) > _ALONE and not _any(text, forms):
        return
    for form, value in forms:
        at = text.find(form)
        while at >= 0:
            yield at, form, value
            at = text.find(form, at + 1)


def _any(text: str, forms: list[tuple[str, str]]) -> bool:
    """Does any of them stand in the text? One look at it for all of them: most values stand only where they were
    found."""
    options = re2.Options()
    options.never_capture, options.log_errors = True, False
    found = re2.compile(b"|".join(re2.escape(_bytes(form)) for form, _ in forms), options)
    return found.search(_bytes(text)) is not None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _together(text: str, forms: list[tuple[str, str]]) -> Iterator[tuple[int, str, str]]:
    """Of a form of at least 2 * size - 1 characters, one of the first pieces of that size stands at a multiple of it,
    wherever the form itself does: so only every so-manieth place of the text is looked at."""
    longest = max(_USUAL, isqrt(len(text) // len(forms)))  # neither the text nor the forms shall take the most time
    by_size: dict[int, dict[str, list[tuple[int, str, str]]]] = {}
    for form, value in forms:
        size = next(size for size in _SIZES if size <= longest and len(form) >= 2 * size - 1)
        pieces = by_size.setdefault(size, {})
        for shift in range(size):
            pieces.setdefault(form[shift : shift + size], []).append((shift, form, value))
    hits = []
    for size, pieces in by_size.items():
        find = pieces.get
        for at in range(0, len(text), size):
            if same := find(text[at : at + size]):
                hits += [(at - shift, form, value) for shift, form, value in same if _stands(text, form, at - shift)]
    return iter(sorted(hits, key=lambda hit: -len(hit[1])))


def _stands(text: str, form: str, at: int) -> bool:
    return at >= 0 and text.startswith(form, at)


def said_before(text: str, value: str) -> bool:
    """Does the value stand in the text by itself, and not as a part of a longer address, name or number?"""
    at = text.find(value)
    while at >= 0:
        if not (_goes_on(text[max(0, at - 2) : at][::-1]) or _goes_on(text[at + len(value) : at + len(value) + 2])):
            return True
        at = text.find(value, at + 1)
    return False


def _goes_on(beside: str) -> bool:
    """Do the two characters beside a value (the nearer one first) belong to the same word?"""
    return bool(beside) and (_is_word(beside[0]) or (beside[0] in ".-+@" and _is_word(beside[1:])))


def _is_word(char: str) -> bool:
    return char == "_" or (char.isalnum() and not _UNSPACED.match(char))
