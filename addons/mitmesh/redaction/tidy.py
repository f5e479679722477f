"""Of an event of a stream only what is looked at: what it says elsewhere is dropped.

Server-sent events have room for more than their data: comments, ids, names, fields that nobody knows. Readers skip or
hardly use these, so nothing is lost; but a value in them would pass.
"""

from __future__ import annotations

import re

from mitmesh.dialects.base import Event, Framing

_LINE = re.compile(rb"(?:data:.*|event: ?[A-Za-z_.]{1,64}|retry: ?[0-9]{1,6}|:)?\r?\n?", re.DOTALL)
"""Lines that stay. Names of events are words of an API."""
_BOM = b"\xef\xbb\xbf"
_BETWEEN = re.compile(rb"[\s,\[\]\xef\xbb\xbf]*")


def tidied(event: Event, framing: Framing) -> Event | None:
    """The event without what is not looked at; None where nothing is left. A comment stays as an empty one: it keeps
    connections alive."""
    if framing is not Framing.SSE:
        return event if event.data or _BETWEEN.fullmatch(event.raw) else None
    raw = event.raw.removeprefix(_BOM)
    lines = raw.splitlines(keepends=True)
    kept = [line for line in lines if _LINE.fullmatch(line)]
    if len(kept) == len(lines):
        return event
    if not any(line.strip(b"\r\n") for line in kept):
        kept.insert(0, b":\n")
    return Event(b"".join(kept), event.data, event.name)
