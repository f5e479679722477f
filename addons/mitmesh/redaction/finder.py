"""Finder: what the redact stage asks. Remembers texts, has new ones searched by the pool, fails as a whole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitmesh.redaction.clearance import Clearance
from mitmesh.redaction.findings import FinderFailed, Finding, Health, TooMuch, Type, from_plain, without_overlap
from mitmesh.redaction.keylines import whole
from mitmesh.redaction.memory import Memory
from mitmesh.redaction.pool import Pool
from mitmesh.redaction.prefilter import pieces, windows
from mitmesh.rules.errors import RulesError

if TYPE_CHECKING:
    from mitmesh.rules import Rules
    from mitmesh.rules.pii import Pii

log = logging.getLogger(__name__)

JOB = 16_000
"""Characters of texts that are searched together: about 10 ms."""
CLEARED = 4_000
"""Characters of a call's new texts that are looked at on the event loop, to clear them: at most 0.2 ms as a rule."""
LONGEST, OVERLAP = 32_000, 8_000
"""A longer text is cut into pieces that overlap by more than what is found is long; see keylines for private keys."""
SMALL = 200_000
"""Characters of new texts that are always searched."""
_SAMPLE, _SAMPLES = 2_000, 32
"""Characters of a sample, and how many of a text: 10 ms of a thread."""


@dataclass(slots=True)
class _Part:
    """A text, or a piece of one, that has to be searched."""

    key: bytes
    offset: int
    text: str


