"""The one guard: what happens when a stage fails. No stage catches broadly; this does, and decides by stage."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from mitmesh.exchange import Exchange, Mode
from mitmesh.rules import FailMode, Rules
from mitmesh.stage import StreamEnded, StreamHeld

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from mitmesh.stage import Stage

log = logging.getLogger(__name__)

CLOSED = frozenset({"scope", "identity", "policy", "guard", "redact", "quota", "commit"})
"""A failure of these before the call leaves refuses it (503). The others are logged and counted; the call goes on."""

CLOSED_WHEN_ROUTED = frozenset({"route"})
"""These refuse only once a rule of theirs matched (`x.route`): residency and keys depend on it."""

CUTS_ANSWER = frozenset({"guard", "quota"})
"""A failure of these while the answer returns ends it with the dialect's error. After the others' it passes as it is:
a failed restore leaves placeholders, which give nothing away."""


FAILURES = (Exception, asyncio.CancelledError)
"""What a stage may fail with: a cancellation that nobody asked this task for is the stage's own."""


class StageFailed(Exception):
    """A stage failed on an answer that must not go on because of it; the message is the stage's name."""


class Guard:
    """Runs stage methods and decides what their failures mean. `failures` counts them by stage."""

    def __init__(self) -> None:
        self.failures: Counter[str] = Counter()

    async def request(self, stage: Stage, x: Exchange) -> None:
        """Run `stage.request` within the time limit; a failure becomes a refusal, or is only counted."""
        await self._decides(stage, x, "request", stage.request(x))

    async def replayed(self, stage: Stage, x: Exchange) -> None:
        """Run `stage.replayed`, the same way."""
        await self._decides(stage, x, "replayed", stage.replayed(x))

    async def _decides(self, stage: Stage, x: Exchange, hook: str, method: Coroutine[Any, Any, None]) -> None:
        try:
            await _within(stage, x.rules, method)
        except FAILURES as error:  # the one broad catch of a request
            if isinstance(error, asyncio.CancelledError) and _cancelled():
                raise
            self.note(stage.name, hook, error)
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

    def answer[T](
        self, stage: Stage, x: Exchange, hook: str, method: Callable[[], T], failed: T | None = None
    ) -> T | None:
        """Run a method on the answer's way back. Where it fails: `failed`, or, where the answer must not go on, a
        refusal in `x` and StageFailed. A stream that a stage ends or holds is no failure: StreamEnded and StreamHeld
        pass."""
        try:
            return method()
        except (StreamEnded, StreamHeld):
            raise
        except FAILURES as error:  # as above
            self.note(stage.name, hook, error)
            if stage.name not in CUTS_ANSWER or x.rules.fail_mode(stage.name) is FailMode.OPEN:
                return failed
        rule, reason = f"{stage.name}.failed", f"The {stage.name} stage failed on the answer, so it was withheld."
        x.refuse(stage.name, rule, reason, mode=Mode.ENFORCE, status=503, type="stage_failed")
        raise StageFailed(stage.name)

    def needs_settling(self, stage: Stage, x: Exchange) -> bool:
        """Ask it; no failure keeps finish() from running."""
        try:
            return stage.needs_settling(x)
        except FAILURES as error:  # as above
            self.note(stage.name, "settle", error)
            return False

    def settle(self, stage: Stage, x: Exchange) -> None:
        """Run `stage.settle`, in a thread; the same holds."""
        try:
            stage.settle(x)
        except FAILURES as error:  # as above
            self.note(stage.name, "settle", error)

    def health(self, stage: Stage) -> dict[str, Any]:
        """What `stage.health` says; one that cannot say it has a problem."""
        try:
            return stage.health()
        except FAILURES as error:  # as above
            self.note(stage.name, "health", error)
            return {"problem": "it cannot say how it is"}

    def finish(self, stage: Stage, x: Exchange) -> None:
        """Run `stage.finish`; no failure keeps the later stages from theirs."""
        try:
            stage.finish(x)
        except FAILURES as error:  # as above
            self.note(stage.name, "finish", error)

    def note(self, stage: str, hook: str, error: BaseException) -> None:
        """Count and log a failure: where and of which type, never the exception's text, which may quote a call."""
        self.failures[stage] += 1
        log.error("stage %s failed in %s: %s", stage, hook, where(error))

    def _closed(self, stage: str, x: Exchange) -> bool:
        if x.rules.fail_mode(stage) is FailMode.OPEN:
            return False
        return stage in CLOSED or (stage in CLOSED_WHEN_ROUTED and x.route is not None)


async def _within(stage: Stage, rules: Rules, coroutine: Coroutine[Any, Any, None]) -> None:
    """Await it, within the stage's time. Most stages wait for nothing: the timer, which costs as much as a stage, is
    only set for one that does."""
    try:
        waiting = coroutine.send(None)
    except StopIteration:
        return
    async with asyncio.timeout(rules.mesh.limits.stage_seconds + stage.patience(rules)):
        await _Rest(coroutine, waiting)


class _Rest:
    """What is left of a coroutine that has begun, and waits for `waiting`."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waiting: Any) -> None:
        self._coroutine, self._waiting = coroutine, waiting

    def __await__(self) -> Generator[Any, Any, None]:
        waiting = self._waiting
        while True:
            try:
                reply = yield waiting
            except BaseException as error:  # noqa: BLE001 # it is the coroutine's to take
                go_on = partial(self._coroutine.throw, error)
            else:
                go_on = partial(self._coroutine.send, reply)
            try:
                waiting = go_on()
            except StopIteration:
                return


def _cancelled() -> bool:
    """Was the task that runs this told to stop?"""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def where(error: BaseException) -> str:
    """An exception's type and the place it rose, without its text."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else ""
    return type(error).__name__ + place
