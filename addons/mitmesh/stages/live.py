"""Tell those who watch /live of each call that ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from mitmesh.dialects.base import Operation
from mitmesh.live.events import events
from mitmesh.live.hub import Hub
from mitmesh.live.sessions import Sessions
from mitmesh.stage import Stage

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange


class Live(Stage):
    """Events and running sessions. `running` gives the open exchanges; the engine sets it."""

    name = "live"

    def __init__(self) -> None:
        self.hub = Hub()
        self.running: Callable[[], Iterable[Exchange]] = tuple
        self._sessions = Sessions()

    def finish(self, x: Exchange) -> None:
        """Its events, and its part of its session."""
        if _is_listing(x) and not x.refusal:
            return
        self._sessions.end(x)
        for event in events(x):
            self.hub.publish(event)

    async def stop(self) -> None:
        """Let those who watch go."""
        self.hub.close()

    def sessions(self) -> list[dict[str, Any]]:
        """The sessions at this moment."""
        return self._sessions.now(x for x in self.running() if not _is_listing(x))


def _is_listing(x: Exchange) -> bool:
    """A question for the list of models (scripts/doctor's is one): no call of a model, and nobody's session."""
    return x.operation is Operation.MODELS
