"""The process's life: build the house, open its sockets, follow its rules, drain, close."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mitmproxy.proxy.mode_specs import ProxyMode, UpstreamMode

from mitmesh import ca, demo, gateway, options, pac, runfile
from mitmesh.ca.signing import Store
from mitmesh.catalog import CATALOG, Site
from mitmesh.control import Control
from mitmesh.guard import where
from mitmesh.house import House, Phase
from mitmesh.kernel import Kernel
from mitmesh.live.server import LivePages
from mitmesh.loopback import Loopback
from mitmesh.redaction.output import Proxy
from mitmesh.rules import Rules, RulesError, fingerprint, fingerprint_of, load
from mitmesh.rules.quotas import team_limits
from mitmesh.scope import HostTable
from mitmesh.stages.cache import Cache
from mitmesh.stages.commit import Commit
from mitmesh.stages.live import Live
from mitmesh.stages.metrics import Metrics
from mitmesh.stages.quota import Quota
from mitmesh.store.errors import AuditError

if TYPE_CHECKING:
    from mitmesh.calls import Calls

log = logging.getLogger(__name__)

SHIPPED_RULES = Path(__file__).parents[2] / "rules"
POLL = 0.5
"""Seconds between two looks at the rules files."""

HANG_UP = 1.0
"""Seconds that clients' connections have to close at the end."""


TEAM_LIMITS = ("mesh_team_limits", "mesh_warn_at", "mesh_hard_stop_at")
"""Options that become limits: noted, for scripts/quota to know them."""
SETTLED = ("mode", "listen_host", "listen_port")
"""Options of mitmproxy's that say where it listens."""


class StartError(Exception):
    """The process cannot govern calls; the message says why and what to do."""


