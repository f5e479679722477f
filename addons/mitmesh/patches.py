"""Things that mitmproxy cannot be asked for by hooks or options, most of them added to its HTTP layer.

* An answer in place of its own HTML error page: where the `error` hook leaves a response of ours on a flow that has
  none yet, the client gets that. So an unreachable provider is a 502 in the call's own dialect, with the exchange's id.
  Where one of ours has begun (the rest of the provider's was cut off), it is ended in order, so that HTTP/2 clients
  take it for whole.
* On whose side a flow failed. Of a stream that the provider broke off, the client gets what was held back (`lost`).
* A hard limit of buffered bodies that holds for governed calls only. `body_size_limit` would also end the downloads of
  hosts that are none of ours, judges a stream by its Content-Length, and cannot be told apart by flow.
* No socket before ours: in the plain form mitmproxy has begun to open *:8080 when it loads the first script.
* A stream that waits: where a response's stream callable has something in `held`, the hook `mesh_held` is awaited, and
  then the callable asked what else there is (with None), until it waits no longer. Nothing of this stream goes on
  meanwhile, its end neither; others do.
* The types of what a request and an answer are made of are not looked up anew for each: that they are right is a matter
  of mitmproxy's own code, and the look took a twentieth of its time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from mitmproxy import flow, http
from mitmproxy.proxy.commands import StartHook
from mitmproxy.proxy.layers.http import HttpStream, SendHttp
from mitmproxy.proxy.layers.http import _events as events
from mitmproxy.proxy.layers.http._hooks import HttpErrorHook

type Commands = Generator[Any, Any, Any]
type Limit = Callable[[http.HTTPFlow], int | None]

CLIENT_SIDE = "mesh_client_side"
"""In the metadata of a flow that failed: on the client's side? The `error` hook is given a text alone."""

OURS = "x-mesh-origin"
"""The header that tells a response of ours."""


def hold_sockets(proxyserver: Any) -> None:
    """End mitmproxy's own opening of sockets where it has begun and nothing is open yet: it waits for a look-up of
    "any address" while scripts load. Where an address was named (`--listen-host`) it is open already, and stays."""
    if any(server.is_running for server in proxyserver.servers):
        return
    for task in asyncio.all_tasks():
        if task.get_name().startswith("setup_servers") and task.cancel():
            proxyserver.servers._instances = {}  # else they would be stopped later, and were never started


@dataclass
class MeshHeldHook(StartHook):
    """A stream waits (see above); the hook is called mesh_held."""

    flow: http.HTTPFlow


def install(limit: Limit) -> None:
    """Patch mitmproxy; `limit` says how many bytes of a flow's request or answer may be buffered (None: any)."""
    patched = ("handle_protocol_error", "check_body_size", "state_stream_response_body")
    missing = [name for name in patched if not hasattr(HttpStream, name)]
    if missing:
        raise RuntimeError(f"this mitmproxy has no HttpStream.{missing[0]}; use the locked version")
    original = getattr(HttpStream.handle_protocol_error, "original", HttpStream.handle_protocol_error)

    def handle_protocol_error(self: HttpStream, event: Any) -> Commands:
        self.flow.metadata[CLIENT_SIDE] = isinstance(event, events.RequestProtocolError)
        if isinstance(event, events.ResponseProtocolError):
            yield from _rest(self)
        return (yield from _answered(self, original(self, event)))

    def check_body_size(self: HttpStream, request: bool) -> Commands:
        most = limit(self.flow)
        buffered = self.request_body_buf if request else self.response_body_buf
        if most is None or len(buffered) <= most:
            return False
        return (yield from _too_large(self, request, most))

    passes = getattr(HttpStream.state_stream_response_body, "original", HttpStream.state_stream_response_body)

    def state_stream_response_body(self: HttpStream, event: Any) -> Commands:
        yield from passes(self, event)
        if isinstance(event, events.ResponseData):
            yield from _resumed(self)

    state_stream_response_body.original = passes  # type: ignore[attr-defined]
    HttpStream.state_stream_response_body = state_stream_response_body  # type: ignore[method-assign]
    handle_protocol_error.original = original  # type: ignore[attr-defined]
    HttpStream.handle_protocol_error = handle_protocol_error  # type: ignore[method-assign]
    HttpStream.check_body_size = check_body_size  # type: ignore[method-assign]
    if hasattr(http.MessageData, "__post_init__"):  # python -O has none
        http.MessageData.__post_init__ = lambda _: None  # type: ignore[method-assign]


def _rest(stream: HttpStream) -> Commands:
    """What a stream callable has held back of an answer that its provider broke off."""
    lost = getattr(stream.flow.response and stream.flow.response.stream, "lost", None)
    if lost and stream.server_state == stream.state_stream_response_body:
        for chunk in filter(None, lost()):
            yield SendHttp(events.ResponseData(stream.stream_id, chunk), stream.context.client)


def _resumed(stream: HttpStream) -> Commands:
    """What a stream callable held back, when it may go on."""
    callback = stream.flow.response and stream.flow.response.stream
    while callable(callback) and getattr(callback, "held", None) is not None:
        yield MeshHeldHook(stream.flow)
        chunks: Any = callback(None)  # type: ignore[arg-type]  # who holds takes it
        for chunk in chunks or ():
            yield SendHttp(events.ResponseData(stream.stream_id, chunk), stream.context.client)


def _answered(stream: HttpStream, commands: Commands) -> Commands:
    """mitmproxy's commands, with the error it would send to the client replaced by a response of ours."""
    reply = None
    try:
        while True:
            command = commands.send(reply)
            if _is_error_page(stream, command):
                yield from _respond(stream)
                reply = None
            else:
                reply = yield command
    except StopIteration as end:
        return end.value


def _is_error_page(stream: HttpStream, command: Any) -> bool:
    response = stream.flow.response
    return (
        isinstance(command, SendHttp)
        and isinstance(command.event, events.ResponseProtocolError)
        and command.connection is stream.context.client
        and response is not None
        and response.headers.get(OURS) == "proxy"
        and stream.flow.error is not None
    )


def _respond(stream: HttpStream) -> Commands:
    response, client = stream.flow.response, stream.context.client
    assert response is not None
    if stream.server_state == stream.state_stream_response_body:  # ours has begun, and only has to end
        yield SendHttp(events.ResponseEndOfMessage(stream.stream_id), client)
        return
    body = response.raw_content or b""
    yield SendHttp(events.ResponseHeaders(stream.stream_id, response, end_stream=not body), client)
    if body:
        yield SendHttp(events.ResponseData(stream.stream_id, body), client)
    yield SendHttp(events.ResponseEndOfMessage(stream.stream_id), client)


def _too_large(stream: HttpStream, request: bool, most: int) -> Commands:
    """As mitmproxy's own check, past the limit: the error hook, the error, and no more of either side."""
    code = events.ErrorCode.REQUEST_TOO_LARGE if request else events.ErrorCode.RESPONSE_TOO_LARGE
    message = f"{'request' if request else 'answer'} is larger than {most} bytes"
    stream.flow.error = flow.Error(message)
    yield HttpErrorHook(stream.flow)
    error = SendHttp(events.ResponseProtocolError(stream.stream_id, message, code), stream.context.client)
    yield from _answered(stream, _only(error))
    stream.client_state = stream.state_errored
    if not request:
        yield SendHttp(events.RequestProtocolError(stream.stream_id, message, code), stream.context.server)
        stream.server_state = stream.state_errored
    stream.flow.live = False
    return True


def _only(command: Any) -> Commands:
    yield command
