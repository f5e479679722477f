"""A call on its way out: read it, let the stages decide, then answer it or forward it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from mitmproxy import http

from mitmesh import replies
from mitmesh.dialects.base import Framing
from mitmesh.exchange import Action, Exchange, Inspected, Mode, Origin
from mitmesh.headers import carry_back
from mitmesh.house import House
from mitmesh.reading import Reading, Unreadable, read
from mitmesh.replaying import replay
from mitmesh.rules import Opaque
from mitmesh.stage import ALWAYS

OFF_LOOP = 256 * 1024
"""Bodies above this many bytes are read in a thread: they take more than about a millisecond."""


class Outbound:
    """Takes a request from its last byte to its answer, or to the provider. `gone` says whether a flow's client has
    left."""

    def __init__(self, house: House, gone: Callable[[http.HTTPFlow], bool]) -> None:
        self.house, self._gone = house, gone

    async def decide(self, flow: http.HTTPFlow, x: Exchange) -> None:
        """Read the request and have every stage decide on it."""
        await self._read(flow, x)
        await self._decide(flow, x)

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
            if reading.unread:
                self._unread(x, reading.unread, "Parts of the body are no text and cannot be inspected.")

    def _unreadable(self, x: Exchange, error: Unreadable) -> None:
        """A known operation is refused; of any other body the rules decide, unless it is too
        large to hold or could be read in two ways."""
        x.inspected = Inspected.OPAQUE
        x.call.opaque_bytes = x.request_bytes
        if x.dialect.native or error.always:
            must_refuse(x, error.rule, error.reason, error.status)
            return
        self._unread(x, x.request_bytes, error.reason)

    def _unread(self, x: Exchange, count: int, reason: str) -> None:
        """So many bytes were not read: the rules decide."""
        opaque = x.host.opaque or x.rules.mesh.opaque
        if opaque is Opaque.REFUSE:
            x.refuse("scope", "opaque", f"{reason} The rules refuse what cannot be read.", status=415)
        elif opaque is Opaque.WARN:
            x.decide("scope", Action.WARN, "opaque", f"{count} bytes were not inspected.")

    async def _decide(self, flow: http.HTTPFlow, x: Exchange) -> None:
        for stage in self.house.deciding:
            if self._gone(flow):
                return
            if (x.reply or x.refusal) and stage.name not in ALWAYS:
                continue
            began = time.perf_counter()
            await self.house.guard.request(stage, x)
            x.times.stages[stage.name] = time.perf_counter() - began
        if x.reply and x.reply.origin is Origin.CACHE and not x.refusal:
            await replay(x, self.house)
        if x.target is None and x.local is None and not x.refusal and not x.reply:
            must_refuse(x, "engine.no_route", "No provider serves this path; see rules/routes.yaml.", 404)

    def act(self, flow: http.HTTPFlow, x: Exchange) -> None:
        """Do what was decided: refuse, answer, or forward."""
        if x.refusal:
            x.origin = Origin.PROXY
            flow.response = replies.refusal(x)
        elif x.reply:
            x.origin = x.reply.origin
            x.answer = x.answer or x.reply.answer
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
            flow.server_conn.via = None  # no corporate proxy reaches our loopback
        carry_back(x.sent_headers, x.headers, flow.request.headers)
        assert x.target
        replies.aim(flow.request, x.target, x.path)
        x.forwarded = True
        x.times.sent = time.monotonic()


def must_refuse(x: Exchange, rule: str, reason: str, status: int, retry_after: int | None = None) -> None:
    """A refusal that no mode can turn into an observation: the call could not be governed."""
    kind = "not_governed" if status == 503 else "invalid_request"
    x.refuse("scope", rule, reason, mode=Mode.ENFORCE, status=status, type=kind, retry_after=retry_after)
