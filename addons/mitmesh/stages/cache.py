"""Answer what was answered already, and keep what is answered now."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitmesh import prices
from mitmesh.caching.eligible import FETCHED, keepable, off_for, refers_elsewhere, whole
from mitmesh.caching.entry import Entry
from mitmesh.caching.flights import Flight, Flights
from mitmesh.caching.key import Key, Normal, key_of, last_turn, matters
from mitmesh.caching.normalise import VERSION, Normalise, normalise
from mitmesh.caching.semantic import Semantic, model_of
from mitmesh.caching.store import Store
from mitmesh.caching.tenant import tenant_of
from mitmesh.caching.values import value_hash
from mitmesh.dialects.base import Framing, Kind, Operation
from mitmesh.exchange import Action, Billing, Cached, Layer, Mode, Origin, Outcome
from mitmesh.globs import is_model
from mitmesh.redaction.placeholders import values_of
from mitmesh.rules import FILES
from mitmesh.stage import Stage

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange
    from mitmesh.rules import Rules
    from mitmesh.rules.cache import CacheSkip

OFF_LOOP = 200_000
"""Bytes of a request; the key of a larger one is made in a thread, for that takes more than a millisecond."""
WRITTEN_OFF_LOOP = 32 * 1024
"""Bytes of an answer; a larger one is written as a stream in a thread."""
LONG_TURN = 1_500
"""Characters of the last user turn; one that is longer is normalised in a thread."""
THOUGHT = 0.1
"""How much of a stage's time limit a call may wait for an answer to be found by meaning."""
_IRRELEVANT = frozenset({"prices", "egress", "identities", "quotas", "cache"})
"""Rules that cannot change what an answer says."""


@dataclass(slots=True)
class _State:
    """What the stage keeps of a call that may be kept."""

    key: Key
    tenant: str
    flight: Flight | None = None
    entry: Entry | None = None
    vector: bytes | None = None


