"""`python -m mitmesh.launch`: start all, say where it is, wait, end all."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mitmesh.launch import ROOT, LaunchError, browse, command, home, ports, ready, trust
from mitmesh.launch.children import Children
from mitmesh.rules.quotas import Quotas, team_limits

PORTS = {"--port": 8080, "--gateway-port": 8081, "--control-port": 9090, "--browse-port": browse.PORT}

READY = """
mitmesh is ready
  proxy    http://{proxy}
  gateway  http://{gateway}  (base URL for SDKs)
  live     http://{control}/live  (also /health, /metrics; scripts/tail in a terminal)
  audit    {audit}
  CA       {ca}
Try it in another terminal; your own tools too: scripts/exec -- claude (or codex, gemini, bash ...)
  {script} -- curl -N https://api.openai.com/v1/chat/completions {key}-H 'Content-Type: application/json' \
-d '{{"model":"gpt-4o-mini","stream":true,"messages":[{{"role":"user","content":"Say hello"}}]}}'
Ctrl-C ends it.
"""
TURNED = """  turned   {transparent}  (sudo bpf/redirect run -- COMMAND; docs/transparent.md)
"""
KEY = '-H "Authorization: Bearer $OPENAI_API_KEY" '


def parser() -> argparse.ArgumentParser:
    """The options of scripts/run; its own --help repeats them."""
    made = argparse.ArgumentParser(prog="scripts/run", usage="%(prog)s [options] [-- mitmdump arguments]")
    made.add_argument("--demo", action="store_true", help="answer LLM calls from a built-in provider, without any key")
    made.add_argument(
        "--transparent",
        type=int,
        nargs="?",
        const=8443,
        metavar="N",
        help="listen for connections that bpf/redirect turns here, on 127.0.0.1 and ::1; port 8443",
    )
    made.add_argument(
        "--team-limit",
        action="append",
        default=[],
        metavar="TEAM=N",
        help="tokens that a team may use in a month; may be given for each team",
    )
    made.add_argument(
        "--warn-at",
        type=int,
        default=80,
        metavar="N",
        help="percent of it that warns; 80, or 80 percent of a lower hard stop",
    )
    made.add_argument("--hard-stop-at", type=int, default=100, metavar="N", help="percent of it that refuses; 100")
    for option, port in PORTS.items():
        made.add_argument(option, type=int, default=port, metavar="N", help=f"default {port}; 0 is any free port")
    return made


def limits(options: argparse.Namespace) -> dict[str, str]:
    """The teams' limits of this run, as options of ours. Raises LaunchError for what is none."""
    spec = ",".join(options.team_limit)
    try:
        team_limits(Quotas(), spec, options.warn_at, options.hard_stop_at)
    except ValueError as error:
        raise LaunchError(f"--team-limit: {str(error).splitlines()[0]}") from None
    names = ("mesh_team_limits", "mesh_warn_at", "mesh_hard_stop_at")
    return dict(zip(names, (spec, str(options.warn_at), str(options.hard_stop_at)), strict=True)) if spec else {}


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Makes the folder of all state, for its owner alone, and holds it for this run. Raises LaunchError."""
    try:
        for each in (folder, folder / "ca"):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
            each.chmod(0o700)
        lock = (folder / "launch.lock").open("w")
    except OSError as error:
        raise LaunchError(f"{folder} cannot be used ({error.strerror}): set MITMESH_HOME to another folder") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LaunchError(f"it runs on {folder} already: stop it, or set MITMESH_HOME to another folder") from None
        (folder / "run.json").unlink(missing_ok=True)  # left by a run that was killed
        yield


async def start(children: Children, proxy: list[str], folder: Path, browse_port: int, demo: bool) -> None:
    """Start all, and say where it is. Raises LaunchError if it does not become ready."""
    pid = await children.start("mitmdump", proxy)
    places = await ready.engine(folder, pid)
    audit = "none"
    if datasette := browse.command(folder, browse_port):
        login = browse.first_login(folder)
        await children.start("datasette", datasette, quiet=True)
        await ready.port(browse_port)
        audit = f"http://127.0.0.1:{browse_port}  ({login})"
    ca = folder / "ca" / "mitmproxy-ca-cert.pem"
    await asyncio.to_thread(trust.bundle, ca, folder / "ca" / "bundle.pem")
    script = shlex.quote(str(ROOT / "scripts" / "exec"))
    if "MITMESH_HOME" in os.environ:  # the other terminal does not know it
        script = f"MITMESH_HOME={shlex.quote(str(folder))} {script}"
    text = READY.replace("  CA  ", TURNED + "  CA  ") if "transparent" in places else READY
    say(text.format(**places, audit=audit, ca=ca, script=script, key="" if demo else KEY))


async def run(proxy: list[str], folder: Path, browse_port: int, demo: bool) -> int:
    """All of it until told to stop (returns 0) or until a child ends (returns a code other than 0).

    Raises LaunchError if it does not become ready."""
    children, told = Children(), asyncio.Event()

    def tell() -> None:
        if told.is_set():
            children.kill()  # told twice: now
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, tell)
    starting = asyncio.create_task(start(children, proxy, folder, browse_port, demo))
    ending = asyncio.create_task(first(told, children))
    try:
        await asyncio.wait({starting, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            await starting
        return await ending
    finally:
        starting.cancel()
        ending.cancel()
        await children.end()


async def first(told: asyncio.Event, children: Children) -> int:
    """The exit code, once it is known: 0 when told to stop; a child's (1 for 0) when one ended by itself."""
    awaited: list[asyncio.Future[Any]] = [asyncio.create_task(told.wait()), children.ended]
    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
    if told.is_set():
        return 0
    name, code = children.ended.result()
    say("\n".join([*children.last_lines(name), f"mitmesh: {name} ended by itself (exit code {code})"]))
    return code if 0 < code < 256 else 1


def say(text: str) -> None:
    """To the person at the terminal."""
    print(text, flush=True)


def main() -> None:
    """Exits with 0 when told to stop, else with a code other than 0 and one clear line."""
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, folder = parser().parse_args(sys.argv[1:at]), home()
    wanted = {option: getattr(options, option[2:].replace("-", "_")) for option in PORTS}
    try:
        ports.check(wanted)
        with claim(folder):
            conf = command.read_conf(ROOT / "mitm.conf")
            proxy = command.mitmdump(
                folder, wanted, options.demo, conf, sys.argv[at + 1 :], ports.both(options.transparent), limits(options)
            )
            sys.exit(asyncio.run(run(proxy, folder, wanted["--browse-port"] or ports.free(), options.demo)))
    except LaunchError as error:
        sys.exit(f"mitmesh: {error}")


if __name__ == "__main__":
    main()
