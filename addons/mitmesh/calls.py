"""The HTTP side of the engine: makes an Exchange of each call in scope, runs the stages, and finishes it once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mitmproxy import http

from mitmesh import patches, replies
from mitmesh.answering import Tap, changed_json, framing_of, read_json
from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Call, Dialect, Framing, Operation
from mitmesh.exchange import (
    Action,
    Connection,
    ConnectionKind,
    Exchange,
    Inspected,
    Mode,
    Origin,
    Outcome,
    Target,
)
from mitmesh.guard import StageFailed
from mitmesh.headers import carry_back, snapshot
from mitmesh.house import House, Phase
from mitmesh.reading import Reading, Unreadable, read, too_large
from mitmesh.rules import HostRule, Opaque
from mitmesh.scope import find_path
from mitmesh.stage import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from mitmesh.flowlist import Show
    from mitmesh.kernel import Caller
    from mitmesh.stage import Stage

log = logging.getLogger(__name__)

OFF_LOOP = 256 * 1024
"""Bodies above this many bytes are read in a thread: they take more than about a millisecond."""
PACKED = 4 * 1024
"""The same for compressed answers, which may be a thousand times larger."""


STOP_SECONDS = 1
"""How long a stopping process waits for stages that decide on a call, after it has told them to end."""

NONSENSE = ("Cannot parse", "unexpected server response", "protocol error", "request smuggling")
"""mitmproxy's words for an answer that is no HTTP, by what they have in common."""


