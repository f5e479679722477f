"""attach, detach, status and run."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from loader import RedirectError, cgroups, command, hosts, listeners, needs, nft, pods, programs
from loader.follow import Follower, Resolver
from loader.redirection import Redirection, Why, proxy_cgroup
from loader.settings import Address, Settings, place, show

RULES = Path(__file__).resolve().parents[2] / "rules"
PROXIES = ("127.0.0.1:8443", "[::1]:8443")
OWN = (8080, 8081)
MARK = 0
"""Under this id, which no cgroup has, stands that a `run` attached."""

_OURS = re.compile(r"mitmesh-(run|proxy)-[0-9]+")
"""Cgroups that `run` makes; others are not ours to remove."""

Tell = Callable[[str], None]


def wanted(options: argparse.Namespace) -> Settings:
    """The settings that a command line asks for. Raises RedirectError."""
    host = getattr(options, "host", False) and ("all" if options.all_443 else "listed")
    return Settings(
        proxies=tuple(place(text) for text in options.proxy or PROXIES),
        ports=tuple(options.port or (443,)),
        own=tuple(options.own_port or OWN),
        when_down=options.when_down,
        host=host or None,
    )


def attach(options: argparse.Namespace, tell: Tell) -> int:
    """Redirect as the command line says; what an attach before had chosen is chosen no more."""
    settings = wanted(options)
    choice = pods.Choice(options.pods)
    if choice.needs_metadata and options.pods and not options.pod_metadata:
        raise RedirectError("pods by namespace or label need --pod-metadata", 2)
    if options.engine == "nft":
        return _attach_nft(options, settings, tell)
    if options.pods and (own := [each for each in settings.proxies if each[0].is_loopback]):
        raise RedirectError(f"pods cannot reach {show(own[0])}: give the proxy's address on this node as --proxy", 2)
    _check()
    chosen = [cgroups.find(name) for name in options.cgroup]
    names = hosts.Names(hosts.read(Path(options.rules or RULES))) if settings.host == "listed" else None
    proxy = _left_out(settings, options.proxy_cgroup) or _inside(settings, chosen)
    with programs.alone():
        _forget_dead()
        redirection = Redirection.attach(settings, {cgroups.identity(proxy)} if proxy else set(), options.entries)
        redirection.choose_only({cgroups.identity(path) for path in chosen}, Why.ASKED)
        redirection.unchoose(MARK)
    follower = Follower(redirection, tell)
    follower.find_proxy = bool(settings.host) and not options.proxy_cgroup
    if names:
        follower.names = names
        Resolver(names, redirection.learn).once()
        if names.wild:
            tell(f"{len(names.wild)} patterns with * are learned from DNS answers alone; --all-443 closes this gap")
    if options.pods:
        told = options.pod_metadata
        read = pods.source(told, options.kubelet_token, options.kubelet_ca) if told else None
        follower.watch = pods.Watch(choice, read, tell)
        redirection.choose_only(follower.watch.chosen(), Why.POD)
    else:
        redirection.choose_only(set(), Why.POD)
    tell(f"redirecting to {', '.join(map(show, settings.proxies))} until `bpf/redirect detach`")
    if follower.needed:
        follower.run()
    return 0


def _attach_nft(options: argparse.Namespace, settings: Settings, tell: Tell) -> int:
    if options.pods:
        raise RedirectError("--engine nft cannot choose pods; use --host or --cgroup", 2)
    if settings.when_down == "pass":
        raise RedirectError("--engine nft cannot pass when the proxy is down; connects are refused then", 2)
    if os.geteuid():
        raise RedirectError("not root: CAP_NET_ADMIN missing; run it with sudo", needs.NO_RIGHTS)
    chosen = [cgroups.find(name) for name in options.cgroup]
    proxy = _left_out(settings, options.proxy_cgroup) or _inside(settings, chosen)
    listed: set[Address] = set()
    if settings.host == "listed":
        names = hosts.Names(hosts.read(Path(options.rules or RULES)))
        listed = hosts.resolve(names.plain) | names.addresses
        tell("addresses are resolved once with nft; attach again to renew them")
    nft.apply(nft.script(settings, chosen, proxy, listed))
    tell("redirecting with nftables until `bpf/redirect detach`; without BPF nobody's identity is known")
    return 0


def _left_out(settings: Settings, named: str | None) -> Path | None:
    """The proxy's cgroup, where its connections must be left out. Raises RedirectError where it is not known."""
    proxy = proxy_cgroup(settings, named) if settings.host or named else None
    if settings.host and proxy is None:
        raise RedirectError(
            f"nothing listens on {show(settings.proxies[0])}: start the proxy, or name its cgroup with --proxy-cgroup",
            needs.NO_CGROUP,
        )
    return proxy


