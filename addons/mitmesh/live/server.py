"""/live on the control port: the page, its two files, and the stream of server-sent events behind it."""

from __future__ import annotations

import json
import time
from pathlib import Path

from aiohttp import web

from mitmesh.live.hub import Full, Viewer
from mitmesh.stages.live import Live

PAGE = Path(__file__).parent / "page"
FILES = {
    "/live": ("live.html", "text/html"),
    "/live/live.js": ("live.js", "text/javascript"),
    "/live/live.css": ("live.css", "text/css"),
}
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
TICK = 1.0
"""Seconds between two looks at the running sessions."""
QUIET = 15.0
"""Seconds after which a stream without news says that it is there."""


class LivePages:
    """The routes of /live, for a stage that knows what happens."""

    def __init__(self, stage: Live) -> None:
        self._stage = stage
        self._seen: tuple[float, str] = (0.0, "[]")

    def add_to(self, app: web.Application) -> None:
        """Register them."""
        for path in FILES:
            app.router.add_get(path, self._file)
        app.router.add_get("/live/events", self._events)

    async def _file(self, request: web.Request) -> web.Response:
        name, kind = FILES[request.path]
        return web.Response(text=(PAGE / name).read_text(), content_type=kind, headers=HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        try:
            with self._stage.hub.watching() as viewer:
                response = web.StreamResponse(headers={**HEADERS, "content-type": "text/event-stream; charset=utf-8"})
                await response.prepare(request)
                await self._tell(response, viewer)
                return response
        except Full:
            return web.Response(status=503, text="Too many are watching already.\n", headers={"retry-after": "30"})

    async def _tell(self, response: web.StreamResponse, viewer: Viewer) -> None:
        told, last = "", time.monotonic()
        while not self._stage.hub.closed:
            came, dropped = await viewer.take(TICK)
            out = [_sse(event["event"], json.dumps(event)) for event in came]
            if dropped:
                out.append(_sse("dropped", json.dumps({"event": "dropped", "events": dropped})))
            if (sessions := self._sessions()) != told:
                told = sessions
                out.append(_sse("sessions", sessions))
            now = time.monotonic()
            if not out and now - last > QUIET:
                out.append(": still here\n\n")
            if out:
                last = now
                try:
                    await response.write("".join(out).encode())
                except ConnectionError:
                    return

    def _sessions(self) -> str:
        """As JSON; asked at most twice a second, however many watch."""
        when, text = self._seen
        now = time.monotonic()
        if now - when > TICK / 2:
            text = json.dumps(self._stage.sessions())
            self._seen = now, text
        return text


def _sse(name: str, data: str) -> str:
    return f"event: {name}\ndata: {data}\n\n"
