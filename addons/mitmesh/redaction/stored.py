"""What the audit stores of an answer: no value that was found in the request, and none that is found in the answer."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mitmesh.dialects.base import Answer, Kind
from mitmesh.redaction.findings import FinderFailed, Finding, Finds
from mitmesh.redaction.jsonview import View, edited, view_of

WITHHELD = "(not stored: it could not be searched for personal data)"
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
    """One part of an answer that has text: its index, the text, and a view of it where it is JSON."""

    index: int
    text: str
    view: View | None

    @property
    def read(self) -> str:
        """As people read it: what a finder must see."""
        return self.view.text if self.view else self.text


def spoken(answer: Answer) -> list[Spoken]:
    """The parts that would be stored."""
    return [
        Spoken(index, part.text, view_of(part.text, is_json=part.kind is Kind.TOOL_CALL))
        for index, part in enumerate(answer.parts)
        if part.kind is not Kind.OPAQUE and part.text
    ]


def stored_answer(
    parts: Sequence[Spoken], found: Sequence[Sequence[Finding]], values: Mapping[str, str]
) -> dict[int, str]:
    """The parts as they are to be stored, by index, where that is not as they are. `values` are the request's, with
    their names."""
    stored = {}
    for part, findings in zip(parts, found, strict=True):
        new = _without(part.text, part.view, findings, values)
        if new != part.text:
            stored[part.index] = new
    return stored


def searched_answer(
    parts: Sequence[Spoken], values: Mapping[str, str], finder: Finds, loop: asyncio.AbstractEventLoop
) -> dict[int, str]:
    """The same, with the finder of that loop; runs in a thread. What cannot be searched is withheld."""
    texts = [part.read for part in parts]
    try:
        found = asyncio.run_coroutine_threadsafe(finder.find(texts), loop).result(_SECONDS)
    except (FinderFailed, TimeoutError, concurrent.futures.CancelledError, RuntimeError):
        return Withheld()
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
