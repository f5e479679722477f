"""What the audit stores of an answer: no value that was found in the request, and none that is found in the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mitmesh.dialects.base import Answer, Kind
from mitmesh.redaction.findings import Finding, Finds
from mitmesh.redaction.jsonview import View, edited, view_of
from mitmesh.store.content import ANSWER_MODEL, NAME

WITHHELD = "(not stored: it could not be searched for personal data)"
SHORT = 12
"""Characters; in a name that is no longer there is no room for a value."""
_SECONDS = 30.0


class Withheld(dict[Any, str]):
    """Texts to store, of which none was searched: each is a note that it is missing."""

    def __bool__(self) -> bool:
        return True

    def get(self, key: Any, default: Any = None) -> Any:
        """The note, whatever the text."""
        return WITHHELD


@dataclass(slots=True)
class Spoken:
    """One part of an answer that has text: its key in what is stored, the text, and a view of it where it is JSON."""

    key: Any
    text: str
    view: View | None

    @property
    def read(self) -> str:
        """As people read it: what a finder must see."""
        return self.view.text if self.view else self.text


def spoken(answer: Answer, *, texts: bool = True) -> list[Spoken]:
    """What would be stored: the model's name and, with `texts`, the parts and their names."""
    parts = list(enumerate(answer.parts)) if texts else []
    named: list[tuple[Any, str | None]] = [(ANSWER_MODEL, answer.model)]
    named += [((NAME, index), part.name) for index, part in parts]
    names = [Spoken(key, name, None) for key, name in named if name and len(name) > SHORT]
    return names + [
        Spoken(index, part.text, view_of(part.text, is_json=part.kind is Kind.TOOL_CALL))
        for index, part in parts
        if part.kind is not Kind.OPAQUE and part.text
    ]


def stored_answer(
    parts: Sequence[Spoken], found: Sequence[Sequence[Finding]], values: Mapping[str, str]
) -> dict[Any, str]:
    """The parts as they are to be stored, by key, where that is not as they are. `values` are the request's, with
    their names."""
    stored = {}
    for part, findings in zip(parts, found, strict=True):
        new = _without(part.text, part.view, findings, values)
        if new != part.text:
            stored[part.key] = new
    return stored


def searched_answer(
    parts: Sequence[Spoken], values: Mapping[str, str], finder: Finds, loop: asyncio.AbstractEventLoop
) -> dict[Any, str]:
    """The same, with the finder of that loop; runs in a thread. Raises whatever keeps the finder from searching."""
    texts = [part.read for part in parts]
    found = asyncio.run_coroutine_threadsafe(finder.find(texts), loop).result(_SECONDS)
    return stored_answer(parts, found, values)


def _without(text: str, view: View | None, findings: Sequence[Finding], values: Mapping[str, str]) -> str:
    edits, read = [], view.text if view else text
    for finding in findings:
        for start, end in view.within(finding.start, finding.end) if view else [(finding.start, finding.end)]:
            name = values.get(read[start:end])
            edits.append((start, end, f"<{name}>" if name else f"<{finding.type}>"))
    new = edited(text, view, edits)
    for value in sorted(values, key=len, reverse=True):
        if len(value) > 2 and value in new:
            new = new.replace(value, f"<{values[value]}>")
    return new
