"""The loopback upstream: answers made in this process reach the client as a stream.

A response that an addon sets cannot stream through mitmproxy; a provider's can. So an answer of our own that has to
stream is served by an HTTP server on 127.0.0.1, to which the call is forwarded. It serves a call only once, and only
to who shows this process's secret and the call's own number.
"""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from mitmesh.exchange import Exchange, Target
from mitmesh.guard import where
from mitmesh.replies import stream_type

log = logging.getLogger(__name__)

type Producer = Callable[[Exchange], AsyncIterator[bytes]]


class Loopback:
    """The server; `start` it before the first `open`."""

    def __init__(self) -> None:
        self._secret = secrets.token_urlsafe(32)
        self._waiting: dict[str, tuple[Exchange, Producer]] = {}
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen on a free loopback port."""
        app = web.Application(client_max_size=2**31)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, shutdown_timeout=1)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Close it, with what it still serves."""
        if self._runner:
            await self._runner.cleanup()

    def open(self, x: Exchange, producer: Producer) -> Target:
        """Let `producer` answer this exchange; where to forward it."""
        self._waiting[x.id] = (x, producer)
        return Target("http", "127.0.0.1", self.port)

    def pass_for(self, x: Exchange) -> dict[str, str]:
        """The headers the forwarded request must carry."""
        return {"x-mesh-loopback": f"{x.id} {self._secret}"}

    def close(self, x: Exchange) -> None:
        """The exchange has ended; forget it."""
        self._waiting.pop(x.id, None)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        number, _, secret = request.headers.get("x-mesh-loopback", "").partition(" ")
        if not hmac.compare_digest(secret.encode(), self._secret.encode()) or number not in self._waiting:
            return web.Response(status=404, text="Nothing here for you.\n")
        x, producer = self._waiting.pop(number)
        response = web.StreamResponse(headers={"content-type": stream_type(x.framing), "cache-control": "no-store"})
        await response.prepare(request)
        try:
            async for piece in producer(x):
                await response.write(piece)
            await response.write_eof()
        except ConnectionError:
            pass  # the client has left
        except Exception as error:  # noqa: BLE001 # the status has left: end the connection so that the client sees it was cut
            log.error("an answer of our own failed: %s", where(error))
            if request.transport:
                request.transport.abort()
        return response