class Calls:
    """All open exchanges, by flow; each leaves through `finish`, once."""

    def __init__(self, house: House, cut: Callable[[http.HTTPFlow], None]) -> None:
        self.house = house
        self.open: dict[str, Exchange] = {}
        self._of_client: defaultdict[str, set[str]] = defaultdict(set)
        self._cut_off = cut
        self._deciding: dict[str, asyncio.Task[None] | None] = {}
        """The tasks in which stages decide on a request, by flow: while one runs, its exchange is not finished."""
        self._settling: set[asyncio.Task[None]] = set()
        self.show: Show | None = None
        """Shows a flow's finished exchange; None where the proxy has no screen."""

    def begin(
        self, flow: http.HTTPFlow, rule: HostRule, via: str, dialect: Dialect | None, caller: Caller | None = None
    ) -> None:
        """The request's headers are here: open its Exchange, and refuse what headers alone show to be wrong.

        `dialect` None is a path of the gateway that has none; `caller` is who the kernel says it is."""
        headers = snapshot(flow.request.headers)
        x = Exchange(
            dialect=dialect or DIALECTS["generic"],
            method=flow.request.method,
            call=Call(Operation.OTHER),
            host=rule,
            target=None if via == "gateway" else Target(flow.request.scheme, flow.request.host, flow.request.port),
            path=flow.request.path,
            headers=headers,
            sent_headers=headers.copy(),
            rules=self.house.rules,
            via=via,
            client=replies.address(flow.client_conn.peername),
            caller=caller,
            traceparent=headers.get("traceparent"),
            credential=replies.credential(headers, flow.request.path),
        )
        if show := self.show:
            x.show = lambda done: show(flow, done)
        self.open[flow.id] = x
        self._of_client[flow.client_conn.id].add(flow.id)
        if self.house.phase is not Phase.READY:
            _refuse(x, "engine.not_ready", "mitmesh is starting or stopping; try again.", 503, retry_after=2)
        elif int(_digits(headers.get("content-length", ""))) > x.rules.mesh.limits.body_bytes:
            unreadable = too_large(x.rules.mesh.limits.body_bytes)
            _refuse(x, unreadable.rule, unreadable.reason, unreadable.status)
        elif "upgrade" in headers:
            self._upgrade(flow, x)
        elif via == "gateway" and (origin := foreign_origin(headers, x.rules.routes.allow_origins)):
            said = f"Pages of {origin[:100]} may not call the gateway; allow_origins in rules/routes.yaml can let them."
            _refuse(x, "engine.origin", said, 403)

    def _upgrade(self, flow: http.HTTPFlow, x: Exchange) -> None:
        """A WebSocket would pass unread: 426 makes Codex fall back to HTTPS at once. Other upgrades just are not asked
        for."""
        if "websocket" in x.headers.pop("upgrade").lower():
            _refuse(x, "engine.upgrade", "WebSocket is not governed here yet; use HTTPS.", 426)
            host = flow.request.host
            row = Connection(ConnectionKind.UPGRADE_REFUSED, x.client, host, flow.request.port, rule=x.host.id)
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
            await self._read(flow, x)
            await self._decide(flow, x)
            if self._gone(flow):
                self.finish(flow, Outcome.CLIENT_GONE)
                flow.kill()
            else:
                self._act(flow, x)
        except asyncio.CancelledError:
            self.finish(flow, Outcome.INTERRUPTED)
            raise
        finally:
            del self._deciding[flow.id]
            x.times.own += time.perf_counter() - began

    async def _read(self, flow: http.HTTPFlow, x: Exchange) -> None:
        raw = flow.request.raw_content or b""
        x.request_bytes = len(raw)
        if x.refusal:
            return
        task = (raw, x.dialect, x.path, x.headers, x.rules.mesh.limits)
        packed = x.headers.get("content-encoding", "identity") != "identity"  # how large it is, nobody knows yet
        try:
            large = packed or len(raw) > OFF_LOOP
            reading: Reading = await asyncio.to_thread(read, *task) if large else read(*task)
        except Unreadable as error:
            self._unreadable(x, error)
        else:
            x.call, x.body, x.inspected = reading.call, reading.body, reading.inspected
            x.framing = x.dialect.framing(x.call, x.path)

    def _unreadable(self, x: Exchange, error: Unreadable) -> None:
        """A known operation is refused; of any other body the rules decide, unless it is too large to hold."""
        x.inspected = Inspected.OPAQUE
        x.call.opaque_bytes = x.request_bytes
        if x.dialect.native or error.status == 413:
            _refuse(x, error.rule, error.reason, error.status)
            return
        opaque = x.host.opaque or x.rules.mesh.opaque
        if opaque is Opaque.REFUSE:
            x.refuse("scope", "opaque", f"{error.reason} The rules refuse what cannot be read.", status=415)
        elif opaque is Opaque.WARN:
            x.decide("scope", Action.WARN, "opaque", f"{x.request_bytes} bytes were not inspected.")

    async def _decide(self, flow: http.HTTPFlow, x: Exchange) -> None:
        for stage in self.house.deciding:
            if self._gone(flow):
                return
            if (x.reply or x.refusal) and stage.name not in ALWAYS:
                continue
            began = time.perf_counter()
            await self.house.guard.request(stage, x)
            x.times.stages[stage.name] = time.perf_counter() - began
        if x.target is None and x.local is None and not x.refusal and not x.reply:
            _refuse(x, "engine.no_route", "No provider serves this path; see rules/routes.yaml.", 404)

    def _act(self, flow: http.HTTPFlow, x: Exchange) -> None:
        if x.refusal:
            x.origin = Origin.PROXY
            flow.response = replies.refusal(x)
        elif x.reply:
            x.origin = x.reply.origin
            x.answer = x.reply.answer
            flow.response = replies.reply(x)
        else:
            self._forward(flow, x)

    def _forward(self, flow: http.HTTPFlow, x: Exchange) -> None:
        if x.body and x.body.changed:
            x.headers.pop("content-encoding", None)
            flow.request.headers.pop("content-encoding", None)  # or mitmproxy would encode it anew
            flow.request.content = x.body.render()
        if x.edits_stream and x.framing is not Framing.NONE:
            x.headers["accept-encoding"] = "identity"
        x.headers.pop("proxy-authorization", None)  # it was for us
        x.headers.update((name.lower(), value) for name, value in x.host.inject_headers.items())
        if x.local:
            x.upstream = x.target
            x.target = self.house.loopback.open(x, x.local)
            x.headers.update(self.house.loopback.pass_for(x))
        carry_back(x.sent_headers, x.headers, flow.request.headers)
        assert x.target
        replies.aim(flow.request, x.target, x.path)
        x.forwarded = True
        x.times.sent = time.monotonic()

    async def response_headers(self, flow: http.HTTPFlow) -> None:
        """Status and headers of the answer are here: decide how its body is read."""
        x = self.open.get(flow.id)
        if x is None or flow.response is None:
            return
        x.status = flow.response.status_code
        x.times.headers = time.monotonic()
        if not x.forwarded:
            return
        if x.status == 101:
            flow.kill()
            return
        try:
            for stage in self.house.starting:
                self.house.guard.answer(stage, x, "response_start", lambda s=stage: s.response_start(x))  # type: ignore[misc]
            replies.mark(flow.response, x)
            self._body(flow, flow.response, x)
        except StageFailed as failed:
            flow.response.stream = replies.Instead(flow, x, failed, lambda: self._cut(flow))

    def _body(self, flow: http.HTTPFlow, response: http.Response, x: Exchange) -> None:
        kind = response.headers.get("content-type", "")
        framing = framing_of(x, kind) if response.status_code < 300 else Framing.NONE
        if framing is Framing.NONE:
            if "json" not in kind or x.inspected is Inspected.OPAQUE:
                response.stream = replies.Count(x)
            return
        transforms = []
        for stage in self.house.streaming:
            transform = self.house.guard.answer(stage, x, "stream", lambda s=stage: s.stream(x))  # type: ignore[misc]
            if transform:
                transforms.append((stage, transform))
        encoding = response.headers.get("content-encoding", "").strip().lower()
        tail = x.rules.mesh.stream_cost and x.via == "gateway" and framing is Framing.SSE and not encoding
        response.stream = Tap(
            x, framing, encoding, transforms, self.house.guard, lambda: self._cut(flow), lambda: self._known(x, tail)
        )
        if transforms or tail:
            replies.length_unknown(flow.request, response, decoded=bool(transforms))

    def _known(self, x: Exchange, tail: bool) -> bytes:
        """The whole answer was read: tell the stages; the bytes to end a stream with."""
        if x.outcome is not None:
            return b""  # the process is being stopped, and told them how it ended
        for stage in self.house.knowing:
            self.house.guard.answer(stage, x, "response", lambda s=stage: s.response(x))  # type: ignore[misc]
        return replies.cost_comment(x) if tail else b""

    async def response(self, flow: http.HTTPFlow) -> None:
        """The whole answer is here, streamed already or not."""
        x = self.open.get(flow.id)
        if x is None or flow.response is None:
            return
        if not x.forwarded:
            self.finish(flow, Outcome.REFUSED if x.refusal else Outcome.ANSWERED)
        elif stream := flow.response.stream:
            if isinstance(stream, replies.Instead) and stream.unsent is not None:
                flow.response.content = stream.unsent
            cut = x.answer is not None and not x.answer.complete and bool(x.dialect.native)
            self.finish(flow, _streamed(x, stream) or (Outcome.UPSTREAM_CUT if cut else Outcome.ANSWERED))
        else:
            began = time.perf_counter()
            outcome = await self._whole(flow, flow.response, x)
            x.times.own += time.perf_counter() - began
            self.finish(flow, outcome)

    async def _whole(self, flow: http.HTTPFlow, response: http.Response, x: Exchange) -> Outcome:
        raw = response.raw_content or b""
        x.response_bytes = len(raw)
        encoding = response.headers.get("content-encoding", "").strip().lower()
        large = len(raw) > OFF_LOOP or (encoding and len(raw) > PACKED)
        read_it = asyncio.to_thread(read_json, x, raw, encoding) if large else None
        x.answer = await read_it if read_it else read_json(x, raw, encoding)
        if x.answer is None:
            return Outcome.MALFORMED if raw else Outcome.ANSWERED
        x.times.first_token = x.times.headers
        try:
            self._known(x, tail=False)
        except StageFailed as failed:
            flow.response = replies.failed(x, failed)
            return Outcome.REFUSED
        if (changed := changed_json(x)) is not None:
            response.headers.pop("content-encoding", None)
            response.content = changed
        if x.via == "gateway":
            replies.mark_cost(response, x)
        return Outcome.ANSWERED

    def error(self, flow: http.HTTPFlow) -> None:
        """The exchange ended early: whose doing was it? The client is told in its own dialect (see patches)."""
        x = self.open.get(flow.id)
        if x is None:
            return
        said = flow.error.msg if flow.error else ""
        if _by_client(flow, said):
            outcome = Outcome.CLIENT_GONE
        elif not x.forwarded:
            outcome = Outcome.REFUSED
            if not x.refusal and said.startswith("request is larger"):
                unreadable = too_large(x.rules.mesh.limits.body_bytes)
                _refuse(x, unreadable.rule, unreadable.reason, unreadable.status)
            elif not x.refusal:
                _refuse(x, "engine.failed", "The request could not be read to its end, or not be governed.", 503)
            x.origin = Origin.PROXY
            flow.response = replies.refusal(x)
        elif x.times.headers is None:
            outcome = Outcome.MALFORMED if _nonsense(said) else Outcome.UPSTREAM_FAILED
            x.origin = Origin.PROXY
            flow.response = replies.unreachable(x, said)
        else:
            outcome = Outcome.MALFORMED if _nonsense(said) else Outcome.UPSTREAM_CUT
            outcome = _streamed(x, flow.response and flow.response.stream) or outcome
        if x.forwarded and flow.server_conn.timestamp_tcp_setup is None:
            x.forwarded = False  # it was to leave, and there was no connection on which it could
        self.finish(flow, outcome)

    def limit(self, flow: http.HTTPFlow) -> int | None:
        """How many bytes of a body mitmproxy may hold in memory: the hard cap, twice the soft one; none for what is
        not ours."""
        x = self.open.get(flow.id)
        return 2 * x.rules.mesh.limits.body_bytes if x else None

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

    def _cut(self, flow: http.HTTPFlow) -> None:
        """End the provider's side of an answer; from here on it is ours (see patches)."""
        if flow.response:
            flow.response.headers["x-mesh-origin"] = Origin.PROXY
        self._cut_off(flow)

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
        if self._settling:
            await asyncio.wait(set(self._settling))


def _by_client(flow: http.HTTPFlow, said: str) -> bool:
    """Did the client end it? mitmproxy says "by client" of a provider's reset too."""
    left = "by client" in said or "client disconnected" in said.lower()
    return (left and flow.metadata.get(patches.CLIENT_SIDE, True)) or not flow.client_conn.connected


def _nonsense(said: str) -> bool:
    """Is mitmproxy's error about an answer that is no HTTP? One that just ends too early is cut."""
    return "peer closed" not in said and any(words in said for words in NONSENSE)


def _streamed(x: Exchange, stream: object) -> Outcome | None:
    """How an answer ended of which we know why it did."""
    if x.refusal:
        return Outcome.REFUSED
    return Outcome.MALFORMED if isinstance(stream, Tap) and stream.malformed else None


def _refuse(x: Exchange, rule: str, reason: str, status: int, retry_after: int | None = None) -> None:
    """A refusal that no mode can turn into an observation: the call could not be governed."""
    kind = "not_governed" if status == 503 else "invalid_request"
    x.refuse("scope", rule, reason, mode=Mode.ENFORCE, status=status, type=kind, retry_after=retry_after)


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
