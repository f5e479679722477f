"""Datasette plugin: answer only those who asked for this machine by name.

A web page can point a name of its own at 127.0.0.1 and have the browser fetch from here as if it were its own site (DNS
rebinding). Its Host header gives it away; what a page sends across sites bears its Origin.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from datasette import hookimpl

type _App = Callable[[Mapping[str, Any], Any, Any], Awaitable[None]]

NAMES = {"127.0.0.1", "localhost", "::1"}


def allowed(host: str, origin: str | None) -> bool:
    """May a request with this Host and Origin header (None where it has none) be answered?"""
    return _name(f"//{host}") in NAMES and (origin is None or _name(origin) in NAMES)


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


@hookimpl  # type: ignore[untyped-decorator]
def asgi_wrapper() -> Callable[[_App], _App]:
    """Datasette's hook: wraps its whole application."""
    return guard


def guard(app: _App) -> _App:
    """The application behind the check; whoever fails it gets a 403 that says why."""

    async def guarded(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}
        if scope["type"] != "http" or allowed(headers.get(b"host", ""), headers.get(b"origin")):
            await app(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"Ask for 127.0.0.1 or localhost by name.\n"})

    return guarded
