"""An API server of Kubernetes for tests: list and watch of pods over TLS, as the real one speaks them."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from e2e.certs import Authority

TOKEN = "first-token"


class ApiServer:
    """Pods, the history of what became of them, and switches for all that can go wrong."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.version = 1000
        self.history: list[tuple[int, str, dict[str, Any]]] = []
        self.compacted = 0
        """Versions up to this are no longer kept."""
        self.token = TOKEN
        self.requests: list[dict[str, str]] = []
        self.refuse: list[web.Response] = []
        """Answers to the next requests, in place of the right ones."""
        self.refuse_watches = 0
        """A status for all watches."""
        self.gone_in_stream = True
        """410 as an ERROR event, as the watch cache says it; else as a status."""
        self.hang = False
        """Take requests and answer nothing."""
        self.url = ""
        self._changed = asyncio.Event()
        self._watches: list[tuple[web.Request, web.StreamResponse]] = []
        self._snapshots: dict[str, tuple[int, list[dict[str, Any]]]] = {}
        self._runner: web.AppRunner | None = None

    @property
    def lists(self) -> list[dict[str, str]]:
        return [each for each in self.requests if "watch" not in each]

    @property
    def watches(self) -> list[dict[str, str]]:
        return [each for each in self.requests if "watch" in each]

    def put(self, item: dict[str, Any]) -> None:
        """Make a pod, or change it."""
        uid = item["metadata"]["uid"]
        self._note("MODIFIED" if uid in self.pods else "ADDED", item)
        self.pods[uid] = self.history[-1][2]

    def delete(self, uid: str) -> None:
        """Take a pod away."""
        self._note("DELETED", self.pods.pop(uid))

    def compact(self) -> None:
        """Forget all history."""
        self.history.clear()
        self.compacted = self.version

    async def bookmark(self) -> None:
        """Tell all watches how far they are."""
        await self.say({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.version)}}})

    async def say(self, what: Any) -> None:
        """Send this to all watches: an event, or bytes as they are."""
        raw = what if isinstance(what, bytes) else json.dumps(what).encode() + b"\n"
        for _, answer in list(self._watches):
            await answer.write(raw)

    def cut(self) -> None:
        """Break all watches' connections."""
        for request, _ in list(self._watches):
            if request.transport:  # None: its client is gone already
                request.transport.abort()

    async def start(self, authority: Authority, port: int = 0) -> None:
        app = web.Application()
        app.router.add_get("/api/v1/pods", self._answer)
        app.router.add_get("/api/v1/namespaces/{namespace}/pods", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=authority.server_context(["http/1.1"]))
        await site.start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        assert self._runner
        self.cut()
        await self._runner.cleanup()

    def _note(self, kind: str, item: dict[str, Any]) -> None:
        self.version += 1
        item = copy.deepcopy(item)
        item["metadata"]["resourceVersion"] = str(self.version)
        self.history.append((self.version, kind, item))
        self._changed.set()
        self._changed = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = dict(request.query) | {"path": request.path, "token": request.headers["Authorization"]}
        self.requests.append(asked)
        if self.hang:
            await asyncio.sleep(600)
        if self.refuse:
            return self.refuse.pop(0)
        if asked["token"] != f"Bearer {self.token}":
            return _status(401)
        if "watch" in asked:
            return _status(self.refuse_watches) if self.refuse_watches else await self._watch(request, asked)
        return self._list(request, asked)

    def _list(self, request: web.Request, asked: dict[str, str]) -> web.Response:
        if "continue" in asked:
            name, _, at = asked["continue"].partition(".")
            version, items = self._snapshots[name]
            if version < self.compacted:
                return _status(410)
        else:
            name, at = str(len(self._snapshots)), "0"
            version, items = self.version, [item for item in self.pods.values() if _fits(item, request)]
            self._snapshots[name] = (version, items)
        begin, limit = int(at), int(asked.get("limit", "0")) or len(items)
        meta = {"resourceVersion": str(version)}
        if begin + limit < len(items):
            meta["continue"] = f"{name}.{begin + limit}"
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": items[begin : begin + limit]}
        return web.json_response(body)

    async def _watch(self, request: web.Request, asked: dict[str, str]) -> web.StreamResponse:
        since = int(asked["resourceVersion"])
        if since < self.compacted and not self.gone_in_stream:
            return _status(410)
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        if since < self.compacted:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            await answer.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return answer
        self._watches.append((request, answer))
        try:
            async with asyncio.timeout(float(asked["timeoutSeconds"])):
                while True:
                    changed = self._changed
                    for version, kind, item in [each for each in self.history if each[0] > since]:
                        since = version
                        if _fits(item, request):
                            await answer.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
                    await changed.wait()
        except TimeoutError:
            if asked.get("allowWatchBookmarks") == "true":
                mark = {"type": "BOOKMARK", "object": {"kind": "Pod", "metadata": {"resourceVersion": str(since)}}}
                await answer.write(json.dumps(mark).encode() + b"\n")
        finally:
            self._watches.remove((request, answer))
        return answer


def _fits(item: dict[str, Any], request: web.Request) -> bool:
    namespace = request.match_info.get("namespace", item["metadata"]["namespace"])
    node = request.query.get("fieldSelector", "").removeprefix("spec.nodeName=") or item["spec"]["nodeName"]
    return bool(namespace == item["metadata"]["namespace"] and node == item["spec"]["nodeName"])


def _status(code: int) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": "body-of-an-error"}, status=code)


@asynccontextmanager
async def running(authority: Authority) -> AsyncIterator[ApiServer]:
    """A server with no pods."""
    server = ApiServer()
    await server.start(authority)
    try:
        yield server
    finally:
        await server.stop()
