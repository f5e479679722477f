"""The cache's layer that finds answers by meaning: its embedder and its index, in threads, and what each call may wait.

Whatever fails here, or takes too long, makes a call a miss."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mitmesh.caching.lane import Busy, Lane
from mitmesh.caching.meaning import Asked, EmbedderError, Embeds, Recalled
from mitmesh.rules.cache import CacheSemantic

if TYPE_CHECKING:
    from mitmesh.caching.recall import Recall
    from mitmesh.caching.store import Store

log = logging.getLogger(__name__)

WAITING = 64
"""Searches that may wait; one more is a miss."""
START_SECONDS = 5.0
"""How long the proxy's start waits for the model; calls before it is there are misses."""
AGAIN_SECONDS = 30.0
"""How soon a model that could not be loaded is tried again."""
PAUSE_SECONDS = 10.0
"""How long nobody asks after a call that waited in vain."""


@dataclass(slots=True)
class Counters:
    """What became of questions, since the start."""

    failures: int = 0
    """Not looked for, or given up: no embedder, no index, or no answer in time."""
    unasked: int = 0
    """Not looked for: longer than the model reads, or too many at once."""
    unlike: int = 0
    """Similar to a kept one, but its answer was not to be given."""


@dataclass(slots=True)
class _Running:
    """The layer while it works."""

    embedder: Embeds
    recall: Recall
    lane: Lane
    model: str


def model_of(rules: CacheSemantic) -> str:
    """The name under which a model's vectors are kept."""
    return rules.model or "shipped"


def embedder_of(rules: CacheSemantic) -> Embeds:
    """The embedder that the rules name, not started. Takes half a second where its libraries are not imported yet."""
    from mitmesh.caching.embedder import Embedder
    from mitmesh.caching.process import ProcessEmbedder

    return ProcessEmbedder(rules.python, rules.model) if rules.model else Embedder()


def recall_of(store: Store, most: int, dimensions: int) -> Recall:
    """The index over the store's file, empty. The same holds."""
    from mitmesh.caching.recall import Recall

    return Recall(store.data, store.seal, most, dimensions)


