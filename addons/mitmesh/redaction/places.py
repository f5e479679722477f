"""Where values stand in a text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from mitmesh.redaction.disguise import UNSPACED
from mitmesh.redaction.escapes import EscapedText

SHORTEST = 3
"""Characters; a shorter value is replaced where it was found, and not looked for elsewhere."""
_UNSPACED = re.compile(f"[{UNSPACED}]")
_BEGINNING = 16
_LONG = 12
"""Characters; a shorter value is looked for as whole words only."""


def _forms(value: str) -> Iterable[str]:
    """The value, and how JSON within a text, and JSON within that, says it where that is different."""
    once = json.dumps(value, ensure_ascii=False)[1:-1]
    if once == value:
        return (value,)
    twice = json.dumps(once, ensure_ascii=False)[1:-1]
    return dict.fromkeys((value, once, twice, EscapedText(once).text, EscapedText(twice).text))


def places(text: str, values: Iterable[str], few: int = 64) -> Iterator[tuple[int, str, str]]:
    """Where the values stand in the text: place, form and value, longer forms first. Short ones as whole words only.

    Up to `few` forms are looked for one by one. More (an agent reads a list of addresses) are looked for together, by
    their beginnings, in time linear in the text."""
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
    for form, value in forms:
        at = text.find(form)
        while at >= 0:
            yield at, form, value
            at = text.find(form, at + 1)


def _together(text: str, forms: list[tuple[str, str]]) -> Iterator[tuple[int, str, str]]:
    by_size: dict[int, dict[str, list[tuple[str, str]]]] = {}
    for form, value in forms:
        size = min(len(form), _BEGINNING)
        by_size.setdefault(size, {}).setdefault(form[:size], []).append((form, value))
    hits = []
    for size, beginnings in by_size.items():
        for at in range(len(text) - size + 1):
            if same := beginnings.get(text[at : at + size]):
                hits += [(at, form, value) for form, value in same if text.startswith(form, at)]
    return iter(sorted(hits, key=lambda hit: -len(hit[1])))


def _is_word(char: str) -> bool:
    return char == "_" or (char.isalnum() and not _UNSPACED.match(char))
