from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mitmesh.redaction.findings import FinderFailed
from mitmesh.redaction.pool import Pool

FAKE = (str(Path(__file__).with_name("fake_worker.py")),)
type Make = Callable[..., Awaitable[Pool]]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    pools: list[Pool] = []

    async def start(workers: int = 1, seconds: float = 0.5, pii: str = "{}") -> Pool:
        pools.append(Pool(pii, workers, seconds, FAKE))
        await pools[-1].start()
        return pools[-1]

    yield start
    for pool in pools:
        await pool.stop()


async def ask(pool: Pool, *texts: str) -> str:
    """The rule id of the last finding: the fake worker's pid, unless told otherwise."""
    return str((await pool.run([texts]))[0][-1][0][3])


async def until(met: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not met():
            await asyncio.sleep(0.01)


async def test_answers_come_in_the_order_of_the_jobs(make: Make) -> None:
    """Each job gets its own texts' findings, whichever worker had it."""
    pool = await make(workers=2)
    answers = await pool.run([["a"], ["bb", "slow"], ["ccc"]])
    assert [[found[0][1] for found in job] for job in answers] == [[1], [2, 4], [3]]


@pytest.mark.parametrize(
    ("text", "said"), [("hang", "longer than"), ("die", "died"), ("garbage", "died"), ("raise", "ValueError at x.py:1")]
)
async def test_a_search_that_fails_fails_its_call_alone(make: Make, text: str, said: str) -> None:
    """It raises FinderFailed, and the next call is served."""
    pool = await make()
    with pytest.raises(FinderFailed, match=said):
        await ask(pool, text)
    assert await ask(pool, "fine")


async def test_a_hung_worker_is_killed(make: Make) -> None:
    """The process that hung is gone and another one serves."""
    pool = await make()
    first = int(await ask(pool, "fine"))
    with pytest.raises(FinderFailed):
        await ask(pool, "hang")
    assert int(await ask(pool, "fine")) != first
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert pool.restarts == 1


async def test_calls_beside_a_hung_one_go_on(make: Make) -> None:
    """One worker hangs; the others' calls do not wait for it."""
    pool = await make(workers=2, seconds=5)
    await until(lambda: len(pool._running) == 2)
    hung = asyncio.ensure_future(ask(pool, "hang"))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(2):
        assert await ask(pool, "fine")
    hung.cancel()


async def test_a_worker_killed_while_idle_costs_no_call(make: Make) -> None:
    """What the kernel kills between two jobs is replaced without anybody's refusal."""
    pool = await make()
    os.kill(int(await ask(pool, "fine")), signal.SIGKILL)
    await until(lambda: not pool._running[0].alive)
    assert await ask(pool, "fine")


async def test_a_small_call_does_not_wait_for_all_of_a_large_one(make: Make) -> None:
    """The parts of a large call after its first come after a small call's first."""
    pool = await make(seconds=5)
    large = asyncio.ensure_future(pool.run([["slow"]] * 10))
    await asyncio.sleep(0.05)
    assert await ask(pool, "fine")
    assert not large.done()
    large.cancel()


async def test_a_call_that_goes_away_takes_its_jobs_along(make: Make) -> None:
    """Jobs of a cancelled call are not searched."""
    pool = await make(seconds=5)
    gone = asyncio.ensure_future(pool.run([["slow"]] * 50))
    await asyncio.sleep(0.05)
    gone.cancel()
    async with asyncio.timeout(2):
        assert await ask(pool, "fine")


async def test_workers_do_not_see_our_keys(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's environment has what it needs to run, and none of the credentials of ours."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-marked")
    names = (await ask(await make(), "environment")).split()
    assert "OPENAI_API_KEY" not in names and "HF_HUB_OFFLINE" in names


async def test_a_worker_that_cannot_start_says_why(make: Make) -> None:
    """start raises with the worker's own reason."""
    with pytest.raises(FinderFailed, match="install it"):
        await make(pii="fails")


async def test_without_any_worker_calls_fail_at_once(make: Make, tmp_path: Path) -> None:
    """While none can be started again, calls are refused instead of waiting, and health can tell why."""
    pool = await make(pii=f"once {tmp_path / 'started'}")
    with pytest.raises(FinderFailed):
        await ask(pool, "die")
    await until(lambda: pool.down is not None)
    async with asyncio.timeout(0.2):
        with pytest.raises(FinderFailed, match="no worker"):
            await ask(pool, "fine")


async def test_too_much_waiting_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is bounded."""
    monkeypatch.setattr("mitmesh.redaction.pool.QUEUED_CHARACTERS", 10)
    pool = await make(seconds=5)
    first = asyncio.ensure_future(pool.run([["slow"], ["x" * 20], ["x"]]))
    await asyncio.sleep(0.05)
    with pytest.raises(FinderFailed, match="too much"):
        await ask(pool, "fine")
    await first
    assert await ask(pool, "fine")


async def test_stopping_fails_what_is_under_way(make: Make) -> None:
    """A stopped pool leaves no process and answers every call: with FinderFailed."""
    pool = await make(seconds=5)
    pid = int(await ask(pool, "fine"))
    calls = [asyncio.ensure_future(ask(pool, "slow")) for _ in range(3)]
    await asyncio.sleep(0.05)
    await pool.stop()
    assert all(isinstance(each, FinderFailed) for each in await asyncio.gather(*calls, return_exceptions=True))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(FinderFailed):
        await ask(pool, "fine")


async def test_drain_waits_for_what_is_under_way(make: Make) -> None:
    """A pool that is replaced finishes its calls first."""
    pool = await make(seconds=5)
    call = asyncio.ensure_future(ask(pool, "slow"))
    await asyncio.sleep(0.05)
    await pool.drain()
    assert await call
