"""Where a breakpoint of Anthropic's prompt cache pays; pure.

Writing to that cache costs a quarter more than plain input, reading a tenth of it: a breakpoint pays where the same
beginning comes again within the cache's five minutes. What has just come twice is what will come again, so a beginning
gets its breakpoint the second time it is seen. The cache's order is tools, system, messages."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mitmesh.caching.prompt_cache import figures
from mitmesh.dialects.base import Path
from mitmesh.dialects.walk import items, obj

BYTES = 4
"""Bytes of JSON that are taken for a token. Too many tokens do no harm: the provider ignores a breakpoint below its
minimum."""
REMEMBERED = 20_000
"""Beginnings that a process remembers, as hash and time alone: about 4 MB."""
BEARERS = frozenset({"text", "image", "document", "search_result", "tool_result"})
"""Blocks of the user's that may bear a breakpoint."""
MARK = {"type": "ephemeral"}
_SECTIONS = ("tools", "system", "messages")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

type Place = tuple[int, ...]
"""Where something stands in the cache's order: the section, then the indexes."""


@dataclass(slots=True, frozen=True)
class Beginning:
    """A prompt's beginning that could be cached: its `name`, the `path` of what would bear the breakpoint, its `place`,
    how many `tokens` it has (about), and its hash."""

    name: str
    path: Path
    place: Place
    tokens: int
    digest: bytes


class Seen:
    """The beginnings that came lately. `ended` are those that a call ended with: where one comes again with more behind
    it, the conversation goes on."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._last: OrderedDict[bytes, tuple[float, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._last)

    def came(self, digest: bytes, now: float, *, ended: bool = False) -> tuple[bool, bool]:
        """It is here at `now` (seconds). Had it come within the cache's time; and was it ever a call's end?"""
        before, was_end = self._last.pop(digest, (float("-inf"), False))
        recent = now - before < figures()["seconds"]
        self._last[digest] = now, ended or (recent and was_end)
        if len(self._last) > self._most:
            self._last.popitem(last=False)
        return recent, recent and was_end


def beginnings(doc: Mapping[str, Any], whose: str) -> Iterator[Beginning]:
    """The beginnings of a Messages request that could bear a breakpoint, shortest first: its tools, its system prompt,
    up to the user's turn before the last, up to the last. `whose` is hashed with them: another's cache is another."""
    digest, size = hashlib.blake2b(whose.encode(), digest_size=16), 0

    def upto(name: str, more: Sequence[Any], path: Path | None, section: int) -> Iterator[Beginning]:
        nonlocal size
        for each in more:
            said = _encode(each).encode("utf-8", "surrogatepass")
            digest.update(b"%d %d:" % (section, len(said)) + said)
            size += len(said)
        if path is not None:
            place = (section, *(step for step in path if isinstance(step, int)))
            yield Beginning(name, path, place, size // BYTES, digest.copy().digest())

    if tools := [obj(tool) for tool in items(doc.get("tools"))]:
        last = max((n for n, tool in enumerate(tools) if tool and not tool.get("defer_loading")), default=None)
        yield from upto("tools", tools, None if last is None else ("tools", last), 0)
    if system := doc.get("system"):
        yield from upto("system", [system], _bearer(system, ("system",)), 1)
    messages, done = items(doc.get("messages")), 0
    turns = [n for n, message in enumerate(messages) if obj(message).get("role") == "user"][-2:]
    for name, n in zip(("before", "last")[-len(turns) :], turns, strict=False):
        end = _bearer(obj(messages[n]).get("content"), ("messages", n, "content"))
        yield from upto(name, messages[done : n + 1], end, 2)
        done = n + 1


def _bearer(content: Any, path: Path) -> Path | None:
    """What of this content would bear a breakpoint behind it: a text that stands for a block, or the last block."""
    if isinstance(content, str):
        return path if content.strip() else None
    if not isinstance(content, list) or not content:
        return None
    last = obj(content[-1])
    kind, text = last.get("type"), last.get("text")
    if kind not in BEARERS or (kind == "text" and not (isinstance(text, str) and text.strip())):
        return None
    return (*path, len(content) - 1)


def own(doc: Mapping[str, Any]) -> list[Place]:
    """The places of the client's own breakpoints."""
    found: list[Place] = []
    for section, name in enumerate(_SECTIONS):
        for n, each in enumerate(items(doc.get(name))):
            found += [(section, n, *below) for below in _marks(each)]
    return found


def _marks(value: Any) -> Iterator[Place]:
    """Every member called `cache_control`, in schemas and arguments too: one too many only means one less of ours."""
    level: list[tuple[Place, Any]] = [((), value)]
    while level:
        place, node = level.pop()
        if isinstance(node, dict):
            if node.get("cache_control") is not None:
                yield place
            level += [(place, below) for below in node.values() if isinstance(below, (dict, list))]
        elif isinstance(node, list):
            level += [((*place, n), below) for n, below in enumerate(node)]


def chosen(found: Sequence[Beginning], doc: Mapping[str, Any], least: int, seen: Seen, now: float) -> list[Beginning]:
    """The beginnings that get a breakpoint. At most four in a call with the client's own, and all behind those: the
    client may have said how long its own are kept, and longer ones must come first. All are remembered."""
    came = {}
    for each in found:
        came[each.name] = seen.came(each.digest, now, ended=each.name == "last")
    if doc.get("cache_control") is not None:  # the provider sets them by itself
        return []
    marks = own(doc)
    room, behind = figures()["breakpoints"] - len(marks), max(marks, default=(-1,))
    goes_on = came.get("before", (False, False))[1]
    again = {name for name, (recent, _) in came.items() if recent} | ({"last"} if goes_on else set())
    fit = [each for each in found if each.name in again and each.tokens >= least and each.place > behind]
    return fit[-room:] if room > 0 else []


def edit(doc: Any, path: Path) -> tuple[Path, Any]:
    """Where to put what, so that `path` bears a breakpoint: a text becomes the block that it stands for."""
    value = doc
    for step in path:
        value = value[step]
    if isinstance(value, str):
        return path, [{"type": "text", "text": value, "cache_control": MARK}]
    return (*path, "cache_control"), MARK