class Cache(Stage):
    """The layers, single flight, and what is kept. `data` is the folder of the file and its key."""

    name = "cache"

    def __init__(self, data: Path) -> None:
        self.store, self.flights = Store(data), Flights()
        self.semantic = Semantic(self.store)

    def configure(self, rules: Rules) -> None:
        """Take limits from the rules."""
        self.store.configure(rules.cache)
        self.semantic.configure(rules.cache.semantic)
        policy_of(rules)  # so that no call waits for it

    async def start(self) -> None:
        """Open the file. One that cannot be opened keeps nothing from starting."""
        await self.store.start()
        await self.semantic.start()

    async def stop(self) -> None:
        """Write what waits."""
        await self.semantic.stop()
        await self.store.stop()

    def _hash(self, purpose: bytes, value: str) -> str:
        return self.store.seal.hash(purpose, value)  # the seal is another one once the folder's key is known

    def patience(self, rules: Rules) -> float:
        """As long as a call waits for another's answer."""
        return rules.cache.wait.seconds

    async def request(self, x: Exchange) -> None:
        """Answer it, wait for the same call's answer, or let it go on."""
        asked = wishes(x.sent_headers)
        state = await self._state(x, asked)
        if state is None:
            return
        x.notes[self.name] = state
        x.cache = Cached(Layer.MISS)
        if fresh := "no-cache" in asked:
            x.cache = Cached(Layer.MISS, reason="the client asks for a new answer")
        elif (entry := await self._exact(x, state)) is not None:
            await self._give(x, entry, Layer.EXACT)
            return
        if state.key.rest is not None:
            await self._alike(x, state, search=not fresh)

    async def _state(self, x: Exchange, asked: frozenset[str]) -> _State | None:
        """What is kept of a call in which the cache has a part; None, and why in `x.cache`, where it has none."""
        rules, reason = x.rules.cache, None
        if "off" in asked:
            reason = "switched off by X-Mesh-Cache"
        elif "no-store" in asked:
            reason = "switched off by Cache-Control: no-store"
        elif not rules.exact:
            reason = "switched off by rules/cache.yaml"
        elif any(skipped(x, skip) for skip in rules.skip):
            reason = "left alone by rules/cache.yaml"
        if reason is None and (reason := off_for(x, rules)) is None:
            assert x.body
            own = x.dialect.keeps(x.body.doc)
            tenant = tenant_of(x, rules.tenant, self._hash, own=own)
            if tenant is None:
                reason = "the caller is not known"
            else:
                normal = None if x.operation is Operation.EMBEDDINGS else normal_of(x.rules)
                apart = tenant + self._names(x) if own else tenant
                size = len(x.body.raw)
                large = size > OFF_LOOP or (
                    normal and size > LONG_TURN  # in less there is no such turn
                    and (turn := last_turn(x.body.doc, x.call.texts)) and len(turn.text) > LONG_TURN
                )  # fmt: skip
                key = await asyncio.to_thread(self._key, x, apart, normal) if large else self._key(x, apart, normal)
                if key is not None:
                    return _State(key, tenant)
                reason = "refers to what is fetched from elsewhere"
        x.cache = Cached(Layer.OFF, reason=reason)
        return None

    def _names(self, x: Exchange) -> str:
        """What stands for the values behind a call's placeholders. An answer that the provider keeps has an id under
        which the conversation goes on, so it is for calls alone in which each name stands for the same value."""
        values = values_of(x)
        return self._hash(b"cache names", json.dumps(sorted(values.items()))) if values else ""

    def _key(self, x: Exchange, tenant: str, normal: Normal | None) -> Key | None:
        """The call's key; None where it refers to what is not in it."""
        assert x.body
        rules, names = x.rules.cache, set[str]()
        meant = rules.semantic.enabled and x.operation is Operation.CHAT
        key = key_of(
            x, tenant, policy_of(x.rules), self.store.seal.secret, normal=normal,
            values=values_of(x) if meant else None, model=model_of(rules.semantic),
            ignored=[name.lower() for name in rules.ignore_headers], names=names,
        )  # fmt: skip
        return None if names & FETCHED and refers_elsewhere(matters(x.body.doc)) else key

    async def _exact(self, x: Exchange, state: _State) -> Entry | None:
        """The answer to the very same call: kept, or about to come. Where there is none, this call is waited for."""
        key = state.key.exact
        entry = self.store.here(key)
        if entry is None and self.store.perhaps(key):
            entry = await self.store.fetch(key)
        if entry is not None and self._fresh(x, entry) and whole(entry.answer, x, x.rules.cache):
            return entry
        wait = x.rules.cache.wait
        if wait.seconds == 0 or self._mode(x) is Mode.OBSERVE:
            return None
        if flight := self.flights.find(key):
            return await flight.answer(wait.seconds, wait.calls)
        state.flight = self.flights.lead(key)
        return None

    async def _alike(self, x: Exchange, state: _State, *, search: bool) -> None:
        """Give the answer to a question that means the same, if one is kept; and have the vector of this one."""
        rules, key = x.rules.cache, state.key
        assert key.turn is not None and key.rest is not None
        changes = self.store.changes
        state.vector, found = await self.semantic.ask(
            key.turn, key.rest, rules.semantic, oldest=time.time() - rules.ttl_seconds, search=search,
            seconds=min(rules.semantic.seconds, x.rules.mesh.limits.stage_seconds * THOUGHT),
        )  # fmt: skip
        if found.entry is not None:
            if state.flight:  # whoever waits for it looks for itself
                self.flights.end(key.exact, state.flight)
                state.flight = None
            await self._give(x, self.store.held(found.entry, changes), Layer.SEMANTIC, found.similarity)
        elif found.reason:
            x.cache = Cached(Layer.MISS, similarity=found.similarity, reason=f"similar, but for: {found.reason}")

    def _fresh(self, x: Exchange, entry: Entry) -> bool:
        return time.time() - entry.created < x.rules.cache.ttl_seconds

    def _mode(self, x: Exchange) -> Mode:
        return x.rules.cache.mode or x.rules.mode(x.identity.team)

    async def _give(self, x: Exchange, entry: Entry, layer: Layer, similarity: float | None = None) -> None:
        """Answer with an entry, or only say that it would have been."""
        age = max(0, int(time.time()) - entry.created)
        alike = "" if similarity is None else f", similarity {similarity:.3f}"
        said = f"{layer.value} hit{alike}, {age} s old, from {entry.exchange}"
        if self._mode(x) is Mode.OBSERVE:
            x.decide(self.name, Action.ANSWER, layer.value, said, mode=Mode.OBSERVE)
            x.cache = Cached(Layer.MISS, reason=f"only observed: {layer.value} hit")
            return
        saved = entry.cost if x.billing in (Billing.METERED, Billing.UNKNOWN) else 0
        x.cache = Cached(layer, entry.exchange, age, similarity, saved)
        usage = "meter" not in x.notes and (x.body is None or x.dialect.ask_usage(x.body.doc) is None)
        large = entry.size > WRITTEN_OFF_LOOP and len(entry.shown) < 2
        task = asyncio.to_thread(_forms, x, entry, usage) if large else None
        before = sum(map(len, entry.shown.values()))
        body, shown = await task if task else _forms(x, entry, usage)
        self.store.front.grew(entry, sum(map(len, entry.shown.values())) - before)
        x.reply_with(self.name, layer.value, entry.answer, Origin.CACHE, said, body=body, shown=shown, usage=usage)
        x.notes[self.name].entry = entry

    def response(self, x: Exchange) -> None:
        """The answer is known: whoever waits for the same has it, before all is settled here."""
        state: _State | None = x.notes.get(self.name)
        if state and state.flight and x.origin is not Origin.CACHE and x.status == 200 and not x.answer_cut:
            answered = x.answer is not None and whole(x.answer, x, x.rules.cache)
            state.flight.land(self._entry(x, state) if answered else None)

    def finish(self, x: Exchange) -> None:
        """Keep the answer, if it is one to be kept; let those go who wait for none."""
        x.vendor_saved = vendor_saved(x)
        state: _State | None = x.notes.get(self.name)
        if state is None:
            return
        if state.entry is not None:
            if x.outcome is Outcome.ANSWERED and x.cache:
                self.store.used(state.entry.key, x.cache.saved)
            return
        entry = None
        if keepable(x, x.rules.cache) and (entry := self._entry(x, state)):
            self.store.add(entry)
        if state.flight:
            state.flight.land(entry)
            self.flights.end(state.key.exact, state.flight)

    def _entry(self, x: Exchange, state: _State) -> Entry | None:
        """The answer of this exchange as it is kept; None where it is too large."""
        assert x.answer
        body = x.answer_body.raw if x.operation is Operation.EMBEDDINGS and x.answer_body else None
        if x.operation is Operation.EMBEDDINGS and body is None:
            return None
        size = sum(len(part.text) for part in x.answer.parts) + len(body or b"")
        if size > x.rules.cache.entry_bytes:
            return None
        values = values_of(x) or {}
        acts = any(part.kind is Kind.TOOL_CALL for part in x.answer.parts)  # an action is given to the same call alone
        return Entry(
            state.key.exact, x.answer, x.id, int(time.time()), state.tenant, x.provider, x.call.model or "",
            body=body, cost=x.cost, rest=state.key.rest, turn=state.key.turn, vector=None if acts else state.vector,
            user=x.identity.user, values=tuple({value_hash(self._hash, value) for value in values.values()}),
        )  # fmt: skip

    def health(self) -> dict[str, Any]:
        """What is held and written; a warning while the file cannot be used."""
        said: dict[str, Any] = {**self.counters()}
        if warnings := [each for each in (self.store.warning, self.semantic.health()) if each]:
            said["warning"] = "; ".join(warnings)
        return said

    def counters(self) -> dict[str, float]:
        """For metrics: entries and bytes in memory, entries known, open flights, what the store did, and the layer that
        finds by meaning."""
        done, meant = self.store.counters, self.semantic.counters
        return {
            "memory_entries": len(self.store.front),
            "memory_bytes": self.store.front.size,
            "entries": len(self.store),
            "flights": len(self.flights),
            "written": done.written,
            "dropped": done.dropped,
            "failures": done.failures,
            "evicted": done.evicted,
            "set_aside": done.set_aside,
            "vectors": self.semantic.entries,
            "semantic_up": int(self.semantic.up),
            "semantic_failures": meant.failures,
            "semantic_unasked": meant.unasked,
            "semantic_unlike": meant.unlike,
        }


