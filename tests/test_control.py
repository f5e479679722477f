"""The control port answers this machine, by its own name, and no page of another origin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from mitmesh.control import Control


@pytest.fixture
async def control() -> AsyncIterator[Control]:
    """A control port that is ready, and has metrics."""
    control = Control(lambda: {"status": "ready"}, lambda: (b"a_total 1\n", "text/plain; version=0.0.4"))
    await control.start("127.0.0.1", 0)
    yield control
    await control.stop()


async def get(control: Control, path: str, **headers: str) -> tuple[int, str]:
    """Status and body of a GET."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{control.address}{path}", headers=headers) as answer,
    ):
        return answer.status, await answer.text()


async def test_health_and_metrics(control: Control) -> None:
    """/health and /metrics answer."""
    assert (await get(control, "/health"))[0] == 200
    assert await get(control, "/metrics") == (200, "a_total 1\n")
    assert (await get(control, "/"))[0] == 404


@pytest.mark.parametrize("path", ["/health", "/metrics", "/nothing"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost", ""])
async def test_other_names(host: str, path: str, control: Control) -> None:
    """Under any other name than its own it says nothing (a page whose name was rebound to loopback)."""
    host = host.format(port=control.address.rpartition(":")[2])
    code, body = await get(control, path, Host=host)
    assert code == 421
    assert "ready" not in body and "a_total" not in body


async def test_its_own_names(control: Control) -> None:
    """Loopback's usual names with its own port are its own."""
    port = control.address.rpartition(":")[2]
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
        assert (await get(control, "/health", Host=host))[0] == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://{own}", 200),
        ("http://evil.example", 403),
        ("https://evil.example:{port}", 403),
        ("null", 403),
        ("http://127.0.0.1", 403),
        ("http://{own}.evil.example", 403),
    ],
)
async def test_origins(origin: str, status: int, control: Control) -> None:
    """A page of another origin reads nothing."""
    own = control.address
    assert (await get(control, "/health", Origin=origin.format(own=own, port=own[-5:])))[0] == status


async def test_not_ready() -> None:
    """Not ready is 503; without the metrics stage there are no metrics."""
    control = Control(lambda: {"status": "starting"}, None)
    await control.start("127.0.0.1", 0)
    assert (await get(control, "/health"))[0] == 503
    assert (await get(control, "/metrics"))[0] == 404
    await control.stop()


async def test_the_proxys_setting_for_browsers() -> None:
    """/proxy.pac names the machine as the browser does, in the type browsers want; without a proxy there is none."""
    with_pac = Control(dict, None, lambda name: f"// {name}")
    without = Control(dict, None)
    for control in (with_pac, without):
        await control.start("127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            port = with_pac.address.rpartition(":")[2]
            async with session.get(f"http://localhost:{port}/proxy.pac") as answer:
                assert answer.content_type == "application/x-ns-proxy-autoconfig"
                assert await answer.text() == "// localhost"
            async with session.get(f"http://{without.address}/proxy.pac") as answer:
                assert answer.status == 404
    finally:
        for control in (with_pac, without):
            await control.stop()


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", b"junk\r\n\r\n"])
async def test_what_is_no_request_is_no_traceback(
    request_: bytes, control: Control, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered 400, and the log stays as it was."""
    host, _, port = control.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request_)
    assert b" 400 " in await reader.readline()
    writer.close()
    assert caplog.text == ""
