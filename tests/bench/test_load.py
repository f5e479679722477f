"""The load generator: what it counts as an answer, and what as a failure."""

import asyncio
import json
from collections.abc import Callable

import pytest

from bench import upstream
from bench.load import CallFailed, Client, Load, request

STREAMED = b"".join(upstream.stream(3, usage=True))


class Wire:
    """A transport that answers each call with the same bytes, in pieces of `size`."""

    def __init__(self, answer: bytes, size: int) -> None:
        self.answer, self.size = answer, size
        self.calls: list[bytes] = []
        self.client: Client | None = None

    def write(self, data: bytes) -> None:
        self.calls.append(data)
        asyncio.get_running_loop().call_soon(self.reply)

    def reply(self) -> None:
        assert self.client
        for at in range(0, len(self.answer), self.size):
            self.client.data_received(self.answer[at : at + self.size])


async def called(answer: bytes, size: int, calls: int, act: Callable[[Client], None] = lambda _: None) -> Load:
    load, wire = Load(request(200), calls=calls), Wire(answer, size)
    wire.client = client = Client(load)
    client.transport = wire  # type: ignore[assignment]
    client.call()
    act(client)
    await asyncio.wait_for(client.done, 5)
    assert len({call.partition(b"\r\n\r\n")[2] for call in wire.calls}) == calls
    return load


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
@pytest.mark.parametrize("answer", [upstream.ANSWER, STREAMED], ids=["json", "stream"])
async def test_each_answer_counts_once(answer: bytes, size: int) -> None:
    """However the bytes are cut, each call has one latency and one first byte; no two calls are the same."""
    load = await called(answer, size, 3)
    assert len(load.latencies) == len(load.firsts) == 3


@pytest.mark.parametrize("status", ["502 Bad Gateway", "204 No Content", "404 Not Found"])
async def test_any_other_status_fails(status: str) -> None:
    """A proxy that refuses quickly must not look fast."""
    with pytest.raises(CallFailed, match=status):
        await called(upstream.ANSWER.replace(b"200 OK", status.encode()), 10, 1)


async def test_a_closed_connection_fails() -> None:
    """An answer that never ends is no answer."""
    with pytest.raises(CallFailed, match="closed"):
        await called(upstream.ANSWER[:-1], 1000, 1, lambda client: client.connection_lost(None))


@pytest.mark.parametrize("size", [200, 70_000])
def test_a_request_has_the_size_asked_for(size: int) -> None:
    """Its body is JSON of about that size, its length the declared one."""
    head, _, body = request(size).render(7).partition(b"\r\n\r\n")
    assert abs(len(body) - size) < size * 0.15
    assert f"content-length: {len(body)}".encode() in head
    assert len(json.loads(body)["messages"]) == (2 if size == 200 else pytest.approx(70, abs=30))


def test_a_stream_asks_for_what_it_is_measured_with() -> None:
    """Number of events and pause are headers; usage is asked for unless the suite is to do so."""
    head, _, body = request(200, events=5, pause=9, usage=False).render(1).partition(b"\r\n\r\n")
    assert b"x-bench-events: 5\r\nx-bench-pause: 9" in head
    assert json.loads(body)["stream"] is True
    assert b"include_usage" not in body
    assert b"include_usage" in request(200, events=5).render(1)