def wishes(headers: Mapping[str, str]) -> frozenset[str]:
    """What the client asks of the cache: `off`, `no-store`, `no-cache`."""
    asked = {word.strip().lower() for word in headers.get("cache-control", "").split(",")} & {"no-store", "no-cache"}
    if headers.get("x-mesh-cache", "").strip().lower() == "off":
        asked.add("off")
    return frozenset(asked)


def vendor_saved(x: Exchange) -> int | None:
    """What the provider's own prompt cache saved of this call, in micro-dollars; None where it had no part, or no price
    is known."""
    used, model = x.usage, x.call.model
    if (
        x.cost is None
        or x.billing not in (Billing.METERED, Billing.UNKNOWN)
        or used is None
        or model is None
        or not (used.cache_read or used.cache_write_5m + used.cache_write_1h)
    ):
        return None
    plain = replace(used, cache_read=0, cache_write_5m=0, cache_write_1h=0)
    served = x.answer.model if x.answer else None
    full = prices.price(model, x.provider, plain, x.started, x.rules.prices.prices, served=served)
    return None if full is None else full - x.cost


@lru_cache(maxsize=8)
def policy_of(rules: Rules) -> str:
    """What stands for all rules that may change what is sent or given back: with another one, answers are new."""
    digest = hashlib.sha256()
    for name in FILES:
        if name not in _IRRELEVANT:
            digest.update(f"{name}\0{getattr(rules, name).model_dump_json()}\0".encode())
    digest.update(f"{VERSION}\0{rules.cache.normalise.model_dump_json()}".encode())  # what is another call of it
    return digest.hexdigest()[:16]


