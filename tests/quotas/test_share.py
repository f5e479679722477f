"""What nodes spend while Redis is away: never more than the limit, and all of it is told when it is back."""

from __future__ import annotations

import asyncio
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mitmesh.quotas import in_redis, opening
from mitmesh.quotas.books import Books
from mitmesh.quotas.in_redis import RedisLedger
from mitmesh.quotas.journal import Journal
from mitmesh.quotas.ledger import Key, LedgerAway, Standing, Want, refused
from mitmesh.quotas.share import AWAY_SECONDS, SHARE_SECONDS, SharingLedger
from mitmesh.rules import RulesError
from mitmesh.rules.quotas import Quotas
from quotas.conftest import NOON, start_redis

KEY = Key("team", "tokens/month", "")
LEASE = 60


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A Redis of the test's own; stopped (SIGSTOP) it is away."""
    monkeypatch.setattr(in_redis, "SECONDS", 0.3)
    server, url = start_redis(tmp_path)
    yield server, url
    server.kill()
    server.wait()


def want(sunk: int, rest: int = 0, slot: int = NOON) -> list[Want]:
    return [Want(KEY, slot, slot, slot, NOON + 10**7, 1000, sunk, rest)]


async def totals(ledger: SharingLedger) -> tuple[int, int]:
    counts = await ledger.counts()
    return sum(c.used for c in counts), sum(c.reserved for c in counts)


