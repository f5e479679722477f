"""/live over HTTP: the page, the stream, and who may not have it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import chromium
from audits import answered, exchange
from mitmesh.control import Control
from mitmesh.dialects.base import Operation
from mitmesh.live.hub import VIEWERS
from mitmesh.live.server import LivePages
from mitmesh.stages.live import Live


@pytest.fixture
async def live() -> AsyncIterator[tuple[Live, str]]:
    """The stage, and where its pages are."""
    stage = Live()
    control = Control(lambda: {"status": "ready"}, None, None, LivePages(stage).add_to)
    await control.start("127.0.0.1", 0)
    yield stage, f"http://{control.address}"
    await stage.stop()
    await control.stop()


async def read(answer: aiohttp.ClientResponse, count: int) -> list[tuple[str, Any]]:
    """The next events of a stream."""
    found = []
    while len(found) < count:
        name = (await answer.content.readline()).decode().strip().removeprefix("event: ")
        data = (await answer.content.readline()).decode().strip().removeprefix("data: ")
        await answer.content.readline()
        found.append((name, json.loads(data)))
    return found


async def test_the_stream(live: tuple[Live, str]) -> None:
    """A viewer hears of a call as it ends, and of its session."""
    stage, url = live
    async with aiohttp.ClientSession() as session, session.get(url + "/live/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert await asyncio.wait_for(read(answer, 1), 5) == [("sessions", [])]
        x = answered(exchange(session="s1"))
        stage.finish(x)
        (name, event), (other, sessions) = await asyncio.wait_for(read(answer, 2), 5)
        assert (name, event["id"], event["prompt"], other) == ("llm_call", x.id, 10, "sessions")
        assert [row["session"] for row in sessions] == ["s1"]
        await stage.stop()
        assert await asyncio.wait_for(answer.content.read(), 5) == b""


async def test_viewers_are_bounded_and_forgotten(live: tuple[Live, str]) -> None:
    """One too many gets a 503; when one leaves there is room again."""
    _, url = live
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        open_streams = [await session.get(url + "/live/events") for _ in range(VIEWERS)]
        async with session.get(url + "/live/events") as refused:
            assert refused.status == 503
        open_streams[0].close()
        for _ in range(100):
            answer = await session.get(url + "/live/events")
            if answer.status == 200:
                break
            await asyncio.sleep(0.05)
        assert answer.status == 200
        for each in [*open_streams, answer]:
            each.close()


@pytest.mark.parametrize("path", ["/live", "/live/live.js", "/live/live.css", "/live/events"])
@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "https://evil.example"}])
async def test_not_for_others(live: tuple[Live, str], path: str, headers: dict[str, str]) -> None:
    """No page of another origin, and no rebound name, gets any of it."""
    async with aiohttp.ClientSession() as session, session.get(live[1] + path, headers=headers) as answer:
        assert answer.status in (403, 421)


async def test_the_page_is_alone(live: tuple[Live, str]) -> None:
    """The page names no other server, and its policy allows none."""
    async with aiohttp.ClientSession() as session:
        for path in ("/live", "/live/live.js", "/live/live.css"):
            async with session.get(live[1] + path) as answer:
                assert answer.status == 200
                assert "default-src 'none'" in answer.headers["content-security-policy"]
                assert "http" not in (await answer.text()).replace("HTTP", "")


@pytest.mark.slow
@pytest.mark.skipif(not chromium.FOUND, reason="no Chromium on this machine")
async def test_in_a_browser(live: tuple[Live, str], tmp_path: Path) -> None:
    """Events and running sessions appear by themselves, as text; nothing complains, and it fits."""
    stage, url = live
    waiting = exchange(session="s-running")
    stage.running = lambda: [waiting]
    async with chromium.browser(tmp_path) as page:
        await page.open(url + "/live")
        x = answered(exchange(session="<b id=evil>"))
        x.identity.user = "<img src=x onerror=alert(1)>"
        x.refuse("policy", "<i>rule</i>", "no")
        stage.finish(x)
        for _ in range(100):
            if await page.ask("document.querySelectorAll('#sessions tr').length") == 2:
                break
            await asyncio.sleep(0.1)
        assert await page.ask("document.querySelectorAll('#events tr').length") == 1
        assert await page.ask("document.querySelector('#sessions .live').textContent") == "running"
        assert await page.ask("document.getElementById('state').textContent") == "connected"
        assert "<i>rule</i>" in await page.ask("document.getElementById('events').innerText")
        assert await page.ask("document.querySelectorAll('#evil, td img, td i').length") == 0
        for width in (1280, 420):
            await page.look(width)
            assert await page.overflow() <= 0
        assert page.errors == []


def test_a_list_of_models_is_no_call() -> None:
    """A question for it (scripts/doctor asks one) is no event and no session; refused, it is told of."""
    stage = Live()
    for refused in (False, True):
        x = answered(exchange())
        x.call.operation = Operation.MODELS
        stage.running = lambda x=x: (x,)  # type: ignore[misc]
        if refused:
            x.refuse("policy", "r", "no")
        stage.finish(x)
        assert len(stage.sessions()) == refused
