"""The only mitmproxy addon with hooks, and the doors that `-s` files open.

A door registers its stage with the one engine, which the first door creates. The engine stands in mitmproxy's chain by
itself, so a door file that is touched, broken or deleted takes nothing away. Each hook hands over to `connections` or
`calls` and decides nothing; an exception in a hook that could let a call pass closes the client's connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from mitmproxy import ctx, exceptions, hooks, http

from mitmesh import dispatch, flowlist, gateway, logscrub, options, patches, replies
from mitmesh.calls import Calls, dialect_of
from mitmesh.catalog import CATALOG
from mitmesh.connections import Connections
from mitmesh.guard import where
from mitmesh.life import Life, fail
from mitmesh.stage import ALWAYS
from mitmesh.stages.identity import Identity

if TYPE_CHECKING:
    from mitmproxy import connection, tcp, tls, udp
    from mitmproxy.addonmanager import Loader
    from mitmproxy.proxy.server_hooks import ServerConnectionHookData

log = logging.getLogger(__name__)

PASSES = "mesh_passes"
"""Marks a flow that is no LLM call."""


class Engine:
    """mitmproxy's events, handed to the parts. Before `running` has built them every connection is refused."""

    name = "mitmesh"

    def __init__(self) -> None:
        self.wanted: set[str] = set(ALWAYS)
        self.life: Life | None = None
        self.calls: Calls | None = None
        self.connections: Connections | None = None

    def register(self, stage: str) -> None:
        """A door asks for its stage. Once the engine runs, its stages are fixed until the process ends."""
        if stage not in CATALOG:
            # Not an exception: mitmproxy would lose it in a task. An error in the log ends it at start.
            log.error("mitmesh: there is no stage %r; there are %s", stage, ", ".join(CATALOG))
            return
        if self.life and stage not in self.wanted:
            log.error("stage %s was not loaded at start; restart to add it", stage)
            return
        self.wanted.add(stage)

    # --- life ---

    def load(self, loader: Loader) -> None:
        """Add our options, and set those of mitmproxy's that governing needs."""
        logscrub.install()
        for name, (kind, default, text) in options.OWN.items():
            loader.add_option(name, kind, default, text)
        # mitmproxy and mitmweb lack some of mitmdump's options
        ctx.options.update(**{name: value for name, value in options.SET.items() if name in ctx.options})
        if "server" in ctx.options and ctx.options.server:
            ctx.options.update(server=False)  # sockets open when all is ready
            patches.hold_sockets(ctx.master.addons.get("proxyserver"))

    def configure(self, updated: set[str]) -> None:
        """Refuse an option that would let calls pass, whenever it is set."""
        if self.life and updated & options.REMAKES_CA:
            self.life.sign()
        if problem := options.violation(ctx.options):
            raise exceptions.OptionsError(problem)
        if self.life and (moved := self.life.moved(updated)):
            raise exceptions.OptionsError(f"mitmproxy option {moved} cannot change while mitmesh runs: restart it")

    async def running(self) -> None:
        """Build everything, then open the sockets. What keeps calls from being governed ends the process."""
        life = Life(ctx.master, self.wanted)
        house = await life.build()
        proxyserver = ctx.master.addons.get("proxyserver")
        self.calls = Calls(house, self._cut)
        if ctx.master.addons.get("view") is not None:  # mitmproxy's and mitmweb's list
            self.calls.show = flowlist.install(lambda flow: ctx.master.addons.trigger(hooks.UpdateHook([flow])))
        self.connections = Connections(house, self.calls.approved, proxyserver.connections.get, life.kernel)
        dispatch.install(ctx.master.addons)
        patches.install(self.calls.limit)
        self.life = life
        await life.open(self.calls)

    async def done(self) -> None:
        """Finish every open exchange; later events find nothing to do."""
        if self.life and self.calls:
            await self.life.close(self.calls)

    # --- connections ---

    def client_connected(self, client: connection.Client) -> None:
        """Refused until the engine runs."""
        if self.connections is None:
            client.error = "mitmesh is starting"
        else:
            self._guarded(client, Connections.opened, client)

    def client_disconnected(self, client: connection.Client) -> None:
        """Nothing of a client outlives its connection."""
        if self.connections and self.calls:
            self.connections.closed(client)
            self.calls.client_gone(client.id)

    async def http_connect(self, flow: http.HTTPFlow) -> None:
        """CONNECT names a host; who opens it may have to say who they are."""
        if not await self._refused(flow):
            self._guarded(flow.client_conn, Connections.connect, flow)

    def tls_clienthello(self, data: tls.ClientHelloData) -> None:
        """An exception here would mean decrypt and forward."""
        self._guarded(data.context.client, Connections.hello, data)

    def tls_established_client(self, data: tls.TlsData) -> None:
        """The client trusts us."""
        self._guarded(data.context.client, Connections.decrypted, data)

    def tls_failed_client(self, data: tls.TlsData) -> None:
        """The client does not trust us: no HTTP flow will tell."""
        self._guarded(data.context.client, Connections.rejected, data)

    def tcp_start(self, flow: tcp.TCPFlow) -> None:
        """Raw bytes."""
        self._guarded(flow.client_conn, Connections.raw, flow)

    def udp_start(self, flow: udp.UDPFlow) -> None:
        """Raw datagrams."""
        self._guarded(flow.client_conn, Connections.raw, flow)

    def tcp_message(self, flow: tcp.TCPFlow) -> None:
        """mitmproxy keeps every message of a flow; what passes is not ours to keep."""
        flow.messages.clear()

    def udp_message(self, flow: udp.UDPFlow) -> None:
        """As for TCP."""
        flow.messages.clear()

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """As for TCP; WebSockets to LLM hosts were answered 426."""
        if flow.websocket:
            flow.websocket.messages.clear()

    def server_connect(self, data: ServerConnectionHookData) -> None:
        """The second lock."""
        if data.server.error is None:
            data.server.error = "mitmesh could not judge this destination"  # unless it does
            self._guarded(data.client, Connections.upstream, data)

    def server_connected(self, data: ServerConnectionHookData) -> None:
        """The name is an address now."""
        self._guarded(data.client, Connections.connected, data)

    def server_connect_error(self, data: ServerConnectionHookData) -> None:
        """No upstream."""
        self._guarded(data.client, Connections.failed, data)

    def tls_failed_server(self, data: tls.TlsData) -> None:
        """No TLS with the upstream."""
        self._guarded(data.context.client, Connections.untrusted, data)

    # --- calls ---

    async def requestheaders(self, flow: http.HTTPFlow) -> None:
        """A call begins, or something that is none passes. Without a CONNECT before it (`POST http://...`) it may have
        to say who it is from, as a CONNECT does."""
        asked = self.connections is not None and self.connections.is_bare(flow)
        if not (asked and await self._refused(flow)):
            self._guarded(flow.client_conn, self._begin, flow)

    async def request(self, flow: http.HTTPFlow) -> None:
        """The whole request."""
        if self.calls and flow.id in self.calls.open:
            await self._or_kill(flow, self.calls.request)

    async def responseheaders(self, flow: http.HTTPFlow) -> None:
        """The answer begins."""
        if self.calls and flow.id in self.calls.open:
            await self._or_kill(flow, self.calls.response_headers)
        elif flow.response and flow.metadata.get(PASSES):
            flow.response.stream = True  # what is not ours is not held

    async def mesh_held(self, flow: http.HTTPFlow) -> None:
        """The answer waits (see patches)."""
        held = getattr(flow.response.stream, "held", None) if flow.response else None
        if held is not None:
            await asyncio.wait([asyncio.ensure_future(held)])

    async def response(self, flow: http.HTTPFlow) -> None:
        """The answer ends."""
        if self.calls and flow.id in self.calls.open:
            await self._or_kill(flow, self.calls.response)

    def error(self, flow: http.HTTPFlow) -> None:
        """It ended before its time."""
        if self.calls:
            self.calls.error(flow)

    def _begin(self, connections: Connections, flow: http.HTTPFlow) -> None:
        assert self.calls
        request = flow.request
        caller = connections.callers.get(flow.client_conn.id)
        login = connections.logins.get(flow.client_conn.id)
        if connections.is_gateway(flow.client_conn):
            dialect = gateway.dialect_of(request.method, request.path, request.headers)
            self.calls.begin(flow, gateway.UNROUTED, "gateway", dialect, caller)
        elif rule := connections.rule_of(flow):
            via = "transparent" if flow.client_conn.proxy_mode.type_name != "regular" else "forward"
            dialect = dialect_of(rule, connections.house, request)
            shown = connections.certificates.get(flow.client_conn.id, ())
            self.calls.begin(flow, rule, via, dialect, caller, login, shown)
        else:
            flow.metadata[PASSES] = True
            request.stream = True
            if not ctx.options.upstream_auth:  # which put its own there
                request.headers.pop("proxy-authorization", None)  # it was for us

    # --- helpers ---

    async def _refused(self, flow: http.HTTPFlow) -> bool:
        """Answer what comes to the proxy without the credentials it needs, with 407; false where it may go on."""
        try:
            house = self.calls.house if self.calls else None
            stage = next((each for each in house.stages if isinstance(each, Identity)), None) if house else None
            shown = flow.request.headers.get("proxy-authorization")
            why = await stage.login(shown, house.rules) if stage and house else None
        except Exception as error:  # noqa: BLE001 # nobody can say who it is
            log.error("login failed: %s", where(error))
            replies.turn_away(flow, 503, "could not check these credentials; try again")
            return True
        if why:
            replies.turn_away(flow, 407, why)
        return bool(why)

    def _guarded[E](self, client: connection.Client, hook: Callable[[Connections, E], None], event: E) -> None:
        """Run a hook of the scope; when it fails, or before there is a scope, close the client's connection."""
        try:
            if self.connections is None:
                raise RuntimeError("a connection came before the engine ran")
            hook(self.connections, event)
        except Exception as error:  # noqa: BLE001 # mitmproxy would decrypt and forward
            log.error("%s failed: %s", hook.__name__, where(error))
            handler = ctx.master.addons.get("proxyserver").connections.get(client.id)
            if handler:
                handler.close_connection(client)

    async def _or_kill(self, flow: http.HTTPFlow, hook: Callable[[http.HTTPFlow], Awaitable[None]]) -> None:
        """Run a hook of the calls; when it fails, nothing of the flow goes on."""
        try:
            await hook(flow)
        except Exception as error:  # noqa: BLE001 # mitmproxy would forward unmodified
            log.error("%s failed: %s", getattr(hook, "__name__", "hook"), where(error))
            flow.kill()

    def _cut(self, flow: http.HTTPFlow) -> None:
        handler = ctx.master.addons.get("proxyserver").connections.get(flow.client_conn.id)
        if handler and flow.server_conn in handler.transports:
            handler.close_connection(flow.server_conn)


class Door:
    """What a `-s` file holds: it registers a stage, and owns nothing that could go when the file does."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.name = f"door:{stage}:{id(self):x}"  # mitmproxy takes each name once, and two files may load one stage

    def load(self, _: Loader) -> None:
        """Register with the engine; the first door adds it to mitmproxy's chain."""
        engine = ctx.master.addons.get(Engine.name)
        try:
            if engine is None:
                engine = Engine()
                ctx.master.addons.add(engine)  # applies the options given for us: one may be wrong
            engine.register(self.stage)
        except exceptions.OptionsError as error:
            if engine and engine.life:
                log.error("mitmesh: %s", error)
            else:
                fail(error)  # mitmproxy would say nothing, and serve without us


def door(*stages: str) -> list[Door]:
    """The `addons` of a `-s` file that loads these stages (see stage.ORDER); the order on the command line is none."""
    return [Door(stage) for stage in stages]
