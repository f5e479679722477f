"""The HTTP side of the engine: makes an Exchange of each call in scope, runs the stages, and finishes it once."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding
from mitmproxy import http

from mitmesh import replies
from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Call, Dialect, Operation
from mitmesh.exchange import (
    Connection,
    ConnectionKind,
    Exchange,
    Outcome,
)
from mitmesh.headers import snapshot
from mitmesh.house import House, Phase
from mitmesh.inbound import Inbound
from mitmesh.outbound import Outbound, must_refuse
from mitmesh.reading import too_large
from mitmesh.rules import HostRule
from mitmesh.scope import find_path
from mitmesh.targets import target_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from mitmproxy.certs import Cert

    from mitmesh.flowlist import Show
    from mitmesh.kernel import Caller
    from mitmesh.stage import Stage

STRANGERS = 64 * 1024
"""Bytes that are held of a body whose sender did not say who they are."""
STOP_SECONDS = 1
"""How long a stopping process waits for stages that decide on a call, after it has told them to end."""


class Calls:
    """All open exchanges, by flow; each leaves through `finish`, once."""

    def __init__(self, house: House, cut: Callable[[http.HTTPFlow], None]) -> None:
        self.house = house
        self.open: dict[str, Exchange] = {}
        self._of_client: defaultdict[str, set[str]] = defaultdict(set)
        self._outbound, self._inbound = Outbound(house, self._gone), Inbound(house, cut)
        self._deciding: dict[str, asyncio.Task[None] | None] = {}
        """The tasks in which stages decide on a request, by flow: while one runs, its exchange is not finished."""
        self._settling: set[asyncio.Task[None]] = set()
        self._ended: list[Exchange] = []
        """Those that stages are to be told of: first the answer leaves."""
        self.show: Show | None = None
        """Shows a flow's finished exchange; None where the proxy has no screen."""

    def begin(
        self,
        flow: http.HTTPFlow,
        rule: HostRule,
        via: str,
        dialect: Dialect | None,
        caller: Caller | None = None,
        login: str | None = None,
        shown: Sequence[Cert] = (),
    ) -> None:
        """The request's headers are here: open its Exchange, and refuse what headers alone show to be wrong.

        `dialect` None is a path of the gateway that has none; `caller` is who the kernel says it is, `login` what its
        connection was opened with (Proxy-Authorization), `shown` the certificates that the proxy itself was shown."""
        headers = snapshot(flow.request.headers)
        chain = flow.client_conn.certificate_list or shown
        x = Exchange(
            dialect=dialect or DIALECTS["generic"],
            method=flow.request.method,
            call=Call(Operation.OTHER),
            host=rule,
            target=None if via == "gateway" else target_of(flow, rule, via),
            path=flow.request.path,
            headers=headers,
            sent_headers=headers.copy(),
            rules=self.house.rules,
            via=via,
            client=replies.address(flow.client_conn.peername),
            caller=caller,
            proxy_credential=None if via == "gateway" else login or headers.get("proxy-authorization"),
            certificates=tuple(each.to_cryptography().public_bytes(Encoding.DER) for each in chain),
            traceparent=headers.get("traceparent"),
            user_agent=headers.get("user-agent"),
            credential=replies.credential(headers, flow.request.path),
        )
        if show := self.show:
            x.show = lambda done: show(flow, done)
        self.open[flow.id] = x
        self._of_client[flow.client_conn.id].add(flow.id)
        if self.house.phase is not Phase.READY:
            must_refuse(x, "engine.not_ready", "mitmesh is starting or stopping; try again.", 503, retry_after=2)
        elif int(_digits(headers.get("content-length", ""))) > x.rules.mesh.limits.body_bytes:
            unreadable = too_large(x.rules.mesh.limits.body_bytes)
            must_refuse(x, unreadable.rule, unreadable.reason, unreadable.status)
        elif "upgrade" in headers:
            self._upgrade(flow, x)
        elif via == "gateway" and (origin := foreign_origin(headers, x.rules.routes.allow_origins)):
            said = f"Pages of {origin[:100]} may not call the gateway; allow_origins in rules/routes.yaml can let them."
            must_refuse(x, "engine.origin", said, 403)

    def _upgrade(self, flow: http.HTTPFlow, x: Exchange) -> None:
        """A WebSocket would pass unread: 426 makes Codex fall back to HTTPS at once. Other upgrades just are not asked
        for."""
        if "websocket" in x.headers.pop("upgrade").lower():
            must_refuse(x, "engine.upgrade", "WebSocket is not governed here yet; use HTTPS.", 426)
            host = flow.request.host
            sni = flow.client_conn.sni
            row = Connection(ConnectionKind.UPGRADE_REFUSED, x.client, host, flow.request.port, sni, rule=x.host.id)
            self.house.connection(row)
        kept = [w for w in x.headers.get("connection", "").split(",") if w.strip().lower() != "upgrade"]
        x.headers["connection"] = ",".join(kept) or "keep-alive"

    async def request(self, flow: http.HTTPFlow) -> None:
        """The whole request is here: read it, let the stages decide, then answer or forward."""
        x = self.open.get(flow.id)
        if x is None:
            return
        began = time.perf_counter()
        self._deciding[flow.id] = asyncio.current_task()
        try:
            await self._outbound.decide(flow, x)
            if self._gone(flow):
                self.finish(flow, Outcome.CLIENT_GONE)
                flow.kill()
            else:
                self._outbound.act(flow, x)
        except asyncio.CancelledError:
            self.finish(flow, Outcome.INTERRUPTED)
            raise
        finally:
            del self._deciding[flow.id]
            x.times.own += time.perf_counter() - began

    async def response_headers(self, flow: http.HTTPFlow) -> None:
        """Status and headers of the answer are here."""
        if x := self.open.get(flow.id):
            self._inbound.headers(flow, x)

    async def response(self, flow: http.HTTPFlow) -> None:
        """The whole answer is here, streamed already or not."""
        x = self.open.get(flow.id)
        if x and flow.response:
            self.finish(flow, await self._inbound.end(flow, x))

    def error(self, flow: http.HTTPFlow) -> None:
        """The exchange ended early."""
        if x := self.open.get(flow.id):
            self.finish(flow, self._inbound.failed(flow, x))

    def limit(self, flow: http.HTTPFlow) -> int | None:
        """How many bytes of a body mitmproxy may hold in memory: the hard cap, twice the soft one; any for what is not
        ours, few for what was turned away."""
        x = self.open.get(flow.id)
        if x is None:
            return STRANGERS if flow.metadata.get(replies.TURNED_AWAY) else None
        return 2 * x.rules.mesh.limits.body_bytes

    def finish(self, flow: http.HTTPFlow, outcome: Outcome) -> None:
        """End an exchange, the first time it is asked to."""
        x = self.open.pop(flow.id, None)
        if x is None:
            return
        mine = self._of_client[flow.client_conn.id]
        mine.discard(flow.id)
        if not mine:
            del self._of_client[flow.client_conn.id]
        self._end(x, outcome)

    def client_gone(self, client_id: str) -> None:
        """A client's connection is closed: nothing of it stays open, whatever hooks did not fire. Where stages still
        decide, `request` finishes after them: what one of them has set aside must be seen by its finish()."""
        for flow_id in self._of_client.pop(client_id, ()):
            if flow_id not in self._deciding and (x := self.open.pop(flow_id, None)):
                self._end(x, Outcome.CLIENT_GONE)

    def _gone(self, flow: http.HTTPFlow) -> bool:
        return flow.client_conn.id not in self._of_client

    def approved(self, client_id: str, host: str, port: int) -> Exchange | None:
        """The open call of this client that the stages let go to this destination (`""`: to any), if there is one."""
        for flow_id in self._of_client.get(client_id, ()):
            x = self.open[flow_id]
            if x.forwarded and x.target and (not host or (x.target.host, x.target.port) == (host, port)):
                return x
        return None

    def _end(self, x: Exchange, outcome: Outcome) -> None:
        if outcome is Outcome.CLIENT_GONE and x.answer and x.answer.complete:
            outcome = Outcome.ANSWERED  # OpenAI's SDK hangs up at `[DONE]`, before the body ends
        x.outcome = outcome
        x.times.done = time.monotonic()
        self.house.loopback.close(x)
        if x.stop_reading:
            x.stop_reading()
        if stages := [stage for stage in self.house.settling if self.house.guard.needs_settling(stage, x)]:
            task = asyncio.create_task(self._settle(x, stages))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)
        else:
            if not self._ended:
                asyncio.get_running_loop().call_later(0, self._finish_ended)  # behind all that is due now
            self._ended.append(x)

    def _finish_ended(self) -> None:
        ended, self._ended = self._ended, []
        for x in ended:
            self._finish(x)

    async def _settle(self, x: Exchange, stages: list[Stage]) -> None:
        for stage in stages:
            await asyncio.to_thread(self.house.guard.settle, stage, x)
        self._finish(x)

    def _finish(self, x: Exchange) -> None:
        for stage in self.house.back:
            self.house.guard.finish(stage, x)
        if x.show:
            try:
                x.show(x)
            except Exception as error:  # noqa: BLE001 # what cannot be shown was governed all the same
                self.house.guard.note("engine", "show", error)

    async def close(self) -> None:
        """The process ends: every open exchange is finished as interrupted, those that stages decide on after these."""
        if tasks := {task for task in self._deciding.values() if task}:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
        for x in list(self.open.values()):
            self._end(x, Outcome.INTERRUPTED)
        self.open.clear()
        self._of_client.clear()
        self._finish_ended()
        if self._settling:
            await asyncio.wait(set(self._settling))


def foreign_origin(headers: Mapping[str, str], allowed: Collection[str]) -> str | None:
    """The origin of the web page that sent this, if it may not: a page in somebody's browser could otherwise spend the
    gateway's own keys. Programs send none."""
    origin = headers.get("origin")
    if origin is None:
        return "another site" if headers.get("sec-fetch-site") == "cross-site" else None
    host = urlsplit(origin).hostname
    return None if origin in allowed or host in ("localhost", "127.0.0.1", "::1") else origin


def _digits(value: str) -> str:
    return value if value.isascii() and value.isdigit() and len(value) < 19 else "0"


def dialect_of(rule: HostRule, house: House, request: http.Request) -> Dialect:
    """The dialect that the rules give a path on a host; generic where they give none. An entry that says nothing of
    the API (one that only blocks, or observes) takes it from the next entry for the host."""
    method, path = request.method, request.path
    api = rule.api if rule.api != "none" else house.table.api(request.pretty_host, request.port)
    table = house.table.apis.get(api)
    return DIALECTS[(table and find_path(table, method, path)) or "generic"]
