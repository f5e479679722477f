"""Have the provider's own prompt cache keep what comes again: Anthropic's breakpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mitmesh.caching.breakpoints import Beginning, Seen, beginnings, chosen, edit
from mitmesh.caching.prompt_cache import STAGE, least_tokens, may_set
from mitmesh.exchange import Action, Mode
from mitmesh.stage import Stage
from mitmesh.stages.cache import skipped, wishes

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange

OFF_LOOP = 100_000
"""Bytes of a request; hashing a larger one's beginnings takes more than a millisecond, so a thread does."""


class Vendor(Stage):
    """Sets breakpoints in what leaves, after the cache's own key was made of what was asked. `clock` gives seconds."""

    name = STAGE

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self.seen = clock, Seen()

    async def request(self, x: Exchange) -> None:
        """Set them, or say that they would be."""
        if not may_set(x) or "off" in wishes(x.sent_headers) or any(skipped(x, skip) for skip in x.rules.cache.skip):
            return
        assert x.body and x.call.model
        least = least_tokens(x.call.model)
        assert least is not None
        doc, whose = x.body.doc, "\0".join((x.provider, x.call.model, x.credential or x.identity.key or ""))
        found = await asyncio.to_thread(_all, doc, whose) if x.request_bytes > OFF_LOOP else _all(doc, whose)
        places = chosen(found, doc, least, self.seen, self._clock())
        if not places:
            return
        mode = x.rules.cache.mode or x.rules.mode(x.identity.team)
        names = ", ".join(_NAMES[place.name] for place in places)
        said = "would be set" if mode is Mode.OBSERVE else "set"
        x.decide(self.name, Action.ALLOW, self.name, f"breakpoints of the prompt cache {said}: {names}", mode=mode)
        if mode is Mode.ENFORCE:
            for place in places:
                x.body.set(*edit(doc, place.path))

    def health(self) -> dict[str, Any]:
        """How many beginnings are remembered."""
        return {"beginnings": len(self.seen)}


_NAMES = {"tools": "tools", "system": "system", "before": "history", "last": "last turn"}


def _all(doc: Any, whose: str) -> list[Beginning]:
    return list(beginnings(doc, whose))
