"""What a call and its answer say of things that the provider keeps: conversations, threads, files, batches, answers.

Texts that were sent earlier lie there with our placeholders in them; their names are in the vault under the thing's id.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from mitmesh.dialects.walk import obj

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange

MOST = 50
"""Things that one call may refer to; of more, names are not known."""
GROWING = frozenset({"conversations", "threads", "uploads"})
"""Parts of a path that name what calls add to: the next one goes on numbering."""
_KEPT = GROWING | {"responses", "completions", "batches", "files", "cachedContents"}
_UPLOADS = re.compile(r"/(files|uploads(/[^/]+/parts)?)/?$")
_FIELDS = frozenset({"file_id", "file_ids", "fileUri", "file_uri", "input_file_id", "thread_id", "upload_id"})
"""Members whose strings are ids of such things, or addresses that end in one."""
_MADE = ("file", "conversation", "response", "thread", "message_batch")
"""Members of answers that are such a thing, with its id."""
_IDS = ("id", "thread_id", "name", "output_file_id", "error_file_id")
_LONGEST = 200
_WORDS = frozenset({"runs", "input_tokens", "compact", "count_tokens"})
"""What stands behind such a part of a path and is no id."""


@dataclass(slots=True)
class References:
    """Ids that a call refers to. To those in `grows` it adds texts; those in `reads` stay as they are. `is_upload`: it
    sends what any later call may refer to beside others."""

    grows: list[str] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    is_upload: bool = False

    @property
    def all(self) -> list[str]:
        """Both, each once."""
        return list(dict.fromkeys([*self.grows, *self.reads]))


def references(x: Exchange) -> References:
    """Those of a call, as it came."""
    route = x.path.partition("?")[0]
    found = References(is_upload=x.method == "POST" and _UPLOADS.search(route) is not None)
    if history := x.call.history_at_provider:
        found.grows.append(bare(history))
    steps = route.strip("/").split("/")
    for step, following in itertools.pairwise(steps):
        if step in _KEPT and following not in _KEPT | _WORDS:
            (found.grows if step in GROWING else found.reads).append(bare(unquote(following)))
    if x.body:
        found.reads += _in(x.body.doc)
    return found


def bare(name: str) -> str:
    """An id without what may stand before it: `files/abc` and an address that ends in it are `abc`."""
    return name.rstrip("/").rpartition("/")[2].partition(":")[0]


def _in(doc: Any) -> Iterator[str]:
    todo = [doc]
    while todo:
        node = todo.pop()
        if type(node) is dict:
            if not _FIELDS.isdisjoint(node):
                named = [value for key, value in node.items() if key in _FIELDS]
                given = [each for value in named for each in (value if isinstance(value, list) else (value,))]
                yield from (bare(each) for each in given if isinstance(each, str) and each)
            todo += [value for value in node.values() if type(value) is dict or type(value) is list]
        elif type(node) is list:
            todo += [value for value in node if type(value) is dict or type(value) is list]


def made(doc: Any) -> list[str]:
    """The ids that an answer, or an event of one, gives to what it is about."""
    found = []
    for node in (obj(doc), *(obj(obj(doc).get(key)) for key in _MADE)):
        given = (node.get(key) for key in _IDS)
        found += [bare(value) for value in given if isinstance(value, str) and 0 < len(value) <= _LONGEST]
    if isinstance(conversation := obj(doc).get("conversation"), str):
        found.append(conversation)
    return list(dict.fromkeys(found))


def merged(entries: list[dict[str, str | None]]) -> tuple[dict[str, str], set[str]]:
    """The names of several things together, and those that stand for more than one value, or for nobody knows which:
    they are not given again, and not restored."""
    names: dict[str, str] = {}
    unsure: set[str] = set()
    for entry in entries:
        for name, value in entry.items():
            if value is None or names.setdefault(name, value) != value:
                unsure.add(name)
    return {name: value for name, value in names.items() if name not in unsure}, unsure
