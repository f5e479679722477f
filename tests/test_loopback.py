"""The loopback upstream serves an exchange once, to who has the secret."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import aiohttp
import pytest

from audits import exchange
from mitmesh.dialects.base import Framing
from mitmesh.exchange import Exchange
from mitmesh.loopback import Loopback


async def words(x: Exchange) -> AsyncIterator[bytes]:
    """Three pieces."""
    for piece in (b"eins ", b"zwei ", b"drei"):
        yield piece


async def breaks(x: Exchange) -> AsyncIterator[bytes]:
    """One piece, and an exception."""
    yield b"eins "
    raise RuntimeError("secret words")


@pytest.fixture
async def loopback() -> AsyncIterator[Loopback]:
    """It listens."""
    loopback = Loopback()
    await loopback.start()
    yield loopback
    await loopback.stop()


async def post(loopback: Loopback, headers: dict[str, str]) -> tuple[int, bytes, str]:
    """Status, body, Content-Type."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{loopback.port}/v1/any", headers=headers, data=b"{}") as answer,
    ):
        return answer.status, await answer.read(), answer.headers["content-type"]


async def test_once(loopback: Loopback) -> None:
    """With secret and number the producer answers, in the stream's type; the second time there is nothing."""
    x = exchange(framing=Framing.SSE)
    target = loopback.open(x, words)
    assert (target.scheme, target.host, target.port) == ("http", "127.0.0.1", loopback.port)
    answer = await post(loopback, loopback.pass_for(x))
    assert answer == (200, b"eins zwei drei", "text/event-stream; charset=utf-8")
    assert (await post(loopback, loopback.pass_for(x)))[0] == 404


async def test_without_the_secret(loopback: Loopback) -> None:
    """Without the secret, or with another exchange's number, there is nothing, and nothing is used up."""
    x = exchange()
    loopback.open(x, words)
    right = loopback.pass_for(x)["x-mesh-loopback"]
    number, _, secret = right.partition(" ")
    other = Loopback().pass_for(x)["x-mesh-loopback"]
    for value in ("", number, secret, f"{number} ", f"{number} {secret[:-1]}", f"{exchange().id} {secret}", other, "ä"):
        assert (await post(loopback, {"x-mesh-loopback": value}))[0] == 404
    assert (await post(loopback, {}))[0] == 404
    assert (await post(loopback, {"x-mesh-loopback": right}))[0] == 200


async def test_an_exchange_that_ended(loopback: Loopback) -> None:
    """An exchange that has ended is not served any more."""
    x = exchange()
    loopback.open(x, words)
    loopback.close(x)
    assert (await post(loopback, loopback.pass_for(x)))[0] == 404


async def test_a_producer_that_fails(loopback: Loopback, caplog: Any) -> None:
    """A producer that fails cuts the connection, so that the client does not take the answer for whole."""
    x = exchange()
    loopback.open(x, cast(Any, breaks))
    with pytest.raises(aiohttp.ClientPayloadError):
        await post(loopback, loopback.pass_for(x))
    assert "secret words" not in caplog.text
