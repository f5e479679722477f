"""The connection side of the engine: which connections are decrypted, which pass untouched, which are closed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mitmproxy import http
from mitmproxy.proxy.mode_specs import ReverseMode, TransparentMode, UpstreamMode

from mitmesh.egress import egress_refused
from mitmesh.exchange import Connection, ConnectionKind
from mitmesh.house import House, Phase
from mitmesh.identities import team_of
from mitmesh.kernel import Caller, Kernel
from mitmesh.replies import address
from mitmesh.scope import Scope, decide
from mitmesh.stages.scope import why_blocked

if TYPE_CHECKING:
    from mitmproxy import connection, tcp, tls, udp
    from mitmproxy.certs import Cert
    from mitmproxy.proxy.server_hooks import ServerConnectionHookData

    from mitmesh.exchange import Exchange
    from mitmesh.rules import HostRule
    from mitmesh.scope import HostTable

log = logging.getLogger(__name__)

UPSTREAM_CONNECTIONS = 256
"""Connections of one client to one address. mitmproxy's own 5 would make the sixth HTTP/2 stream wait."""

OURS = "mitmesh: "
"""What the error of a connection to a server begins with that we refused."""

SAY_AGAIN = 60.0
"""Seconds between two lines of the log that say the same."""

PINNED = 1024
"""Clients remembered that reject our certificate where a rule lets them pass; the oldest is forgotten first."""


def _own(status: int, reason: str, rule: str = "") -> http.Response:
    """Our answer to a CONNECT. It bears no X-Mesh-Id: no call was made, so the audit has none to find by it."""
    return http.Response.make(
        status, reason + "\n", {"x-mesh-origin": "proxy"} | ({"x-mesh-rule": rule} if rule else {})
    )


@dataclass(slots=True)
class Binding:
    """What was decided for one client connection, and what named it."""

    scope: Scope
    host: str
    port: int
    sni: str | None = None
    table: HostTable | None = None
    """What it was decided by."""


