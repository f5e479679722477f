"""The proxy: whether it can be reached from here, and the cgroup by which its own connects are left out.

A cgroup is left out with everyone who is in it, now or later (a login session, a container, the root). So the proxy is
moved into a child of its own, which only root can put processes into; `detach` moves it back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from loader import RedirectError, cgroups, listeners, needs
from loader.settings import Settings, show

_MOVED = re.compile(r"mitmesh-left-out-[0-9]+")
_START = "start it with `bpf/redirect run --as-proxy -- scripts/run --transparent`, or as a service"

Tell = Callable[[str], None]


# --- can it be reached? ---


def check(settings: Settings) -> str | None:
    """What to say where nobody listens in our network namespace; None where somebody does.

    Raises RedirectError where a process listens that we cannot see: its socket could not be found."""
    listening = [(place, number) for place in settings.proxies if (number := listeners.inode(place))]
    for place, number in listening:
        if next(listeners.holders(number), None) is None:
            raise RedirectError(
                f"who listens on {show(place)} cannot be seen from here (another PID namespace, or CAP_SYS_PTRACE is "
                "missing): run this on the host itself, from a container with `nsenter -t 1 -p -m`",
                needs.ELSEWHERE,
            )
    if listening:
        return None
    said = f"nobody listens on {show(settings.proxies[0])} in this network namespace yet"
    if pid := listeners.elsewhere(settings):
        return f"{said}, but somebody does in that of process {pid}: `nsenter -t {pid} -n` runs this there"
    return f"{said}: start the proxy with scripts/run --transparent"


def check_network(there: Settings, here: int) -> None:
    """Raises RedirectError where what is attached turns connections to the loopback of another network namespace than
    ours (`here`): its cookie is compared by the programs, which would refuse them all."""
    looped = [each for each in there.proxies if each[0].is_loopback]
    if not looped or there.netns == here:
        return
    pid = listeners.elsewhere(there)
    how = f"run it there, with `nsenter -t {pid} -n`" if pid else "run it there"
    raise RedirectError(
        f"what is attached turns connections to {show(looped[0])} of another network namespace, whose loopback is not "
        f"this one's: {how}, or detach and attach here",
        needs.ELSEWHERE,
    )


# --- its cgroup ---


def left_out(settings: Settings, chosen: list[Path], tell: Tell) -> list[Path]:
    """The cgroups that hold the proxy's processes and nobody else's, where its connects would come back to it: under
    `--host`, or below the `chosen`. Empty where nobody listens. What cannot be had so is told or, where it would loop
    or leave out everybody, raised (RedirectError)."""
    pids = listeners.proxy_pids(settings)
    places = dict.fromkeys(path for path in map(cgroups.of, pids) if path is not None)
    wanted = [path for path in places if settings.host or any(path.is_relative_to(each) for each in chosen)]
    return [_own(path, [pid for pid in pids if cgroups.of(pid) == path], path in chosen, tell) for path in wanted]


def _own(path: Path, pids: list[int], chosen: bool, tell: Tell) -> Path:
    needed = chosen or path == cgroups.root()
    if is_ours(path):
        return path
    try:
        return _move(pids, path)
    except OSError as error:
        said = f"the proxy (process {pids[0]}) cannot have a cgroup of its own in {path}: {error.strerror}"
        if needed:
            raise RedirectError(f"{said}; {_START}", needs.NO_CGROUP) from None
        tell(f"{said}; whoever is there is not redirected either, {strangers(path, pids)} other processes now")
        return path


def is_ours(path: Path) -> bool:
    """Was it made by a loader, for the proxy alone? Others cannot be put there but by root."""
    made = _MOVED.fullmatch(path.name) or re.fullmatch(r"mitmesh-proxy-[0-9]+", path.name)
    try:
        return bool(made) and path.stat().st_uid == os.geteuid()
    except OSError:
        return False


def strangers(path: Path, pids: list[int]) -> int:
    """How many processes of a cgroup are neither these nor started by them."""
    return len(set(cgroups.processes(path)) - _family(pids))


def _move(pids: list[int], path: Path) -> Path:
    made = path / f"mitmesh-left-out-{pids[0]}"
    made.mkdir(exist_ok=True)
    try:
        for pid in pids:
            cgroups.put(made, pid)
        for _ in range(20):
            for pid in _family(pids) & set(cgroups.processes(path)):  # started before, or meanwhile
                cgroups.put(made, pid)
    except OSError:
        _dissolve(made)
        raise
    return made


def _family(pids: list[int]) -> set[int]:
    """These, and all that they started."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(words[1])
    found = set(pids)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def give_back() -> None:
    """Move what was moved to where it was; the cgroups made for it go."""
    for path in list(_moved()):
        _dissolve(path)


def forget() -> None:
    """Cgroups of proxies that have ended go."""
    for path in list(_moved()):
        try:
            path.rmdir()
        except OSError:
            continue  # it is in use


def _moved() -> Iterator[Path]:
    return (path for path in cgroups.walk(cgroups.root()) if _MOVED.fullmatch(path.name) and is_ours(path))


def _dissolve(path: Path) -> None:
    for _ in range(100):
        for pid in cgroups.processes(path):
            cgroups.put(path.parent, pid)
        try:
            path.rmdir()
        except OSError:
            continue
        return
