"""Single flight: one asks, the others wait, for a while, and never for ever."""

from __future__ import annotations

import asyncio

import pytest

from cached import entry
from mitmesh.caching.flights import Flights

KEY = b"k"


async def waiting(flights: Flights, count: int, most: int = 100, seconds: float = 30) -> list[asyncio.Task[object]]:
    """So many calls that wait for the one under way."""
    flight = flights.find(KEY)
    assert flight
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(flight.answer(seconds, most)) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_all_have_the_answer() -> None:
    """Once it is landed, and only the first landing counts."""
    flights, answer = Flights(), entry()
    flight = flights.lead(KEY)
    tasks = await waiting(flights, 3)
    assert flight.waiting == 3
    flight.land(answer)
    flight.land(None)
    assert await asyncio.gather(*tasks) == [answer] * 3
    assert flight.waiting == 0
    assert await flight.answer(30, 1) is answer  # between landing and end
    flights.end(KEY, flight)
    assert len(flights) == 0 and flights.find(KEY) is None


async def test_released_where_it_fails() -> None:
    """The leader's end without an answer lets all go on alone."""
    flights = Flights()
    flight = flights.lead(KEY)
    tasks = await waiting(flights, 2)
    flights.end(KEY, flight)
    assert await asyncio.gather(*tasks) == [None, None]


async def test_bounded() -> None:
    """So many wait and no more; so long and no longer."""
    flights = Flights()
    flight = flights.lead(KEY)
    tasks = await waiting(flights, 2, most=2)
    assert await flight.answer(30, 2) is None
    assert await flight.answer(0.001, 3) is None
    assert flight.waiting == 2
    flight.land(None)
    await asyncio.gather(*tasks)


async def test_one_who_goes_takes_nobody_along() -> None:
    """A client that hangs up while it waits makes room, and the others still have the answer."""
    flights, answer = Flights(), entry()
    flight = flights.lead(KEY)
    gone, stays = await waiting(flights, 2)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert flight.waiting == 1
    flight.land(answer)
    assert await stays is answer


async def test_an_old_one_does_not_end_the_next() -> None:
    """Whoever led before may end late."""
    flights = Flights()
    old = flights.lead(KEY)
    new = flights.lead(KEY)
    flights.end(KEY, old)
    assert flights.find(KEY) is new
