"""The control port: /health, /metrics, /proxy.pac and /live, for this machine's own eyes."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

log = logging.getLogger(__name__)
log.addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError)))
"""aiohttp's own words, without a traceback for each request that is none (a header of 70 kB): it is answered 400."""

type Health = Callable[[], dict[str, Any]]
type Metrics = Callable[[], tuple[bytes, str]] | None
type Pac = Callable[[str], str]


class Control:
    """The server. `health` says how it is, `metrics` renders the metrics with their content type (None: not loaded),
    `pac` writes /proxy.pac for clients that call this machine by the name it is given (None: there is none),
    `more` adds routes of others."""

    def __init__(
        self,
        health: Health,
        metrics: Metrics,
        pac: Pac | None = None,
        more: Callable[[web.Application], None] | None = None,
    ) -> None:
        self._health, self._metrics, self._pac, self._more = health, metrics, pac, more
        self._runner: web.AppRunner | None = None
        self.address = ""

    async def start(self, host: str, port: int) -> None:
        """Listen; `address` is then host:port. Raises OSError where the port is taken."""
        app = web.Application(middlewares=[self._only_ours])
        app.router.add_get("/health", self._say_health)
        app.router.add_get("/metrics", self._say_metrics)
        app.router.add_get("/proxy.pac", self._say_pac)
        if self._more:
            self._more(app)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, logger=log)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, shutdown_timeout=1).start()
        bound = self._runner.addresses[0]
        self.address = f"{host}:{bound[1]}"
        self._names = {self.address, f"localhost:{bound[1]}", f"127.0.0.1:{bound[1]}", f"[::1]:{bound[1]}"}

    async def stop(self) -> None:
        """Close it."""
        if self._runner:
            await self._runner.cleanup()

    @web.middleware
    async def _only_ours(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """A page of another origin must not read this through the browser, by name (DNS rebinding) or by fetch."""
        origin = request.headers.get("origin")
        if self.address.startswith(("127.", "localhost", "[::1]")) and request.host not in self._names:
            return web.Response(status=421, text="The control port answers to its own address alone.\n")
        if origin and origin.partition("//")[2] not in self._names:
            return web.Response(status=403, text="The control port is not for other origins.\n")
        return await handler(request)

    async def _say_health(self, _: web.Request) -> web.Response:
        health = self._health()
        status = 200 if health["status"] == "ready" else 503
        return web.Response(status=status, text=json.dumps(health, indent=2) + "\n", content_type="application/json")

    async def _say_metrics(self, _: web.Request) -> web.Response:
        if self._metrics is None:
            return web.Response(status=404, text="The metrics stage is not loaded.\n")
        body, kind = self._metrics()
        return web.Response(body=body, headers={"content-type": kind})

    async def _say_pac(self, request: web.Request) -> web.Response:
        if self._pac is None:
            return web.Response(status=404, text="There is no proxy.\n")
        text = self._pac(request.url.host or "127.0.0.1")
        return web.Response(text=text, content_type="application/x-ns-proxy-autoconfig")
