"""Both ledgers, with a clock that tests set; a real redis-server of the test's own."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from mitmesh.quotas.in_redis import RedisLedger
from mitmesh.quotas.in_sqlite import SqliteLedger
from mitmesh.quotas.ledger import Ledger

NOON = 1_800_000_000
_numbers = itertools.count()


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def start_redis(folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """A redis-server on a socket in the folder, without any file; its process and address."""
    socket = folder / "redis.sock"
    words = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not socket.exists():
        assert server.poll() is None and time.monotonic() < deadline, "redis-server did not start"
        time.sleep(0.02)
    return server, f"unix://{socket}"


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Redis for the whole run; ledgers in it have a prefix of their own."""
    server, url = start_redis(tmp_path_factory.mktemp("redis"))
    yield url
    server.kill()
    server.wait()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(kind: str, folder: Path, url: str | None, clock: Clock | None) -> Ledger:
    """A new ledger of that kind, empty."""
    if kind == "sqlite":
        return SqliteLedger(folder, clock) if clock else SqliteLedger(folder)
    assert url
    return RedisLedger(url, clock, prefix=f"{{{folder}-{next(_numbers)}}}:")


@pytest.fixture(params=["sqlite", "redis"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[Ledger]:
    """Each ledger."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    made = make(request.param, tmp_path, url, clock)
    yield made
    await made.close()
    await asyncio.sleep(0)
