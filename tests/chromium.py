"""Headless Chromium, driven over its own protocol: enough to open a page, ask it things, and take its picture."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp

FOUND = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-port=0",
]  # fmt: skip


class Page:
    """One tab. `errors` gathers what its console complains of, a violated content policy among it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket, self._ids = socket, itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        self.errors: list[str] = []
        self._task = asyncio.create_task(self._read())

    async def begin(self, width: int = 1280, height: int = 900, dark: bool = False) -> Self:
        """Ready to open pages in this size and scheme."""
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.look(width, height, dark)
        return self

    async def look(self, width: int, height: int = 900, dark: bool = False) -> None:
        """Change size and colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol."""
        number = next(self._ids)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        return await asyncio.wait_for(self._waiting[number], 20)

    async def open(self, url: str) -> None:
        """Go there, and wait until it is loaded."""
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), 20)

    async def loading(self, script: str) -> None:
        """Run a script that leads to another page, and wait for that."""
        self._loaded.clear()
        await self.ask(script)
        await asyncio.wait_for(self._loaded.wait(), 20)

    async def ask(self, script: str) -> Any:
        """The value of an expression in the page."""
        said = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, said["exceptionDetails"]
        return said["result"].get("value")

    async def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        return int(await self.ask("document.documentElement.scrollWidth - window.innerWidth"))

    async def picture(self, file: Path, *, whole: bool = True) -> None:
        """Save a PNG of the page."""
        options: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole}
        if whole:
            size = (await self.call("Page.getLayoutMetrics"))["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        said = await self.call("Page.captureScreenshot", **options)
        file.write_bytes(base64.b64decode(said["data"]))

    async def _read(self) -> None:
        async for message in self._socket:
            doc = json.loads(message.data)
            if future := self._waiting.pop(doc.get("id", 0), None):
                if not future.done():
                    future.set_result(doc.get("result", doc))
            elif doc.get("method") == "Page.loadEventFired":
                self._loaded.set()
            elif doc.get("method") == "Log.entryAdded" and doc["params"]["entry"]["level"] == "error":
                self.errors.append(doc["params"]["entry"]["text"] + " " + doc["params"]["entry"].get("url", ""))
            elif doc.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(doc["params"]["exceptionDetails"].get("exception", {}).get("description")))


@asynccontextmanager
async def browser(profile: Path) -> AsyncIterator[Page]:
    """A new browser with an empty profile, and its one tab."""
    assert FOUND
    command = [FOUND, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        said = profile / "DevToolsActivePort"
        for _ in range(600):
            if said.exists() and len(said.read_text().splitlines()) == 2:
                break
            assert process.poll() is None, "Chromium ended"
            await asyncio.sleep(0.05)
        port = said.read_text().splitlines()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                (tab,) = [tab for tab in await answer.json() if tab["type"] == "page"]
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield await Page(socket).begin()
    finally:
        process.terminate()
        process.wait(20)
