"""Datasette's hooks for access: who someone is, what they may see, and that reading content is recorded.

Everything is denied that is not listed here. Any permission on content.db that is granted is a read, and recorded
first; when it cannot be, it is refused.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from datasette import Response, hookimpl
from datasette.app import Datasette
from datasette.utils import tilde_decode
from itsdangerous import BadData

from mitmesh.browse.reads import Reads
from mitmesh.browse.users import Key, Kind, Role, Users

COOKIE = "mesh_session"
SESSION_SECONDS = 12 * 3600
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""For our own pages, which have no scripts."""

METADATA, TEXTS, READS = "audit", "content", "access"
MAY_SEE = {Role.VIEWER: {METADATA}, Role.AUDITOR: {METADATA, TEXTS, READS}}
"""The databases of each role."""
MAY_ASK = {Role.VIEWER: set[str](), Role.AUDITOR: {METADATA, TEXTS, READS}}
"""On which a role may run SQL of its own."""


class Site(Datasette):  # type: ignore[misc]
    """Datasette with who may log in, and the record of reads. Its plugins are global: ours mind no other Datasette."""

    def __init__(self, users: Users, reads: Reads, *arguments: Any, **more: Any) -> None:
        self.users, self.reads = users, reads  # before Datasette's own, which calls our hooks
        super().__init__(*arguments, **more)


@dataclass
class Asked:
    """The request that is being answered."""

    path: str
    recorded: set[str] = field(default_factory=set)


_asked: ContextVar[Asked | None] = ContextVar("asked", default=None)


def actor_of(key: Key) -> dict[str, str]:
    """Datasette's actor."""
    return {"id": key.name, "role": key.role.value, "by": key.kind.value}


def is_auditor(actor: Mapping[str, Any] | None) -> bool:
    """May this actor read content? To decide what to offer; showing it goes by `may_read`, which is recorded."""
    return actor is not None and actor.get("role") == Role.AUDITOR


async def may_read(datasette: Any, actor: Mapping[str, Any] | None) -> bool:
    """May this actor read content now? Yes is recorded as a read."""
    return bool(await datasette.permission_allowed(actor, "view-database", TEXTS, default=False))


@hookimpl  # type: ignore[untyped-decorator]
def actor_from_request(datasette: Any, request: Any) -> dict[str, str] | None:
    """By the session's cookie, or a bearer token."""
    if not isinstance(datasette, Site):
        return None
    site = datasette
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        key = site.users.holder(token, Kind.TOKEN)
        return actor_of(key) if key else None
    try:
        said = datasette.unsign(request.cookies.get(COOKIE, ""), COOKIE)
        key = site.users.by_hash(said["key"]) if said["until"] > time.time() else None
    except (BadData, KeyError, TypeError):
        return None
    return actor_of(key) if key else None


@hookimpl(trylast=True)  # type: ignore[untyped-decorator]
def permission_allowed(
    datasette: Any, actor: Mapping[str, Any] | None, action: str, resource: Any
) -> Callable[[], Awaitable[bool]] | None:
    """The last answer counts, so this one does."""
    if not isinstance(datasette, Site):
        return None
    site = datasette

    async def decide() -> bool:
        if not actor or not allowed(actor.get("role", ""), action, _database(resource)):
            return False
        if action == "view-instance" and not is_auditor(actor) and _is_internal():
            return False
        return _database(resource) != TEXTS or await _record(site, actor)

    return decide


def allowed(role: str, action: str, database: str | None) -> bool:
    """May a role do this? The whole of the policy."""
    if role not in (Role.AUDITOR, Role.VIEWER):
        return False
    match action:
        case "view-instance":
            return True
        case "view-database" | "view-table" | "view-query":
            return database in MAY_SEE[Role(role)]
        case "execute-sql":
            return database in MAY_ASK[Role(role)]
    return False


