"""An answer on its way back: read it as it comes, let the stages change it, and say how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from mitmproxy import http

from mitmesh import patches, replies
from mitmesh.answering import Tap, Unwritable, changed_json, framing_of, read_json, withhold
from mitmesh.dialects.base import Framing
from mitmesh.exchange import Exchange, Inspected, Origin, Outcome
from mitmesh.guard import StageFailed
from mitmesh.house import House
from mitmesh.outbound import OFF_LOOP, must_refuse
from mitmesh.reading import too_large

PACKED = 4 * 1024
"""As OFF_LOOP for compressed answers, which may be a thousand times larger."""

NONSENSE = ("Cannot parse", "unexpected server response", "protocol error", "request smuggling")
"""mitmproxy's words for an answer that is no HTTP, by what they have in common."""


class Inbound:
    """Takes an answer from its headers to its end. `cut` closes the connection to a flow's provider."""

    def __init__(self, house: House, cut: Callable[[http.HTTPFlow], None]) -> None:
        self.house, self._cut_off = house, cut

    def headers(self, flow: http.HTTPFlow, x: Exchange) -> None:
        """Status and headers of the answer are here: decide how its body is read."""
        if flow.response is None:
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

    async def end(self, flow: http.HTTPFlow, x: Exchange) -> Outcome:
        """The whole answer is here, streamed already or not: how did it end?"""
        assert flow.response
        if not x.forwarded:
            return Outcome.REFUSED if x.refusal else Outcome.ANSWERED
        if stream := flow.response.stream:
            if isinstance(stream, replies.Instead) and stream.unsent is not None:
                flow.response.content = stream.unsent
            cut = x.answer is not None and not x.answer.complete and bool(x.dialect.native)
            return _streamed(x, stream) or (Outcome.UPSTREAM_CUT if cut else Outcome.ANSWERED)
        began = time.perf_counter()
        outcome = await self._whole(flow, flow.response, x)
        x.times.own += time.perf_counter() - began
        return outcome

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
        try:
            changed = changed_json(x)
        except Unwritable:
            withhold(x, "engine.unwritable")
            x.origin = Origin.PROXY
            flow.response = replies.refusal(x)
            return Outcome.REFUSED
        if changed is not None:
            response.headers.pop("content-encoding", None)
            response.content = changed
        if x.via == "gateway":
            replies.mark_cost(response, x)
        return Outcome.ANSWERED

    def failed(self, flow: http.HTTPFlow, x: Exchange) -> Outcome:
        """The exchange ended early: whose doing was it? The client is told in its own dialect (see patches)."""
        said = flow.error.msg if flow.error else ""
        if _by_client(flow, said):
            outcome = Outcome.CLIENT_GONE
        elif not x.forwarded:
            outcome = Outcome.REFUSED
            if not x.refusal and said.startswith("request is larger"):
                unreadable = too_large(x.rules.mesh.limits.body_bytes)
                must_refuse(x, unreadable.rule, unreadable.reason, unreadable.status)
            elif not x.refusal:
                must_refuse(x, "engine.failed", "The request could not be read to its end, or not be governed.", 503)
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
        return outcome

    def _cut(self, flow: http.HTTPFlow) -> None:
        """End the provider's side of an answer; from here on it is ours (see patches)."""
        if flow.response:
            flow.response.headers["x-mesh-origin"] = Origin.PROXY
        self._cut_off(flow)


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