class Finder:
    """Finds personal data and secrets in texts, in processes of their own."""

    def __init__(self) -> None:
        self._pii: Pii | None = None
        self._wanted: Pii | None = None
        self._memory = Memory(0)
        self._clearance: Clearance | None = None
        self._pool: Pool | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._problem = ""

    def configure(self, rules: Rules) -> None:
        """Use these rules: at once before `start`, else as soon as workers that know them run (seconds; the ones
        before serve until then). Raises RulesError where there are no patterns: no secret would be found."""
        if not rules.pii.patterns:
            raise RulesError("rules/pii.yaml: has no patterns: no secret would be found; is the file there?")
        self._wanted = rules.pii
        if self._pool is not None and (self._renewal is None or self._renewal.done()):
            self._renewal = asyncio.get_running_loop().create_task(self._renew(), name="redaction rules")

    async def start(self) -> None:
        """Start the workers and wait until they can work; FinderFailed if they cannot."""
        if self._wanted is None:
            raise FinderFailed("the finder has no rules")
        await self._use(self._wanted)

    async def stop(self) -> None:
        """End the workers; searches under way raise FinderFailed."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.stop()

    def health(self) -> Health:
        """How it is, and whether a model for names is loaded."""
        if self._pool is None or self._pii is None:
            return Health(False, False, detail="not started")
        models = tuple(model.name for model in self._pii.models)
        persons = any(Type.PERSON in model.entities.values() for model in self._pii.models)
        return Health(self._pool.down is None, persons, models, self._pool.down or self._problem)

    async def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        """The findings of each text: in order, without overlap. FinderFailed where any could not be searched.

        A text seen before costs a hash (about 1 µs per kB). The lists are shared: do not change them."""
        pool, memory = self._pool, self._memory
        if pool is None:
            raise FinderFailed("the finder is not running")
        keys = [memory.key(text) for text in texts]
        known: dict[bytes, list[Finding]] = {}
        new: dict[bytes, str] = {}
        for key, text in zip(keys, texts, strict=True):
            found = memory.get(key)
            if found is None:
                new[key] = text
            else:
                known[key] = found
        if new:
            await self._fits(new.values())
            known |= self._cleared(new)
            known |= await self._search(pool, {key: text for key, text in new.items() if key not in known})
            for key in new:
                memory.put(key, known[key])
        return [known[key] for key in keys]

    async def _fits(self, new: Collection[str]) -> None:
        """Raises TooMuch for what would only run out of its time."""
        size = sum(map(len, new))
        if self._pii is None or size <= SMALL:
            return
        limits = self._pii.finder
        if size > limits.new_characters:
            raise TooMuch(f"it has {size:,} new characters, of at most {limits.new_characters:,} (new_characters)")
        dense = await asyncio.to_thread(_dense, new)
        if dense > limits.dense_characters:
            said = f"about {dense:,} of its new characters stand around what may be a value"
            raise TooMuch(f"{said}, of at most {limits.dense_characters:,} (dense_characters)")

    def _cleared(self, new: dict[bytes, str]) -> dict[bytes, list[Finding]]:
        """Those in which there is certainly nothing, as far as that can be told at once."""
        found: dict[bytes, list[Finding]] = {}
        left = CLEARED
        for key, text in new.items():
            if len(text) <= left and self._clearance:
                left -= len(text)
                if self._clearance.clear(text):
                    found[key] = []
        return found

    def remembered(self, texts: Sequence[str]) -> list[list[Finding]] | None:
        """The findings of each text at once, where all were searched before; else None."""
        memory = self._memory
        found = [memory.get(memory.key(text)) for text in texts]
        known = [each for each in found if each is not None]
        return known if len(known) == len(found) else None

    async def _search(self, pool: Pool, new: dict[bytes, str]) -> dict[bytes, list[Finding]]:
        if not new:
            return {}
        jobs = list(_jobs(new))
        answers = await pool.run([[part.text for part in job] for job in jobs])
        found: dict[bytes, list[Finding]] = {key: [] for key in new}
        for job, answer in zip(jobs, answers, strict=True):
            if len(job) != len(answer):
                raise FinderFailed("a worker answered for another number of texts")
            for part, rows in zip(job, answer, strict=True):
                text, end = new[part.key], part.offset + len(part.text)
                found[part.key] += [whole(each, text, end) for each in from_plain(rows, part.offset)]
        return {key: without_overlap(each) for key, each in found.items()}

    async def _use(self, pii: Pii) -> None:
        """Workers for these rules, in place of those before."""
        # What is done with findings is not their business: changing it costs no restart.
        pool = Pool(pii.model_dump_json(exclude=_NOT_THEIRS), pii.finder.workers, pii.finder.seconds)
        await pool.start()
        old, self._pool = self._pool, pool
        self._pii, self._memory, self._clearance = pii, Memory(pii.finder.memory_bytes), Clearance(pii)
        health = self.health()
        if health.persons:
            log.info("redaction: people's names are found, by %s", ", ".join(health.models))
        else:
            log.info("redaction: no model for names is loaded: people, streets and organisations are NOT found")
        if self._clearance.why_not:
            log.info("redaction: every new text goes to a worker, for %s", self._clearance.why_not)
        if old is not None:
            await old.drain()

    async def _renew(self) -> None:
        """Follow the rules until they stay as they are."""
        while self._wanted is not None and self._wanted is not self._pii:
            wanted = self._wanted
            if self._pii is not None and _finding(wanted) == _finding(self._pii):
                self._pii = wanted
                continue
            try:
                await self._use(wanted)
            except (FinderFailed, OSError) as error:
                self._problem = f"the rules before are in force: {error}"
                log.error("redaction: %s", self._problem)
                return
        self._problem = ""


_NOT_THEIRS = {"action", "actions", "output", "vault", "signing"}


def _finding(pii: Pii) -> str:
    return pii.model_dump_json(exclude=_NOT_THEIRS)


def _dense(texts: Collection[str]) -> int:
    """About how many characters the analyzer has to see, told by samples."""
    dense = 0.0
    for text in texts:
        step = max(_SAMPLE, len(text) // _SAMPLES)
        samples = [text[at : at + _SAMPLE] for at in range(0, len(text), step)]
        seen = sum(min(len(sample), sum(right - left for left, right in windows(sample))) for sample in samples)
        dense += len(text) * seen / max(1, sum(map(len, samples)))
    return int(dense)


def _jobs(new: dict[bytes, str]) -> Iterator[list[_Part]]:
    """The texts in jobs of about JOB characters, long ones cut."""
    job: list[_Part] = []
    size = 0
    for key, text in new.items():
        for left, right in pieces(0, len(text), LONGEST, OVERLAP):
            if job and size + right - left > JOB:
                yield job
                job, size = [], 0
            job.append(_Part(key, left, text[left:right]))
            size += right - left
    if job:
        yield job
