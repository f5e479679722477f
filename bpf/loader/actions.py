"""attach, detach and status."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from loader import RedirectError, cgroups, hosts, needs, nft, pods, programs, proxy, runs
from loader import settings as settings_
from loader.follow import Follower, Resolver
from loader.redirection import Redirection, Why
from loader.settings import Address, Settings, show

RULES = Path(__file__).resolve().parents[2] / "rules"

Tell = Callable[[str], None]


def attach(options: argparse.Namespace, tell: Tell) -> int:
    """Redirect as the command line says; what an attach before had chosen is chosen no more."""
    settings = settings_.asked(options)
    choice = pods.Choice(options.pods)
    if choice.needs_metadata and options.pods and not options.pod_metadata:
        raise RedirectError("pods by namespace or label need --pod-metadata", 2)
    if options.engine == "nft":
        return _attach_nft(options, settings, tell)
    if options.pods and (own := [each for each in settings.proxies if each[0].is_loopback]):
        raise RedirectError(f"pods cannot reach {show(own[0])}: give the proxy's address on this node as --proxy", 2)
    programs.check()
    chosen = [cgroups.find(name) for name in options.cgroup]
    names = hosts.Names(hosts.read(Path(options.rules or RULES))) if settings.host == "listed" else None
    down = proxy.check(settings)
    with programs.alone():
        runs.forget_dead()
        runs.check_running(settings)
        exempt = _left_out(options, settings, chosen, tell)
        redirection = Redirection.attach(settings, set(map(cgroups.identity, exempt)), options.entries)
        redirection.choose_only({cgroups.identity(path) for path in chosen}, Why.ASKED)
        redirection.unchoose(runs.MARK)
        if nft.exists():
            nft.remove()  # it was attached before us
    follower = Follower(redirection, tell)
    if names:
        follower.names = names
        Resolver(names, follower.learn).once()
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
    if down:
        tell(down)
    if (settings.host or options.pods) and not options.proxy_cgroup:
        follower.find_proxy = lambda: set(map(cgroups.identity, _left_out(options, settings, chosen, tell)))
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
    listed: set[Address] = set()
    if settings.host == "listed":
        names = hosts.Names(hosts.read(Path(options.rules or RULES)))
        listed = hosts.resolve(names.plain) | names.addresses
        tell("addresses are resolved once with nft; attach again to renew them")
    with programs.alone():
        found = _bpf()
        if found and runs.running(found):
            raise RedirectError("commands of `bpf/redirect run` are redirected by BPF: end them first", needs.TAKEN)
        nft.apply(nft.script(settings, chosen, _left_out(options, settings, chosen, tell), listed))
        if found:
            found.detach()  # it was attached before us
    tell("redirecting with nftables until `bpf/redirect detach`; without BPF nobody's identity is known")
    return 0


def _bpf() -> Redirection | None:
    """What hangs there of BPF; nothing where there can be none."""
    try:
        return Redirection.found()
    except (RedirectError, OSError):
        return None


def _left_out(options: argparse.Namespace, settings: Settings, chosen: list[Path], tell: Tell) -> list[Path]:
    """The proxy's cgroups, where its connections must be left out. Raises RedirectError where they are not known."""
    if options.proxy_cgroup:
        named = cgroups.find(options.proxy_cgroup)
        if named == cgroups.root():
            raise RedirectError("--proxy-cgroup cannot be the root, which everyone is in", needs.NO_CGROUP)
        return [named]
    trees = chosen + (pods.roots() if options.pods else [])
    found = proxy.left_out(settings, trees, tell)
    if settings.host and not found:
        raise RedirectError(f"{proxy.check(settings)}, or name its cgroup with --proxy-cgroup", needs.NO_CGROUP)
    return found


def detach(tell: Tell) -> int:
    """Take away all of ours."""
    needs.check_rights()
    said = []
    with programs.alone():
        runs.forget_dead()
        if found := Redirection.found():
            if running := len(runs.running(found)):
                tell(f"{running} commands of `bpf/redirect run` are redirected no more")
            found.detach()
            said.append("detached")
        if nft.exists():
            nft.remove()
            said.append("removed the nftables table")
        proxy.give_back()
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
        "network": "this one" if here.netns == settings_.netns_cookie() else "another network namespace",
        "ports": list(here.ports),
        "own_ports": list(here.own),
        "when_down": here.when_down,
        "host": here.host or "no",
        "cgroups": [f"/{names.get(each, f'gone ({each})')}" for each in found.chosen() if each != runs.MARK],
        "exempt": [f"/{names.get(each, f'gone ({each})')}" for each in found.exempt()],
        "addresses": len(found.listed()),
        "counts": found.counts(),
    }