@lru_cache(maxsize=8)
def normal_of(rules: Rules) -> Normal | None:
    """What takes from a last user turn the differences that do not count; None where all do."""
    switches = rules.cache.normalise.model_dump()
    return partial(normalise, rules=Normalise(**switches)) if any(switches.values()) else None


def skipped(x: Exchange, skip: CacheSkip) -> bool:
    """Is it a call that this rule leaves alone?"""
    who = x.identity
    known = {"team": who.team, "namespace": who.namespace, "user": who.user, "tool": who.tool, "provider": x.provider}
    if any(wanted is not None and known[name] != wanted for name, wanted in skip if name != "model"):
        return False
    return skip.model is None or is_model(x.call.model or "", (skip.model,))


def _forms(x: Exchange, entry: Entry, usage: bool) -> tuple[bytes, bytes | None]:
    """The entry's JSON, and its bytes in the form that this call asked for; they are made once. None where the text
    will be restored, so that they would be of no use."""
    body = entry.body or entry.shown.get("json")
    if body is None:
        body = entry.shown["json"] = x.dialect.render(entry.answer)
    if x.framing is Framing.NONE or entry.body is not None:
        return body, body
    if values_of(x):
        return body, None
    form = (x.framing, usage)
    if form not in entry.shown:
        entry.shown[form] = b"".join(x.dialect.render_stream(entry.answer, framing=x.framing, usage=usage))
    return body, entry.shown[form]