def _inside(settings: Settings, chosen: list[Path]) -> Path | None:
    """The proxy's cgroup, where it lies below a chosen one: its own connects would come back to it for ever.

    Raises RedirectError where it is a chosen one itself: its processes cannot be told from the clients."""
    pid = listeners.proxy_pid(settings)
    path = cgroups.of(pid) if pid else None
    if path is None or not any(path.is_relative_to(each) for each in chosen):
        return None
    if path in chosen:
        raise RedirectError(
            f"the proxy (process {pid}) is in {path} itself: start it in a cgroup of its own, with "
            "`bpf/redirect run --as-proxy -- scripts/run --transparent`",
            needs.NO_CGROUP,
        )
    return path


def detach(tell: Tell) -> int:
    """Take away all of ours."""
    needs.check_rights()
    said = []
    with programs.alone():
        _forget_dead()
        if found := Redirection.found():
            found.detach()
            said.append("detached")
    if nft.exists():
        nft.remove()
        said.append("removed the nftables table")
    pods.PODS_FILE.unlink(missing_ok=True)
    tell(" and ".join(said) or "nothing of ours is attached")
    return 0


def status() -> dict[str, object]:
    """What hangs there, for people and programs."""
    needs.check_rights()
    found = Redirection.found()
    engine = "bpf" if found else "nft" if nft.exists() else None
    if found is None:
        return {"attached": engine or "no"}
    here = found.settings
    names = {cgroups.identity(path): str(path.relative_to(cgroups.root())) for path in cgroups.walk(cgroups.root())}
    return {
        "attached": engine,
        "current": "yes" if found.version == programs.version() else "no: another version; attach again",
        "proxy": [show(each) for each in here.proxies],
        "ports": list(here.ports),
        "own_ports": list(here.own),
        "when_down": here.when_down,
        "host": here.host or "no",
        "cgroups": [f"/{names.get(each, f'gone ({each})')}" for each in found.chosen() if each != MARK],
        "exempt": [f"/{names.get(each, f'gone ({each})')}" for each in found.exempt()],
        "addresses": len(found.listed()),
        "counts": found.counts(),
    }


def run(options: argparse.Namespace, words: list[str], tell: Tell) -> int:
    """One command in a cgroup of its own; what was attached for it goes with it."""
    _check()
    ca = command.bundle(options.ca)
    if ca is None and not options.as_proxy:
        tell("no certificates found; start mitmesh with scripts/run first, or give --ca FILE")
    with programs.alone():
        _forget_dead()
        redirection = None if options.as_proxy else _for_run(wanted(options))
        cgroup = cgroups.make(f"mitmesh-{'proxy' if options.as_proxy else 'run'}-{os.getpid()}")
        if redirection:
            redirection.choose(cgroups.identity(cgroup), Why.RUN)
    identity = cgroups.identity(cgroup)
    code = command.wait(command.start(words, cgroup, command.environment(None if options.as_proxy else ca)))
    if left := command.left(cgroup):
        tell(f"{left} processes of it still run, in {cgroup}; they stay as they are")
        return code
    if redirection:
        with programs.alone():
            redirection.unchoose(identity)
            if set(redirection.chosen()) == {MARK}:
                redirection.detach()
    return code


def _for_run(settings: Settings) -> Redirection:
    """What is attached, where it goes to the same proxy; else our own, which goes with the last run."""
    if found := Redirection.found():
        if found.version == programs.version():
            here = found.settings
            if here.proxies != settings.proxies:
                raise RedirectError(
                    f"redirecting to {', '.join(map(show, here.proxies))} already: detach, or give it as --proxy",
                    needs.TAKEN,
                )
            missing = tuple(port for port in settings.ports if port not in here.ports)
            if missing:
                found.configure(replace(here, ports=here.ports + missing))
            return found
        found.close()
    redirection = Redirection.attach(settings)
    redirection.choose(MARK, Why.TRANSIENT)
    return redirection


def _forget_dead() -> None:
    """Removes empty cgroups of runs whose loader is gone (killed, or processes outlived it); forgets their ids."""
    ours = [path for path in cgroups.root().glob("mitmesh-*") if _OURS.fullmatch(path.name)]
    for path in ours:
        if not Path("/proc", path.name.rpartition("-")[2]).exists():
            command.left(path)
    alive = {cgroups.identity(path) for path in ours if path.exists()}
    if found := Redirection.found():
        for identity, why in found.chosen().items():
            if why is Why.RUN and identity not in alive:
                found.unchoose(identity)


def _check() -> None:
    needs.check_rights()
    needs.check_kernel()
    cgroups.root()