class Semantic:
    """The layer as the rules want it, from `start` to `stop`. `store`: whose entries it finds, started before it."""

    def __init__(self, store: Store) -> None:
        self._store, self.counters = store, Counters()
        self._rules = CacheSemantic()
        self._running: _Running | None = None
        self._life: asyncio.Task[None] | None = None
        self._started = False
        self._problems: dict[str, str] = {}
        self._pause = 0.0
        self.entries = 0

    def configure(self, rules: CacheSemantic) -> None:
        """Take new rules; what they change about the model or the index is done in the background."""
        before, self._rules = self._rules, rules
        if self._started and _machinery(before) != _machinery(rules):
            self._life = asyncio.create_task(self._live(rules, self._life))

    async def start(self) -> None:
        """Load the model; a while is waited for it. What cannot be loaded keeps nothing from starting."""
        loop, self._came, self._ready = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        self._store.came = partial(_tell, loop, self._came)
        self._started = True
        self._life = asyncio.create_task(self._live(self._rules, None))
        if self._rules.enabled:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), START_SECONDS)

    async def stop(self) -> None:
        """End what runs."""
        self._started = False
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait({self._life})

    # --- a call ---

    async def ask(
        self, turn: str, rest: bytes, rules: CacheSemantic, *, oldest: float, seconds: float, search: bool = True
    ) -> tuple[bytes | None, Recalled]:
        """The vector of a last user turn, None where it has none; and (with `search`) what may be given for it: see
        Asked. Takes so many seconds at most."""
        running, vector = self._usable(rules), None
        if running is None:
            return None, Recalled()
        try:
            async with asyncio.timeout(seconds):
                vector = await self._vector(running, turn)
                if vector is None or not search:
                    return vector, Recalled()
                asked = Asked(turn, vector, rest, oldest, rules.least_similarity)
                return vector, await self._find(running, asked)
        except TimeoutError:
            self._pause = time.monotonic() + PAUSE_SECONDS
            self._failed("late", "a question waited in vain")
            return vector, Recalled()

    async def _vector(self, running: _Running, text: str) -> bytes | None:
        found = await running.embedder.embed(text)
        if found is not None:
            self._problems.pop("late", None)
            return found.vector
        if running.embedder.health():
            self.counters.failures += 1
        else:
            self.counters.unasked += 1
        return None

    async def _find(self, running: _Running, asked: Asked) -> Recalled:
        try:
            found = await running.lane.run(partial(running.recall.find, asked))
        except Busy:
            self.counters.unasked += 1
            return Recalled()
        except (OSError, sqlite3.Error) as error:
            self._failed("index", f"the index cannot read its entries ({type(error).__name__})")
            return Recalled()
        if found.entry is None and found.reason:
            self.counters.unlike += 1
        return found

    def _usable(self, rules: CacheSemantic) -> _Running | None:
        running = self._running
        if running is not None and running.model == model_of(rules) and time.monotonic() >= self._pause:
            return running
        self.counters.failures += 1
        return None

    # --- its life ---

    async def _live(self, rules: CacheSemantic, before: asyncio.Task[None] | None) -> None:
        """Have the layer, until this is cancelled."""
        if before is not None:
            before.cancel()
            await asyncio.wait({before})
        self._problems.clear()
        if not rules.enabled:
            return
        embedder = await asyncio.to_thread(embedder_of, rules)
        lane = Lane("cache-index", WAITING)
        try:
            dimensions = await self._begin(embedder)
            recall = await self._opened(lane, rules.most_entries, dimensions)
            self._running = _Running(embedder, recall, lane, model_of(rules))
            self._ready.set()
            while True:
                self._came.clear()
                await self._learn(lane, recall)
                await self._came.wait()
        except Exception as error:  # noqa: BLE001  nobody waits for this task; the exception could quote
            self._failed("life", f"it ended ({type(error).__name__}); a restart begins it anew")
        finally:
            running, self._running, self.entries = self._running, None, 0
            if running is not None:
                with suppress(Busy, TimeoutError, OSError, sqlite3.Error):
                    await asyncio.wait_for(lane.run(running.recall.close), 2)
            await asyncio.gather(embedder.stop(), lane.close())

    async def _begin(self, embedder: Embeds) -> int:
        """Start it, however often that takes; how long its vectors are."""
        while True:
            try:
                await embedder.start()
                if found := await embedder.embed("How long is a vector?"):
                    self._problems.clear()
                    return len(found.vector)
                self._failed("embedder", "the embedder gives no vectors")
            except EmbedderError as error:
                self._failed("embedder", str(error))
            self._ready.set()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _opened(self, lane: Lane, most: int, dimensions: int) -> Recall:
        while True:
            try:
                return await lane.run(partial(recall_of, self._store, most, dimensions))
            except (OSError, sqlite3.Error) as error:
                self._failed("index", f"the index cannot be made: {type(error).__name__}")
            self._ready.set()
            await asyncio.sleep(AGAIN_SECONDS)

    async def _learn(self, lane: Lane, recall: Recall) -> None:
        """What came into the file, and what went."""
        more = True
        while more:
            try:
                more = await lane.run(recall.refresh)
                self.entries = len(recall)
                self._problems.pop("index", None)
            except Busy:
                await asyncio.sleep(0.05)
            except (OSError, sqlite3.Error) as error:
                self._failed("index", f"the index cannot learn of new entries ({type(error).__name__})")
                await asyncio.sleep(1)

    def _failed(self, what: str, problem: str) -> None:
        self.counters.failures += 1
        if problem != self._problems.get(what):
            self._problems[what] = problem
            log.warning("mitmesh: the cache finds nothing by meaning: %s; calls go on", problem)

    # --- what is told of it ---

    @property
    def up(self) -> bool:
        """Does it work?"""
        return self._rules.enabled and self._running is not None and not self.health()

    def health(self) -> str:
        """Empty when well (or not wanted), else what is wrong."""
        if not self._rules.enabled:
            return ""
        if self._running is None and not self._problems:
            return "the model of the semantic layer is being loaded"
        said = [*self._problems.values(), self._running.embedder.health() if self._running else ""]
        return "; ".join(filter(None, said))


def _tell(loop: asyncio.AbstractEventLoop, came: asyncio.Event) -> None:
    loop.call_soon_threadsafe(came.set)


def _machinery(rules: CacheSemantic) -> tuple[object, ...]:
    """What of the rules needs another embedder or index."""
    return rules.enabled, rules.model, rules.python if rules.model else None, rules.most_entries