@pytest.mark.slow
async def test_two_nodes_spend_their_shares(redis: tuple[subprocess.Popen[bytes], str], tmp_path: Path) -> None:
    """Each what was set aside for it, and no more; back again, Redis knows what was used."""
    server, url = redis
    clock = Clock()
    nodes = [
        SharingLedger(RedisLedger(url), 10, f"n{number}", Journal(tmp_path / f"n{number}"), clock)
        for number in range(2)
    ]
    for number, node in enumerate(nodes):
        assert not refused(want(50), await node.reserve(f"first{number}", want(50), LEASE))
        assert await node.beat([f"first{number}"], LEASE) == []
    shares = [next(iter(node._shares.values())).amount for node in nodes]
    assert await totals(nodes[0]) == (0, 100 + sum(shares)) and min(shares) > 80  # ten percent of what was left

    server.send_signal(signal.SIGSTOP)
    through = 0
    for node in nodes:
        for number in range(30):
            standings = await node.reserve(f"away{node._node}-{number}", want(4, 6), LEASE)
            through += not standings[0].over
    assert through == sum(share // 10 for share in shares)
    with pytest.raises(LedgerAway):
        await nodes[0].reserve("other", [Want(Key("x", "y", ""), 0, 0, 0, NOON, 9, 1, 0)], LEASE)
    for node in nodes:
        for number in range(30):
            with pytest.raises(LedgerAway):
                await node.settle(f"away{node._node}-{number}", {KEY.text: 7})

    server.send_signal(signal.SIGCONT)
    for node in nodes:
        for number in range(30):
            name = f"away{node._node}-{number}"
            await node.settle(name, {KEY.text: 7} if number < 2 else {})
        await node.beat([], LEASE)
    for number, node in enumerate(nodes):
        await node.settle(f"first{number}", {KEY.text: 50})
    used, _ = await totals(nodes[0])
    assert used == 100 + through * 7
    for node in nodes:
        await node.close()
    ledger = RedisLedger(url)
    assert [(c.used, c.reserved) for c in await ledger.counts()] == [(used, 0)], "shares are given back"
    await ledger.close()


@pytest.mark.slow
async def test_a_top_up_from_a_share(redis: tuple[subprocess.Popen[bytes], str], tmp_path: Path) -> None:
    """A call that began with Redis goes on without it, and is charged once."""
    server, url = redis
    node = SharingLedger(RedisLedger(url), 50, "n", Journal(tmp_path), Clock())
    await node.reserve("call", want(100, 100), LEASE)
    await node.beat(["call"], LEASE)
    server.send_signal(signal.SIGSTOP)
    assert not refused(want(0, 60), await node.reserve("call", want(0, 60), LEASE))
    with pytest.raises(LedgerAway):
        await node.settle("call", {KEY.text: 240})
    server.send_signal(signal.SIGCONT)
    await node.settle("call", {KEY.text: 240})
    await node.close()
    ledger = RedisLedger(url)
    assert [(c.used, c.reserved) for c in await ledger.counts()] == [(240, 0)]
    await ledger.close()


@pytest.mark.slow
async def test_a_share_ends(redis: tuple[subprocess.Popen[bytes], str], tmp_path: Path) -> None:
    """Before Redis would give it to others; and it is good for its own window alone."""
    server, url = redis
    clock = Clock()
    node = SharingLedger(RedisLedger(url), 50, "n", Journal(tmp_path), clock)
    await node.reserve("call", want(1), LEASE)
    await node.beat(["call"], LEASE)
    server.send_signal(signal.SIGSTOP)
    with pytest.raises(LedgerAway):
        await node.reserve("next day", want(1, slot=NOON + 86400), LEASE)
    assert not (await node.reserve("in time", want(1), LEASE))[0].over
    clock.now += SHARE_SECONDS - 30
    with pytest.raises(LedgerAway):
        await node.reserve("too late", want(1), LEASE)
    server.send_signal(signal.SIGCONT)
    clock.now += AWAY_SECONDS + 1
    await node.close()


@pytest.mark.slow
async def test_without_shares_it_refuses_and_recovers(redis: tuple[subprocess.Popen[bytes], str]) -> None:
    """The default: nothing passes while Redis is away; settlements wait and are made when it is back."""
    server, url = redis
    books = Books(RedisLedger(url), LEASE)
    await books.reserve("a", want(30))
    server.send_signal(signal.SIGSTOP)
    with pytest.raises(LedgerAway, match="Redis"):
        await books.reserve("b", want(1))
    books.settle("a", {KEY.text: 20})
    books.settle("b", {})
    while books._tasks:
        await asyncio.wait(set(books._tasks))  # yields, so that those that are done can go
    assert books.problem
    server.send_signal(signal.SIGCONT)
    await books.stop()
    ledger = RedisLedger(url)
    assert [(c.used, c.reserved) for c in await ledger.counts()] == [(20, 0)]
    await ledger.close()


def test_where_redis_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment or a file; a wrong one is not quoted, for it may have a password."""
    monkeypatch.setenv("MESH_TEST_REDIS", "redis://:secret@127.0.0.1:1/0")
    assert isinstance(opening.ledger(Quotas(redis="env:MESH_TEST_REDIS"), tmp_path), RedisLedger)
    away = Quotas(redis="env:MESH_TEST_REDIS", redis_away="spend_share")
    assert isinstance(opening.ledger(away, tmp_path), SharingLedger)
    monkeypatch.setenv("MESH_TEST_REDIS", "secret@nowhere")
    for source in ("env:MESH_TEST_REDIS", "env:MESH_TEST_NOTHING", f"file:{tmp_path}/none"):
        with pytest.raises(RulesError, match="redis") as caught:
            opening.ledger(Quotas(redis=source), tmp_path)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("shares", [False, True])
async def test_the_log_says_what_becomes_of_calls(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, shares: bool
) -> None:
    """They are not said to be refused where they are served from a share."""
    inner = RedisLedger(f"unix://{tmp_path}/nobody.sock")
    books = Books(SharingLedger(inner, 10, "n", Journal(tmp_path)) if shares else inner, LEASE)
    with pytest.raises(LedgerAway):
        await books.reserve("a", want(1))
    await asyncio.sleep(0)
    await books.stop()
    assert ("go on with this node's share" in caplog.text, "are refused until" in caplog.text) == (shares, not shares)


PLACES = Key("now", "concurrent/now", "")


class Time(Clock):
    """One clock for Redis, the node and its folder."""

    now = float(NOON)


@pytest.mark.slow
@pytest.mark.parametrize("away", [False, True], ids=["killed", "killed while away"])
async def test_a_worker_that_is_killed(redis: tuple[subprocess.Popen[bytes], str], tmp_path: Path, away: bool) -> None:
    """Its shares are charged when their lease ends, and the next worker of its folder gives back what it did not
    spend. Places of concurrent calls are free with the lease."""
    server, url = redis
    clock = Time()

    def node(name: str) -> SharingLedger:
        return SharingLedger(RedisLedger(url, clock), 20, name, Journal(tmp_path, clock), clock)

    def asked(sunk: int, rest: int = 0) -> list[Want]:
        return [*want(sunk, rest), Want(PLACES, 0, 0, 0, NOON + 10**7, 10, 0, 1)]

    killed = node("killed")
    assert not refused(asked(50), await killed.reserve("first", asked(50), LEASE))
    await killed.settle("first", {KEY.text: 50})
    await killed.beat([], LEASE)
    if away:
        server.send_signal(signal.SIGSTOP)
        assert not refused(asked(0, 7), await killed.reserve("away", asked(0, 7), LEASE))
        server.send_signal(signal.SIGCONT)
    clock.now += SHARE_SECONDS + 1
    other = node("other")
    used, reserved = await totals(other)
    assert used > 50 + 150 and reserved == 0, "nobody can say yet, and no place is lost"
    clock.now += SHARE_SECONDS
    await other.beat([], LEASE)
    await other.close()
    ledger = RedisLedger(url, clock)
    assert [(c.key.limit, c.used, c.reserved) for c in await ledger.counts() if c.used] == [
        ("team", 57 if away else 50, 0)
    ]
    await ledger.close()


@pytest.mark.slow
async def test_a_share_whose_answer_is_lost(
    redis: tuple[subprocess.Popen[bytes], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was set aside, but nobody knows: it is given back with the next beat."""
    _, url = redis
    inner = RedisLedger(url)
    node = SharingLedger(inner, 50, "n", Journal(tmp_path), Clock())
    await node.reserve("call", want(100), LEASE)
    ask = inner.reserve

    async def lose(call: str, wants: Sequence[Want], lease: int) -> list[Standing]:
        await ask(call, wants, lease)
        raise LedgerAway("the answer was lost")

    monkeypatch.setattr(inner, "reserve", lose)
    with pytest.raises(LedgerAway):
        await node.beat(["call"], LEASE)
    assert await totals(node) == (0, 100 + 500)
    monkeypatch.setattr(inner, "reserve", ask)
    await node.settle("call", {})
    await node.beat([], LEASE)
    await node.close()
    ledger = RedisLedger(url)
    assert [(c.used, c.reserved) for c in await ledger.counts()] == [(0, 0)]
    await ledger.close()


@pytest.mark.slow
async def test_without_a_journal_nothing_is_spent(redis: tuple[subprocess.Popen[bytes], str], tmp_path: Path) -> None:
    """While Redis is there nobody needs it."""
    server, url = redis
    (tmp_path / "quota.db").mkdir()
    node = SharingLedger(RedisLedger(url), 50, "n", Journal(tmp_path), Clock())
    assert not refused(want(100), await node.reserve("call", want(100), LEASE))
    assert await node.beat(["call"], LEASE) == []
    server.send_signal(signal.SIGSTOP)
    with pytest.raises(LedgerAway):
        await node.reserve("other", want(1), LEASE)
    server.send_signal(signal.SIGCONT)
    await node.close()