class Connections:
    """Decisions by client connection. `approved` gives the open call of a client that the stages let go to an address;
    `handler` gives mitmproxy's handler of a client."""

    def __init__(
        self,
        house: House,
        approved: Callable[[str, str, int], Exchange | None],
        handler: Callable[[str], Any | None],
        kernel: Kernel,
    ) -> None:
        self.house = house
        self._approved, self._handler, self._kernel = approved, handler, kernel
        self._bound: dict[str, Binding] = {}
        self.callers: dict[str, Caller] = {}
        """Who is behind a client, where the kernel tells."""
        self.logins: dict[str, str] = {}
        """Proxy-Authorization by client, as its CONNECT had it."""
        self.certificates: dict[str, Sequence[Cert]] = {}
        """The chain by client that it showed to the proxy itself, which TLS within its tunnel would make forgotten."""
        self._pinned: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._said_loop = -SAY_AGAIN

    def opened(self, client: connection.Client) -> None:
        """A client connected: refuse it while calls could not be governed."""
        if self.house.phase is not Phase.READY:
            client.error = "mitmesh is starting or stopping"
        elif handler := self._handler(client.id):
            handler.max_conns.default_factory = lambda: asyncio.Semaphore(UPSTREAM_CONNECTIONS)
            self._ask_kernel(client, handler.transports[client].writer.get_extra_info("socket"))

    def _ask_kernel(self, client: connection.Client, sock: Any) -> None:
        """Who is it? And to the transparent listener come redirected connections alone, none of them our own."""
        caller = self._kernel.caller(sock)
        if caller:
            self.callers[client.id] = caller
        if not isinstance(client.proxy_mode, TransparentMode):
            return
        if caller and self._kernel.is_us(caller):
            self._came_back()
            client.error = "mitmesh's own connection, or one from mitmesh's cgroup"
        elif why := self._kernel.why_not(caller, client.sockname[:2], sock.getsockname()[:2]):
            client.error = why
        if client.error:
            host, port = client.sockname[:2]
            self._tell(ConnectionKind.REFUSED, client, Binding(Scope("refuse"), host, port), client.error)

    def _came_back(self) -> None:
        if time.monotonic() - self._said_loop > SAY_AGAIN:
            self._said_loop = time.monotonic()
            log.error(
                "mitmesh: our own connections came back to us, and are closed: our cgroup is redirected. Run the same "
                "bpf/redirect attach again, which leaves us out; or start with bpf/redirect run --as-proxy"
            )

    def closed(self, client: connection.Client) -> None:
        """Its connection is gone."""
        self._bound.pop(client.id, None)
        self.callers.pop(client.id, None)
        self.logins.pop(client.id, None)
        self.certificates.pop(client.id, None)

    def connect(self, flow: http.HTTPFlow) -> None:
        """CONNECT: bind the connection to the host it names, or answer that it may not."""
        host, port, client = flow.request.host, flow.request.port, flow.client_conn
        if client.id in self._bound:
            flow.response = _own(403, "CONNECT inside a governed connection is refused.")
            return
        if self.house.phase is not Phase.READY:
            flow.response = _own(503, "mitmesh is starting or stopping; try again.")
            return
        scope = self._decide(client, host, port)
        refused = self._egress(host, port, scope.rule)
        if scope.kind == "refuse" or refused:
            allow = f"{host}:{port} {refused}; rules/egress.yaml can allow it."
            reason = why_blocked(scope.rule) if scope.rule else allow
            flow.response = _own(403, reason, scope.rule.id if scope.rule else "egress")
            self._tell(ConnectionKind.REFUSED, client, Binding(scope, host, port), refused or "rule")
            return
        self._bound[client.id] = Binding(scope, host, port, table=self.house.table)
        if shown := flow.request.headers.get("proxy-authorization"):
            self.logins[client.id] = shown

    def hello(self, data: tls.ClientHelloData) -> None:
        """TLS begins: decrypt it, pass it untouched, or close it."""
        client, server = data.context.client, data.context.server
        if server.address is None or self.is_gateway(client):
            return  # TLS to ourselves
        sni = data.client_hello.sni
        bound = self._bound.get(client.id)
        host, port = (bound.host, bound.port) if bound else server.address[:2]
        scope = self._decide(client, host if bound else None, port, sni=sni, address=None if bound else host)
        if scope.kind == "decrypt" and (address(client.peername), sni or host) in self._pinned:
            scope = Scope("tunnel", scope.rule, scope.named_by)
        self._bound[client.id] = bound = Binding(scope, host, port, sni, self.house.table)
        if scope.kind == "refuse":
            self._tell(ConnectionKind.REFUSED, client, bound, "rule")
            self.close(client)
        elif scope.kind == "tunnel":
            data.ignore_connection = True

    def decrypted(self, data: tls.TlsData) -> None:
        """The client accepted our certificate."""
        client = data.context.client
        bound = self._bound.get(client.id)
        if bound is None and client.certificate_list:
            self.certificates[client.id] = client.certificate_list
        elif bound:
            self._tell(ConnectionKind.DECRYPTED, client, bound)

    def rejected(self, data: tls.TlsData) -> None:
        """The client rejected our certificate: counted, and where the rule says so, passed untouched from now on."""
        client = data.context.client
        bound = self._bound.get(client.id)
        if bound is None:
            return
        self._tell(ConnectionKind.CERTIFICATE_REJECTED, client, bound, (data.conn.error or "")[:200])
        if bound.scope.rule and bound.scope.rule.on_pin_failure == "tunnel":
            self._pinned[address(client.peername), bound.sni or bound.host] = None
            if len(self._pinned) > PINNED:
                self._pinned.popitem(last=False)

    def raw(self, flow: tcp.TCPFlow | udp.UDPFlow) -> None:
        """Bytes that are neither TLS nor HTTP: cut on a connection in scope, else passed."""
        client = flow.client_conn
        bound = self._bound.get(client.id)
        if bound is None and flow.server_conn.address:
            host, port = flow.server_conn.address[:2]
            bound = Binding(self._decide(client, None, port, address=host), host, port)
            self._bound[client.id] = bound
        if bound is None or bound.scope.kind != "tunnel" or self.is_gateway(client):
            if bound:
                self._tell(ConnectionKind.REFUSED, client, bound, "not HTTP")
            self.close(client)

    def rule_of(self, flow: http.HTTPFlow) -> HostRule | None:
        """The host rule of an HTTP request that did not come to the gateway; None where it is out of scope.

        A connection stays in scope once it is, whatever a request says of itself; what it says can only bring it under
        a stricter rule, and so can rules that changed since. A plain request to the proxy names its own destination."""
        bound = self._bound.get(flow.client_conn.id)
        request, client = flow.request, flow.client_conn
        if bound and bound.scope.kind != "tunnel":
            says = request.host_header
            if says in (bound.host, bound.sni) and bound.table is self.house.table:
                return bound.scope.rule  # nearly always
            scope = self._decide(client, bound.host, bound.port, sni=bound.sni, host_header=says)
            return scope.rule or bound.scope.rule
        scope = self._decide(client, request.host, request.port, host_header=request.host_header)
        if scope.named_by == "host" and self._egress(request.host, request.port, None):
            return None  # a Host header opens no way into this machine; the second lock refuses it
        return scope.rule if scope.kind != "tunnel" else None

    def is_bare(self, flow: http.HTTPFlow) -> bool:
        """Does this request come to the forward proxy by itself, without a CONNECT that opened its connection?"""
        client = flow.client_conn
        return client.proxy_mode.type_name in ("regular", "upstream") and client.id not in self._bound

    def is_gateway(self, client: connection.Client) -> bool:
        """Did this client come to the gateway?"""
        mode = client.proxy_mode
        return isinstance(mode, ReverseMode) and mode.full_spec == self.house.gateway_spec

    def upstream(self, data: ServerConnectionHookData) -> None:
        """The second lock, before any connection leaves: an LLM host, and any host on a connection in scope, needs
        a call that the stages let through; loopback and our own ports need a rule."""
        why = self._why_not(data.client, *(data.server.address or ("", 0))[:2])
        data.server.error = OURS + why if why else None

    def _why_not(self, client: connection.Client, host: str, port: int) -> str | None:
        carried = is_carrier(client, host, port)
        call = self._approved(client.id, *(("", 0) if carried else (host, port)))
        if call and (carried or _aimed_by_us(call)):
            return None
        scope = self._decide(client, None, port, address=host)
        if not call:
            bound = self._bound.get(client.id)
            passes = bound is not None and bound.scope.kind == "tunnel"
            if scope.kind != "tunnel" and not passes:
                return "no call was allowed to this LLM host"
            if (bound and not passes) or self.is_gateway(client):
                return "no call was allowed on this connection"
        refused = None if carried else self._egress(host, port, scope.rule)
        return f"{host}:{port} {refused}" if refused else None

    def connected(self, data: ServerConnectionHookData) -> None:
        """The name has resolved: what it resolved to is judged as the name was. What passes untouched is counted."""
        client, server = data.client, data.server
        if server.address is None or not server.peername:
            return
        host, port = server.address[:2]
        if is_carrier(client, host, port):
            bound = self._bound.get(client.id)
            if bound and bound.scope.kind == "tunnel":
                self._tell(ConnectionKind.TUNNELLED, client, bound)
            return
        call = self._approved(client.id, host, port)
        if call and _aimed_by_us(call):
            return
        row = self._bound.get(client.id) or Binding(self._decide(client, None, port, address=host), host, port)
        if refused := self._resolved_badly(client, server, host, port):
            self._tell(ConnectionKind.REFUSED, client, row, refused)
            handler = self._handler(client.id)
            writer = handler.transports[server].writer if handler else None
            if writer:
                writer.transport.abort()  # before the first byte: mitmproxy writes to no closing transport
        elif not call:
            self._tell(ConnectionKind.TUNNELLED, client, row)

    def _resolved_badly(self, client: connection.Client, server: connection.Server, host: str, port: int) -> str | None:
        ip, number = (server.peername or ("", 0))[:2]
        return egress_refused(
            ip,
            number,
            own_ports=self.house.own_ports,
            own_addresses=(server.sockname[0],) if server.sockname else (),
            allow=(*self.house.rules.egress.allow, *self._aliases(host, port, ip)),
            listed=self._decide(client, None, port, address=host).rule is not None,
        )

    def _aliases(self, host: str, port: int, resolved: str) -> tuple[str, ...]:
        """An allowed name may resolve to an address that is not listed itself."""
        if f"{host}:{port}" not in self.house.rules.egress.allow:
            return ()
        return (f"[{resolved}]:{port}" if ":" in resolved else f"{resolved}:{port}",)

    def failed(self, data: ServerConnectionHookData) -> None:
        """No connection to the upstream, or none that we allowed."""
        error = data.server.error or ""
        kind = ConnectionKind.REFUSED if error.startswith(OURS) else ConnectionKind.UPSTREAM_FAILED
        self._tell_upstream(kind, data.client, data.server, error)

    def untrusted(self, data: tls.TlsData) -> None:
        """The upstream's TLS failed: its certificate is not to be trusted, or it speaks none."""
        server = data.context.server
        self._tell_upstream(ConnectionKind.UPSTREAM_FAILED, data.context.client, server, data.conn.error or "")

    def _tell_upstream(
        self, kind: ConnectionKind, client: connection.Client, server: connection.Server, error: str
    ) -> None:
        if server.address is None:
            return
        host, port = server.address[:2]
        bound = self._bound.get(client.id)
        scope = bound.scope if bound else self._decide(client, None, port, address=host)
        self._tell(kind, client, Binding(scope, host, port, bound.sni if bound else None), error[:200])

    def close(self, client: connection.Client) -> None:
        """Close a client's connection."""
        if handler := self._handler(client.id):
            handler.close_connection(client)

    def _decide(self, client: connection.Client, host: str | None, port: int, **named: str | None) -> Scope:
        ip, rules = address(client.peername), self.house.rules
        team = team_of(ip, rules)
        today = datetime.now(UTC).date()
        caller = self.callers.get(client.id)
        who = {"team": team, "client": ip, "process": caller.process if caller else None}
        return decide(self.house.table, host, port, today=today, mode=rules.mode(team), **who, **named)

    def _egress(self, host: str, port: int, rule: HostRule | None) -> str | None:
        allow = self.house.rules.egress.allow
        return egress_refused(host, port, own_ports=self.house.own_ports, allow=allow, listed=rule is not None)

    def _tell(self, kind: ConnectionKind, client: connection.Client, bound: Binding, detail: str = "") -> None:
        rule, host = bound.scope.rule.id if bound.scope.rule else None, bound.host
        if kind is ConnectionKind.TUNNELLED and isinstance(client.proxy_mode, TransparentMode):
            host = bound.sni or host  # these are counted by host, and a thousand addresses say nothing
        self.house.connection(Connection(kind, address(client.peername), host, bound.port, bound.sni, rule, detail))


def _aimed_by_us(call: Exchange) -> bool:
    """Did the rules choose where this call goes, and not its client?"""
    return call.via == "gateway" or call.local is not None


def is_carrier(client: connection.Client, host: str, port: int) -> bool:
    """Is this the proxy that mode `upstream:` sends everything through? The operator named it on the command line."""
    mode = client.proxy_mode
    return isinstance(mode, UpstreamMode) and mode.address == (host, port)
