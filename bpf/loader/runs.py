"""run: one command in a cgroup of its own, beside other runs and beside an attach, whose settings it never changes."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path

from loader import RedirectError, cgroups, command, needs, programs, proxy
from loader import settings as settings_
from loader.redirection import Redirection, Why
from loader.settings import Settings, show

MARK = 0
"""Under this id, which no cgroup has, stands that a `run` attached."""

_OURS = re.compile(r"mitmesh-(run|proxy)-[0-9]+")
"""Cgroups that `run` makes; others are not ours to remove."""

Tell = Callable[[str], None]


def run(options: argparse.Namespace, words: list[str], tell: Tell) -> int:
    """One command in a cgroup of its own; what was attached for it goes with it."""
    programs.check()
    ca = command.bundle(options.ca)
    if ca is None and not options.as_proxy:
        tell("no certificates found; start mitmesh with scripts/run first, or give --ca FILE")
    with programs.alone():
        forget_dead()
        redirection = None if options.as_proxy else _attached(options, tell)
        cgroup = cgroups.make(f"mitmesh-{'proxy' if options.as_proxy else 'run'}-{os.getpid()}")
        if redirection:
            redirection.choose(cgroups.identity(cgroup), Why.RUN)
            redirection.close()
    identity = cgroups.identity(cgroup)
    code = command.wait(command.start(words, cgroup, command.environment(None if options.as_proxy else ca)))
    if left := command.left(cgroup):
        tell(f"{left} processes of it still run, in {cgroup}; they stay as they are")
        return code
    if redirection:
        with programs.alone():
            _end(identity)
    return code


def _end(identity: int) -> None:
    """Forget a run that has ended; the last one takes away what a run attached."""
    if found := Redirection.found():
        found.unchoose(identity)
        if set(found.chosen()) == {MARK}:
            found.detach()


def _attached(options: argparse.Namespace, tell: Tell) -> Redirection:
    """What is attached, where it does what is asked; else our own. Raises RedirectError."""
    wanted = settings_.asked(options)
    if found := Redirection.found():
        if not found.whole:
            raise RedirectError("what is attached is of another version, or not whole: attach again", needs.TAKEN)
        proxy.check_network(found.settings, settings_.netns_cookie())
        if said := _missing(options, wanted, found.settings):
            raise RedirectError(f"{said}: ask for the same, or detach", needs.TAKEN)
    if said := proxy.check(wanted):
        tell(said)
    if found:
        return found
    redirection = Redirection.attach(wanted)
    redirection.choose(MARK, Why.TRANSIENT)
    return redirection


def _missing(options: argparse.Namespace, wanted: Settings, here: Settings) -> str | None:
    """What a run asks for that is not so in what is attached; what it does not ask for may be as it is."""
    if here.proxies != wanted.proxies:
        return f"what is attached redirects to {', '.join(map(show, here.proxies))}"
    if options.when_down and options.when_down != here.when_down:
        return f"what is attached has --when-down {here.when_down}"
    if ports := set(options.port or ()) - set(here.ports):
        return f"what is attached does not redirect port {min(ports)}"
    if ports := set(options.own_port or ()) - set(here.own):
        return f"what is attached has no --own-port {min(ports)}"
    return None


def running(found: Redirection) -> list[int]:
    """The ids of the cgroups of runs."""
    return [identity for identity, why in found.chosen().items() if why is Why.RUN]


def check_running(wanted: Settings) -> None:
    """Raises RedirectError where commands of `run` go elsewhere than these settings would have them go."""
    found = Redirection.found()
    count = len(running(found)) if found else 0
    if not found or not count:
        return
    here = found.settings if found.version else None
    same = here and (here.proxies, here.when_down, here.netns) == (
        wanted.proxies,
        wanted.when_down,
        settings_.netns_cookie(),
    )
    if here and same and set(here.ports) <= set(wanted.ports) and set(here.own) <= set(wanted.own):
        return
    how = f"to {', '.join(map(show, here.proxies))}, ports {', '.join(map(str, here.ports))}" if here else "otherwise"
    raise RedirectError(
        f"{count} commands of `bpf/redirect run` are redirected {how}, --when-down {here.when_down if here else '?'}: "
        "attach the same way, or end them first",
        needs.TAKEN,
    )


def forget_dead() -> None:
    """Removes empty cgroups of runs whose loader is gone (killed, or processes outlived it), and of proxies that have
    ended; forgets their ids."""
    ours = [path for path in cgroups.root().glob("mitmesh-*") if _OURS.fullmatch(path.name)]
    for path in ours:
        if not Path("/proc", path.name.rpartition("-")[2]).exists():
            command.left(path)
    proxy.forget()
    alive = {cgroups.identity(path) for path in ours if path.exists()}
    if found := Redirection.found():
        for identity in running(found):
            if identity not in alive:
                found.unchoose(identity)
