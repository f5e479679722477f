"""What is asked of the layer that finds by meaning, and what comes back. Here, so that its libraries (30 MB of memory)
are only imported where it is on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mitmesh.caching.entry import Entry

if TYPE_CHECKING:
    from mitmesh.caching.embedder import Embedding


class EmbedderError(Exception):
    """The model cannot be loaded; the message says what to do."""


class Embeds(Protocol):
    """What makes vectors of texts."""

    async def start(self) -> None: ...
    async def embed(self, text: str) -> Embedding | None: ...
    async def stop(self) -> None: ...
    def health(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked for: the last user turn, its vector, the key of all else (Key.rest). Found is none that was
    created before `oldest` (seconds since 1970), none of a lesser cosine than `similarity`."""

    turn: str
    vector: bytes
    rest: bytes
    oldest: float = 0
    similarity: float = 0


@dataclass(frozen=True, slots=True)
class Recalled:
    """`entry` may be given, and how near it is; where it is None, `reason` says why the nearest may not (one word of
    the gate's), if there was one."""

    entry: Entry | None = None
    similarity: float | None = None
    reason: str | None = None
