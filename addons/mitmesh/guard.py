"""The one guard: what happens when a stage fails. No stage catches broadly; this does, and decides by stage."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from typing import TYPE_CHECKING

from mitmesh.exchange import Exchange, Mode
from mitmesh.rules import FailMode

if TYPE_CHECKING:
    from collections.abc import Callable

    from mitmesh.stage import Stage

log = logging.getLogger(__name__)

CLOSED = frozenset({"scope", "identity", "policy", "guard", "redact", "quota", "commit"})
"""A failure of these before the call leaves refuses it (503). The others are logged and counted; the call goes on."""

CLOSED_WHEN_ROUTED = frozenset({"route"})
"""These refuse only once a rule of theirs matched (`x.route`): residency and keys depend on it."""

CUTS_ANSWER = frozenset({"guard", "quota"})
"""A failure of these while the answer returns ends it with the dialect's error. After the others' it passes as it is:
a failed restore leaves placeholders, which give nothing away."""


class StageFailed(Exception):
    """A stage failed on an answer that must not go on because of it; the message is the stage's name."""


class Guard:
    """Runs stage methods and decides what their failures mean. `failures` counts them by stage."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()

    async def request(self, stage: Stage, x: Exchange) -> None:
        """Run `stage.request` within the time limit; a failure becomes a refusal, or is only counted."""
        try:
            async with asyncio.timeout(x.rules.mesh.limits.stage_seconds):
                await stage.request(x)
        except Exception as error:  # noqa: BLE001 # the one broad catch of a request; CancelledError is no Exception and rises
            self.note(stage.name, "request", error)
            if self._closed(stage.name, x):
                reason = "took too long" if isinstance(error, TimeoutError) else "failed"
                x.refuse(
                    stage.name,
                    f"{stage.name}.failed",
                    f"The {stage.name} stage {reason}, so the call was not sent. Try again; if it goes on, the "
                    f"operator finds the cause in mitmesh's log.",
                    mode=Mode.ENFORCE,
                    status=503,
                    type="stage_failed",
                )

    def answer[T](self, stage: Stage, x: Exchange, hook: str, method: Callable[[], T]) -> T | None:
        """Run a method on the answer's way back. Raises StageFailed where the answer must not go on; else None."""
        try:
            return method()
        except Exception as error:  # noqa: BLE001 # as above
            self.note(stage.name, hook, error)
            if stage.name in CUTS_ANSWER and x.rules.fail_mode(stage.name) is FailMode.CLOSED:
                raise StageFailed(stage.name) from None
            return None

    def finish(self, stage: Stage, x: Exchange) -> None:
        """Run `stage.finish`; no failure keeps the later stages from theirs."""
        try:
            stage.finish(x)
        except Exception as error:  # noqa: BLE001 # as above
            self.note(stage.name, "finish", error)

    def note(self, stage: str, hook: str, error: BaseException) -> None:
        """Count and log a failure: where and of which type, never the exception's text, which may quote a call."""
        self.failures[stage] += 1
        log.error("stage %s failed in %s: %s", stage, hook, where(error))

    def _closed(self, stage: str, x: Exchange) -> bool:
        if x.rules.fail_mode(stage) is FailMode.OPEN:
            return False
        return stage in CLOSED or (stage in CLOSED_WHEN_ROUTED and x.route is not None)


def where(error: BaseException) -> str:
    """An exception's type and the place it rose, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + place
