from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from audits import exchange
from mitmesh.exchange import Exchange, Mode
from mitmesh.guard import CLOSED, CLOSED_WHEN_ROUTED, CUTS_ANSWER, Guard, StageFailed, where
from mitmesh.rules import Limits, Mesh, Rules
from mitmesh.stage import ORDER, RETURN, Stage

SECRET = "words-of-a-caller"


def call(**mesh: Any) -> Exchange:
    """An exchange under these rules, whose stages have a second each."""
    return exchange(rules_=Rules(mesh=Mesh(limits=Limits(stage_seconds=1), **mesh)))


class Broken(Stage):
    """Does in every hook what it was made for."""

    def __init__(self, name: str, what: Callable[[], Any]) -> None:
        self.name, self.what = name, what

    async def request(self, x: Exchange) -> None:
        done = self.what()
        if asyncio.iscoroutine(done):
            await done

    def response(self, x: Exchange) -> None:
        self.what()

    def finish(self, x: Exchange) -> None:
        self.what()

    def settle(self, x: Exchange) -> None:
        self.what()

    def needs_settling(self, x: Exchange) -> bool:
        return bool(self.what())

    def health(self) -> dict[str, Any]:
        return dict(self.what())


def raises(kind: type[BaseException]) -> Callable[[], Any]:
    """Something that fails with this kind of exception."""

    def fail() -> Any:
        raise kind(SECRET)

    return fail


def later(kind: type[BaseException]) -> Callable[[], Any]:
    """The same, after waiting for something."""

    async def fail() -> Any:
        await asyncio.sleep(0)
        raise kind(SECRET)

    return fail


FAILURES = [raises(RuntimeError), raises(asyncio.CancelledError), raises(TimeoutError), later(KeyError),
            later(asyncio.CancelledError), later(asyncio.InvalidStateError)]  # fmt: skip


def test_every_stage_is_decided_of() -> None:
    """The table of the design, each stage in one row; what is not in it fails open, and that is a choice."""
    assert CLOSED | CLOSED_WHEN_ROUTED | {"cache", "vendor", "meter", "metrics", "live"} == set(ORDER)
    assert set(RETURN) == set(ORDER)
    assert set(ORDER) >= CUTS_ANSWER


@pytest.mark.parametrize("fail", FAILURES)
@pytest.mark.parametrize(
    ("stage", "refused"),
    [
        *((name, True) for name in sorted(CLOSED)),
        *((name, False) for name in ("cache", "meter", "metrics", "live", "route")),
    ],
)
async def test_request(stage: str, refused: bool, fail: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    """However a stage fails on a request, by its name alone the call is refused or goes on."""
    guard, x = Guard(), call()
    await guard.request(Broken(stage, fail), x)
    assert bool(x.refusal) is refused
    assert guard.failures == {stage: 1}
    if x.refusal:
        assert (x.refusal.stage, x.refusal.rule_id, x.refusal.status) == (stage, f"{stage}.failed", 503)
        assert SECRET not in x.refusal.reason
    assert SECRET not in caplog.text
    assert f"stage {stage} failed in request" in caplog.text


@pytest.mark.parametrize(("route", "refused"), [(None, False), ("native", True)])
async def test_route(route: str | None, refused: bool) -> None:
    """A failing route refuses once a rule of it matched: residency and keys depend on it."""
    x = call()
    x.route = route
    await Guard().request(Broken("route", raises(RuntimeError)), x)
    assert bool(x.refusal) is refused


@pytest.mark.parametrize("name", sorted(CLOSED))
async def test_open_by_choice(name: str) -> None:
    """`fail_mode: open` lets the call go on; other stages stay closed."""
    x = call(fail_mode={name: "open"})
    await Guard().request(Broken(name, raises(RuntimeError)), x)
    assert not x.refusal
    other = next(iter(CLOSED - {name}))
    await Guard().request(Broken(other, raises(RuntimeError)), x)
    assert x.refusal


async def test_observing_refuses_too() -> None:
    """No mode turns a call that could not be judged into an observation."""
    x = call(mode="observe")
    assert x.rules.mode() is Mode.OBSERVE
    await Guard().request(Broken("redact", raises(RuntimeError)), x)
    assert x.refusal


async def test_told_to_stop() -> None:
    """A task that is cancelled from outside is no failure of the stage it was in."""
    guard, x = Guard(), call()
    task = asyncio.create_task(guard.request(Broken("redact", lambda: asyncio.sleep(60)), x))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (guard.failures, x.refusal) == ({}, None)


async def test_a_time_limit_is_told_as_one() -> None:
    """The refusal tells a stage that was too slow from one that broke."""
    x = call()
    await Guard().request(Broken("quota", lambda: asyncio.sleep(60)), x)
    assert x.refusal
    assert "took too long" in x.refusal.reason


async def test_a_limit_of_its_own() -> None:
    """A stage may limit and cancel what it does itself; the engine's limit does not disturb it."""

    async def work() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(5)
        other = asyncio.create_task(asyncio.sleep(5))
        await asyncio.sleep(0)
        other.cancel()
        with pytest.raises(asyncio.CancelledError):
            await other

    guard, x = Guard(), call()
    await guard.request(Broken("redact", work), x)
    assert guard.failures == {}


@pytest.mark.parametrize("fail", FAILURES[:3])
@pytest.mark.parametrize("name", ORDER)
def test_answer(name: str, fail: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    """On the way back the stages that must have judged an answer withhold it; what others fail at passes."""
    guard, x = Guard(), call()
    stage = Broken(name, fail)
    if name in CUTS_ANSWER:
        with pytest.raises(StageFailed, match=f"^{name}$"):
            guard.answer(stage, x, "response", lambda: stage.response(x))
        assert x.refusal
        assert (x.refusal.stage, x.refusal.rule_id) == (name, f"{name}.failed")
    else:
        told: Any = object()
        assert guard.answer(stage, x, "response", lambda: stage.response(x), told) is told
        assert not x.refusal
    assert guard.failures == {name: 1}
    assert SECRET not in caplog.text


@pytest.mark.parametrize("name", sorted(CUTS_ANSWER))
def test_answer_open_by_choice(name: str) -> None:
    """`fail_mode: open` holds for answers too."""
    x = call(fail_mode={name: "open"})
    stage = Broken(name, raises(RuntimeError))
    assert Guard().answer(stage, x, "response", lambda: stage.response(x)) is None
    assert not x.refusal


def test_answer_that_works() -> None:
    """What a method returns is handed on."""
    assert Guard().answer(Stage(), call(), "stream", lambda: 7) == 7


@pytest.mark.parametrize("fail", FAILURES[:2])
def test_the_end(fail: Callable[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    """What fails at the end of a call, or when asked how it is, is counted and keeps nobody from anything."""
    guard, x, stage = Guard(), call(), Broken("quota", fail)
    guard.finish(stage, x)
    guard.settle(stage, x)
    assert guard.needs_settling(stage, x) is False
    assert "problem" in guard.health(stage)
    assert guard.failures == {"quota": 4}
    assert SECRET not in caplog.text


def test_where() -> None:
    """An exception is told by type and place, without its text."""
    try:
        raises(ValueError)()
    except ValueError as error:
        told = where(error)
    assert told.startswith("ValueError at test_guard.py:")
    assert SECRET not in told
    assert where(ValueError(SECRET)) == "ValueError"


def test_log_level(caplog: pytest.LogCaptureFixture) -> None:
    """Every failure is an error in the log."""
    Guard().note("cache", "request", ValueError(SECRET))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
