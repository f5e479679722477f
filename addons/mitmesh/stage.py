"""What a stage is, and the order in which stages run."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mitmesh.dialects.base import Event
    from mitmesh.exchange import Connection, Exchange, Verdict
    from mitmesh.rules import Rules


class StreamEnded(Exception):
    """A transform ends the stream: no failure, but a decision. What `verdict` says is told in the dialect's own finish
    and error, and the provider is cut off. `output`: tokens that were delivered, where it was counted."""

    def __init__(self, verdict: Verdict, output: int = 0) -> None:
        super().__init__(verdict.rule_id)
        self.verdict, self.output = verdict, output


class StreamHeld(Exception):
    """A transform cannot say yet what becomes of an event: that and all that follow wait until `until` is done (it must
    not take long, nor raise). Then the event goes through all transforms anew."""

    def __init__(self, until: Awaitable[object]) -> None:
        super().__init__("held")
        self.until = until


class Transform(Protocol):
    """Changes the events of one stream on their way to the client."""

    def event(self, event: Event, doc: Any) -> Sequence[Event] | None:
        """Take one event (`doc`: its payload parsed, or None); return what to send in its place, None for itself.

        Raises StreamEnded in place of it and all that would follow, StreamHeld where it cannot say yet."""

    def end(self) -> Sequence[Event]:
        """The stream ended: return what was held back."""


ORDER = (
    "scope",  # nothing is read that is not an LLM call
    "identity",  # who calls decides which rules hold
    "policy",  # may they, at all
    "guard",  # is what they say harmful
    "route",  # who would serve it: rules of redaction, prices and the cache's key depend on the provider
    "redact",  # nothing after this line sees personal data or secrets
    "meter",  # how it is paid for: dollars count only where they are
    "quota",  # may they still; before the cache, so that a refused caller learns nothing from it
    "cache",  # was it answered already
    "vendor",  # what the provider's own cache is told to keep; behind ours, whose key is of what was asked
    "commit",  # the audit's row is opened: the last step before anything leaves
    "metrics",  # counts, of what all others decided
    "live",  # tells those who watch
)
"""The order of stages is policy; it is written here and nowhere else."""

RETURN = (
    "meter",  # real usage first: quota settles with it, the cache stores it
    "quota",
    "cache",  # stores what the provider said, still redacted
    "vendor",
    "guard",  # judges what is said, a cache's answer too, still redacted
    "redact",  # restores the caller's own values: nothing after it reads the text
    "route",
    "policy",
    "identity",
    "scope",
    "commit",  # completes the audit's row, with all that the others decided
    "metrics",
    "live",
)
"""The order in which stages see the answer and finish()."""

ALWAYS = ("scope", "identity")
"""Stages that run whichever doors are loaded."""


class Rewrite(Protocol):
    """Changes the bytes of one answer as they come."""

    def feed(self, chunk: bytes) -> bytes:
        """What to send in place of a chunk."""

    def end(self) -> bytes:
        """What was held back."""


class Stage:
    """The base of every stage: each method does nothing. A stage overrides what it needs, imports no mitmproxy, and
    lets its exceptions rise: the engine's guard decides what one means."""

    name: str = ""

    def configure(self, rules: Rules) -> None:
        """At start and when a rules file changed. Raises RulesError for what it cannot work with."""

    async def start(self) -> None:
        """Once, before the first call. Raises to keep the proxy from starting."""

    async def stop(self) -> None:
        """Once, after the last exchange is finished: let go of threads, files, connections."""

    async def request(self, x: Exchange) -> None:
        """Before anything is sent."""

    def patience(self, rules: Rules) -> float:
        """Seconds that `request` may wait for another call, on top of the limit of its own work."""
        return 0.0

    async def replayed(self, x: Exchange) -> None:
        """A cached answer is about to go through `response` (`x.answer`, and `x.answer_body`, which may be changed):
        for what has to be awaited to judge it. What is refused here, or fails where failing refuses, is not given."""

    def response_start(self, x: Exchange) -> None:
        """The answer's status and headers are known (`x.status`)."""

    def stream(self, x: Exchange) -> Transform | None:
        """The transform for this answer's events, or None."""
        return None

    def text(self, x: Exchange) -> Rewrite | None:
        """What rewrites this answer, which is a text and no JSON, or None."""
        return None

    def response(self, x: Exchange) -> None:
        """The whole answer is known (`x.answer`): before a JSON answer or a cached one is sent, or at the end of a
        stream."""

    def needs_settling(self, x: Exchange) -> bool:
        """Has `settle` work to do for this exchange? Cheap."""
        return False

    def settle(self, x: Exchange) -> None:
        """Before finish(), in a thread: what takes too long for the event loop."""

    def finish(self, x: Exchange) -> None:
        """Once, at the end, however it ended (`x.outcome`)."""

    def connection(self, row: Connection) -> None:
        """A connection was decrypted, tunnelled, refused, or failed."""

    def health(self) -> dict[str, Any]:
        """What /health says of this stage; a key `problem` makes the proxy not ready."""
        return {}