class Life:
    """One run of the engine under a mitmproxy master, with the stages named."""

    house: House
    control: Control

    def __init__(self, master: Any, names: Iterable[str]) -> None:
        self._master, self._options = master, master.options
        self._names = frozenset(names)
        self._rules = Path(self._options.mesh_rules or SHIPPED_RULES).expanduser()
        self._data = Path(self._options.mesh_data or "~/.mitmesh").expanduser()
        self.kernel = Kernel(Path(self._options.mesh_pods) if self._options.mesh_pods else None)
        self._tasks: set[asyncio.Task[None]] = set()
        self._places: dict[str, str] = {}
        self._file: runfile.RunFile | None = None
        self._named: tuple[Path, ...] = ()
        """Files that rules name: looked at as theirs are."""

    async def build(self) -> House:
        """Check the options, load the rules, start the stages. Raises SystemExit with one clear line logged."""
        try:
            self._check()
            seen = fingerprint(self._rules)
            rules = await asyncio.to_thread(self._load)
            self._named = rules.named_files()
            named_seen = fingerprint_of(self._named)
            self._signers = await asyncio.to_thread(ca.prepare, self._data / "ca", rules)
            self._seen = seen, ca.fingerprint(self._data / "ca"), named_seen
            trust = self._options.ssl_verify_upstream_trusted_ca
            serve = demo.serve if self._options.mesh_demo else None
            site = Site(self._data, self._names, serve, trust, self._corporate())
            stages = [CATALOG[name](site) for name in self._names]
            self.house = House(stages, rules, HostTable(rules.hosts), Loopback())
            self.house.configure(rules, self.house.table)
            await asyncio.gather(self.house.loopback.start(), *(stage.start() for stage in stages))
        except Exception as error:  # noqa: BLE001 # whatever it is, calls cannot be governed
            fail(error)
        return self.house

    def sign(self) -> None:
        """Let our CA sign, and not the one that mitmproxy made of its `confdir`."""
        self._master.addons.get("tlsconfig").certstore = Store(self._signers, self._data / "ca")

    async def open(self, calls: Calls) -> None:
        """Open the sockets, control first, and be ready. Raises SystemExit where a port is taken."""
        self._watch(calls)
        self.sign()  # from here on the engine does it again whenever mitmproxy has loaded its own
        try:
            await self._listen()
        except Exception as error:  # noqa: BLE001 # as above
            fail(error)
        self.house.phase = Phase.READY
        self._note()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told, calls)
        self._keep(self._follow())
        stages = " ".join(stage.name for stage in self.house.stages)
        log.info("mitmesh is ready: proxy %s, gateway %s, control %s", *list(self._places.values())[:3])
        log.info("mitmesh stages: %s; rules %s; audit in %s", stages, self.house.rules.version, self._data)
        self._warn()
        gc.collect()
        gc.freeze()  # a hundred thousand objects that stay need not be looked at again and again
        gc.set_threshold(10_000, 20, 10)

    async def close(self, calls: Calls) -> None:
        """Finish every open exchange, then let go of everything."""
        self.house.phase = Phase.STOPPED
        for task in self._tasks:
            task.cancel()
        await calls.close()
        await self._hang_up()
        for stage in self.house.stages:
            try:
                await stage.stop()
            except Exception as error:  # noqa: BLE001 # as the guard's: the others must still stop
                self.house.guard.note(stage.name, "stop", error)
        await asyncio.gather(self.house.loopback.stop(), self.control.stop(), return_exceptions=True)
        try:
            if self._file:
                self._file.leave()
        except OSError as error:
            log.warning("mitmesh: %s cannot be written: %s", runfile.NAME, error.strerror)

    async def _hang_up(self) -> None:
        """Close the clients' connections: asyncio would print a traceback for each that is open at the end."""
        connections, loop = self._master.addons.get("proxyserver").connections, asyncio.get_running_loop()
        for handler in list(connections.values()):
            transport = handler.transports.get(handler.client)
            if transport and transport.handler:
                handler.close_connection(handler.client)
        deadline = loop.time() + HANG_UP
        while connections and loop.time() < deadline:  # noqa: ASYNC110 # mitmproxy has no event for it
            await asyncio.sleep(0.01)

    def moved(self, updated: set[str]) -> str | None:
        """Would this change where we listen, once we do? The name of the option."""
        ready = self.house.phase is Phase.READY
        return next((name for name in SETTLED if name in updated), None) if ready else None

    def _check(self) -> None:
        if unknown := sorted(self._options.deferred):
            raise StartError(f"mitmproxy has no option {unknown[0]!r}: is it misspelt in config.yaml or after --set?")
        if problem := options.violation(self._options):
            raise StartError(problem)
        if "cache" in self._names and "redact" not in self._names:
            raise StartError("the cache keeps answers, so it does not start without redact: load addons/redact.py too")
        os.environ.pop("SSLKEYLOGFILE", None)  # it would write every session's key
        try:
            self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"mesh_data {self._data} cannot be used: {error.strerror}") from None

    async def _listen(self) -> None:
        opts, proxyserver = self._options, self._master.addons.get("proxyserver")
        control = options.host_port(opts.mesh_control, "mesh_control") if opts.mesh_control else None
        if control:
            try:
                await self.control.start(*control)
            except OSError as error:
                raise StartError(f"mesh_control {opts.mesh_control}: {error.strerror or error}") from None
        modes = self._modes()
        opts.update(mode=modes, server=True)
        await proxyserver.setup_servers()
        for server in proxyserver.servers:
            if not server.is_running:
                option = "mesh_gateway" if server.mode.full_spec == self.house.gateway_spec else "mesh_listen"
                raise StartError(f"{option}: {server.last_exception or 'the port could not be opened'}")
        listening = {server.mode.full_spec: server.listen_addrs for server in proxyserver.servers}
        first = next(iter(listening.values()))
        gate = listening.get(self.house.gateway_spec)
        self.house.own_ports = frozenset(
            [address[1] for addresses in listening.values() for address in addresses]
            + [self.house.loopback.port]
            + ([int(self.control.address.rpartition(":")[2])] if control else [])
        )
        self._places = {"proxy": _text(first), "gateway": _text(gate), "control": self.control.address or "none"}
        if turned := [_text(at) for spec, at in listening.items() if spec.startswith("transparent")]:
            self._places["transparent"] = ",".join(turned)
            log.info("mitmesh takes redirected connections at %s", self._places["transparent"])

    def _modes(self) -> list[str]:
        """The modes asked for on mitmproxy's command line, else the forward proxy on loopback; and the gateway."""
        opts = self._options
        if list(opts.mode) == ["regular"]:
            host, port = options.host_port(opts.mesh_listen, "mesh_listen")
            modes = [f"regular@{opts.listen_host or host}:{opts.listen_port or port or _free()}"]
        else:
            modes = [_placed(spec, opts.mesh_listen) if opts.listen_port is None else spec for spec in opts.mode[:1]]
            modes += opts.mode[1:]
            if not opts.listen_host:
                opts.update(listen_host="127.0.0.1")
        for spec in filter(None, opts.mesh_transparent.split(",")):
            host, port = options.host_port(spec.strip(), "mesh_transparent")
            modes.append(f"transparent@{host}:{port or _free()}")
        if opts.mesh_gateway and "route" in self._names:  # without route it could only say no
            host, port = options.host_port(opts.mesh_gateway, "mesh_gateway")
            self.house.gateway_spec = f"{gateway.SPEC}@{host}:{port or _free()}"
            modes.append(self.house.gateway_spec)
        return modes

    def _corporate(self) -> Proxy | None:
        """The proxy that mitmproxy's `upstream:` mode names; what we send ourselves goes through it too."""
        modes = (ProxyMode.parse(spec) for spec in self._options.mode)
        upstream = next((mode for mode in modes if isinstance(mode, UpstreamMode)), None)
        if upstream is None:
            return None
        host, port = upstream.address
        return Proxy(f"{upstream.scheme}://{f'[{host}]' if ':' in host else host}:{port}", self._options.upstream_auth)

    def _watch(self, calls: Calls) -> None:
        """Wire what is read when asked: /health, /metrics and /live."""
        house = self.house
        metrics = next((stage for stage in house.stages if isinstance(stage, Metrics)), None)
        commit = next((stage for stage in house.stages if isinstance(stage, Commit)), None)
        cache = next((stage for stage in house.stages if isinstance(stage, Cache)), None)
        if metrics:
            metrics.watched.open_exchanges = lambda: len(calls.open)
            metrics.watched.stage_failures = lambda: house.guard.failures
            if commit:
                metrics.watched.audit = commit.counters
            if cache:
                metrics.watched.cache = cache.counters
            if quota := next((stage for stage in house.stages if isinstance(stage, Quota)), None):
                metrics.watched.quota, metrics.watched.quota_lost = quota.rows, quota.lost
        rendered = (lambda: (metrics.render(), metrics.content_type)) if metrics else None
        live = next((stage for stage in house.stages if isinstance(stage, Live)), None)
        if live:
            live.running = calls.open.values
        self.control = Control(house.health, rendered, self._pac, LivePages(live).add_to if live else None)

    def _pac(self, name: str) -> str:
        host, _, port = self._places.get("proxy", "127.0.0.1:0").rpartition(":")
        return pac.script(self.house.rules.hosts, f"{name if host in ('0.0.0.0', '::', '*') else host}:{port}")

    def _warn(self) -> None:
        """Say loudly which stages may fail without consequence."""
        for name, how in self.house.rules.mesh.fail_mode.items():
            if how == "open":
                log.warning("mitmesh: FAIL OPEN is set for stage %s: calls go on without it when it fails", name)

    def _note(self) -> None:
        """Write where things are, for scripts, tests and people."""
        limits = {name: getattr(self._options, name) for name in TEAM_LIMITS} if self._options.mesh_team_limits else {}
        self._file = runfile.RunFile(self._data, self._places, {"rules": str(self._rules.absolute()), **limits})
        self._file.write()

    def _load(self) -> Rules:
        """The rules of the files, and the teams' limits that this run was given."""
        rules, opts = load(self._rules), self._options
        limits = team_limits(rules.quotas, opts.mesh_team_limits, opts.mesh_warn_at, opts.mesh_hard_stop_at)
        return rules if limits is rules.quotas else replace(rules, quotas=limits)

    def _state(self) -> tuple[Any, ...]:
        """What changes when a rules file does, or one that rules name, or when another CA is to sign. And run.json is
        kept."""
        if self._file and self.house.phase is Phase.READY:
            self._file.keep()
        return fingerprint(self._rules), ca.fingerprint(self._data / "ca"), fingerprint_of(self._named)

    async def _follow(self) -> None:
        """Apply changed rules files; a bad one leaves the old rules in force, and says so."""
        while True:
            await asyncio.sleep(POLL)
            try:
                seen = await asyncio.to_thread(self._state)
                if seen == self._seen:
                    continue
                self._seen = seen
                rules = await asyncio.to_thread(self._load)
                self._named = rules.named_files()  # of the new rules, which may wait for one of them
                self._seen = *seen[:2], fingerprint_of(self._named)
                signers = await asyncio.to_thread(ca.prepare, self._data / "ca", rules)
                self.house.configure(rules, HostTable(rules.hosts))
                self._signers = signers
                self.sign()
                self.house.problem = None
                log.info("mitmesh: rules %s are in force", rules.version)
                self._warn()
            except RulesError as error:
                self.house.problem = f"{error}; the rules before it stay in force"
                log.error("mitmesh: %s", self.house.problem)
            except Exception as error:  # noqa: BLE001 # the old rules stay in force whatever it is
                self.house.problem = f"rules could not be read ({where(error)}); the rules before stay in force"
                log.error("mitmesh: %s", self.house.problem)

    def _told(self, calls: Calls) -> None:
        """SIGTERM or SIGINT: drain, the second time stop at once."""
        if self.house.phase is Phase.READY:
            self.house.phase = Phase.DRAINING
            self._keep(self._drain(calls))
        else:
            self._master.shutdown()

    async def _drain(self, calls: Calls) -> None:
        """Take no new call, and give those in flight their time."""
        deadline = asyncio.get_running_loop().time() + self._options.mesh_drain
        self._options.update(server=False)
        if calls.open:
            log.info("mitmesh: %d calls are in flight; they have %d s", len(calls.open), self._options.mesh_drain)

        while calls.open and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        self._master.shutdown()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def fail(error: Exception) -> NoReturn:
    """End the process with one clear line: it cannot govern calls."""
    known = isinstance(error, (StartError, RulesError, AuditError, ValueError))
    said = str(error) if known else f"could not start: {type(error).__name__}: {error}"
    log.error("mitmesh: %s", said)
    sys.exit(1)


def _free() -> int:
    """A free loopback port; mitmproxy takes two servers on port 0 for the same address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _text(addresses: Any) -> str:
    if not addresses:
        return "none"
    host, port = addresses[0][:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _placed(spec: str, listen: str) -> str:
    """A mode of mitmproxy's that says no address (`upstream:http://proxy:3128`), at that of mesh_listen."""
    mode = ProxyMode.parse(spec)
    if mode.custom_listen_port is not None or mode.type_name not in ("regular", "upstream", "reverse", "socks5"):
        return spec
    host, port = options.host_port(listen, "mesh_listen")
    return f"{spec}@{mode.custom_listen_host or host}:{port or _free()}"
