"""What the audit stores of an answer: no value that was found in the request, and none that is found in the answer."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Mapping
from typing import Any

from mitmesh.dialects.base import Answer, Kind
from mitmesh.redaction.findings import FinderFailed, Finding, Finds
from mitmesh.redaction.jsonview import JsonView

WITHHELD = "(not stored: it could not be searched for personal data)"
_SECONDS = 30.0


class Withheld(dict[Any, str]):
    """Texts to store, of which none was searched: each is a note that it is missing."""

    def __bool__(self) -> bool:
        return True

    def get(self, key: Any, default: Any = None) -> Any:
        """The note, whatever the text."""
        return WITHHELD


def stored_answer(
    answer: Answer, values: Mapping[str, str], finder: Finds, loop: asyncio.AbstractEventLoop
) -> dict[int, str]:
    """The parts of an answer as they are to be stored, by index, where that is not as they are. `values` are the
    request's, with their names. Runs in a thread; the finder is that of `loop`."""
    parts = [(index, part) for index, part in enumerate(answer.parts) if part.kind is not Kind.OPAQUE and part.text]
    views = [JsonView(part.text) if part.kind is Kind.TOOL_CALL else None for _, part in parts]
    read = [view.text if view else part.text for view, (_, part) in zip(views, parts, strict=True)]
    try:
        found = asyncio.run_coroutine_threadsafe(finder.find(read), loop).result(_SECONDS)
    except (FinderFailed, TimeoutError, concurrent.futures.CancelledError, RuntimeError):
        return Withheld()
    stored = {}
    for (index, part), view, text, findings in zip(parts, views, read, found, strict=True):
        new = _without(text, view, findings, values)
        if new != part.text:
            stored[index] = new
    return stored


def _without(text: str, view: JsonView | None, findings: list[Finding], values: Mapping[str, str]) -> str:
    edits = []
    for finding in findings:
        for start, end in view.within(finding.start, finding.end) if view else [(finding.start, finding.end)]:
            name = values.get(text[start:end])
            edits.append((start, end, f"<{name}>" if name else f"<{finding.type}>"))
    new = view.edited(edits) if view else _edited(text, edits)
    for value in sorted(values, key=len, reverse=True):
        if len(value) > 2 and value in new:
            new = new.replace(value, f"<{values[value]}>")
    return new


def _edited(text: str, edits: list[tuple[int, int, str]]) -> str:
    out, copied = [], 0
    for start, end, new in edits:
        out += [text[copied:start], new]
        copied = end
    return "".join(out) + text[copied:]