def _is_internal() -> bool:
    """Is one of Datasette's pages about itself asked for? They name files, versions and actors."""
    asked = _asked.get()
    return asked is None or tilde_decode(unquote(asked.path)).startswith("/-/")


def _database(resource: Any) -> str | None:
    found: str | None = resource[0] if isinstance(resource, tuple) else resource
    return found


async def _record(site: Site, actor: Mapping[str, Any]) -> bool:
    """Once for each request and reader; False where it could not be written."""
    asked = _asked.get() or Asked("(not a request)")
    if actor["id"] not in asked.recorded:
        try:
            await asyncio.to_thread(site.reads.add, actor["id"], actor["role"], actor["by"], asked.path)
        except sqlite3.Error:
            return False
        asked.recorded.add(actor["id"])
    return True


@hookimpl  # type: ignore[untyped-decorator]
def asgi_wrapper(datasette: Any) -> Callable[[Any], Any]:
    """Remember what is asked for, while it is answered."""

    def wrap(app: Any) -> Any:
        async def remembering(scope: Mapping[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                if _is_nowhere(scope):
                    await Response.text("There is no such page.\n", status=404).asgi_send(send)
                    return
                query = scope.get("query_string", b"").decode("latin-1")
                raw = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0]
                _asked.set(Asked(f"{raw}?{query}" if query else raw))
            await app(scope, receive, send)

        return remembering

    return wrap


def _is_nowhere(scope: Mapping[str, Any]) -> bool:
    """Paths with dots for steps, and those of a newer Datasette's API: this one would fail at them with a 500."""
    steps = scope["path"].split("/")[1:]
    return ".." in steps or "." in steps or "-" in steps[1:]


@hookimpl  # type: ignore[untyped-decorator]
def forbidden(datasette: Any, request: Any, message: str) -> Any:
    """Who is not logged in is asked to; a program gets 401."""
    if not isinstance(datasette, Site) or request.actor:
        return None
    path = request.full_path
    if "text/html" in request.headers.get("accept", "") and ".json" not in path and ".csv" not in path:
        return Response.redirect(datasette.urls.path("/-/login"))
    said = {"ok": False, "error": "Log in, or send a token as `Authorization: Bearer mesh_...`", "status": 401}
    return Response.json(said, status=401, headers={"www-authenticate": "Bearer"})


@hookimpl  # type: ignore[untyped-decorator]
def register_routes(datasette: Any) -> list[tuple[str, Callable[..., Awaitable[Any]]]]:
    """Logging in and out."""
    return [(r"^/-/login$", login), (r"^/-/logout$", logout)] if isinstance(datasette, Site) else []


async def login(datasette: Any, request: Any) -> Response:
    """The form, and what it sends. asgi-csrf has checked its token."""
    wrong = False
    if request.method == "POST":
        form = await request.post_vars()
        users = datasette.users
        if key := users.holder(form.get("password", ""), Kind.PASSWORD, form.get("name", "")):
            response = Response.redirect(datasette.urls.path("/"))
            said = {"key": key.hash[:16], "until": int(time.time()) + SESSION_SECONDS}
            signed = datasette.sign(said, COOKIE)
            response.set_cookie(COOKIE, signed, max_age=SESSION_SECONDS, httponly=True, samesite="lax")
            return response
        wrong = True
        await asyncio.sleep(0.3)
    page = await datasette.render_template("mesh_login.html", {"wrong": wrong}, request=request)
    return html(page, 403 if wrong else 200)


async def logout(datasette: Any, request: Any) -> Response:
    """Forget the session in this browser."""
    if request.method != "POST":
        return Response.redirect(datasette.urls.path("/"))
    response = Response.redirect(datasette.urls.path("/-/login"))
    response.set_cookie(COOKIE, "", max_age=0, expires=0, httponly=True, samesite="lax")
    return response


def html(page: str, status: int = 200) -> Response:
    """One of our own pages."""
    headers = {"content-security-policy": CSP, "cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response.html(page, status=status, headers={**headers, "referrer-policy": "same-origin"})
