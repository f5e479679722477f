"""`bpf/redirect`: what a person types."""

from __future__ import annotations

import argparse
import json
import os
import sys

from loader import RedirectError, actions, runs

EPILOG = "What `attach` does holds until `detach`, whatever becomes of the process. docs/transparent.md says more."


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    made = argparse.ArgumentParser(
        prog="bpf/redirect", description="Bring LLM traffic to mitmesh's transparent listener.", epilog=EPILOG
    )
    actions_ = made.add_subparsers(dest="action", required=True, metavar="attach|detach|status|run")
    attach = actions_.add_parser("attach", help="redirect until `detach`; follows hosts and pods until Ctrl-C")
    _where(attach)
    attach.add_argument("--engine", choices=("bpf", "nft"), default="bpf", help="nft: without BPF, without identity")
    attach.add_argument("--entries", type=int, metavar="N", help="connections remembered at once (65536)")
    attach.add_argument("--cgroup", action="append", default=[], metavar="PATH", help="redirect its processes")
    attach.add_argument("--host", action="store_true", help="redirect every process but the proxy")
    attach.add_argument(
        "--all-443", action="store_true", help="with --host: all addresses, not those of LLM hosts only"
    )
    attach.add_argument("--rules", metavar="DIR", help="with --host: the rules folder (the project's own)")
    attach.add_argument("--proxy-cgroup", metavar="PATH", help="with --host: the proxy's (found by who listens)")
    attach.add_argument("--pods", action="append", default=[], metavar="WHICH", help="all, namespace=N, label=K=V")
    attach.add_argument("--pod-metadata", metavar="SOURCE", help="a PodList: a file, or the kubelet's /pods URL")
    attach.add_argument("--kubelet-token", metavar="FILE", help="token for the kubelet")
    attach.add_argument("--kubelet-ca", metavar="FILE", help="certificate authority of the kubelet")
    run = actions_.add_parser(
        "run", help="redirect one command and its children", usage="%(prog)s [options] -- COMMAND"
    )
    _where(run)
    run.add_argument("--ca", metavar="FILE", help="certificates to trust (~/.mitmesh/ca/bundle.pem)")
    run.add_argument("--as-proxy", action="store_true", help="COMMAND is the proxy: give it a cgroup that is left out")
    run.add_argument("command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    actions_.add_parser("detach", help="take away all of ours, and nothing else")
    actions_.add_parser("status", help="what hangs there, and what it counted").add_argument(
        "--json", action="store_true", help="for programs"
    )
    return made


def _where(into: argparse.ArgumentParser) -> None:
    into.add_argument(
        "--proxy", action="append", metavar="ADDRESS:PORT", help="the listener (127.0.0.1:8443 and [::1]:8443)"
    )
    into.add_argument("--port", action="append", type=int, metavar="N", help="redirected ports (443)")
    into.add_argument("--own-port", action="append", type=int, metavar="N", help="its open ports (8080 and 8081)")
    into.add_argument("--when-down", choices=("refuse", "pass"), help="while it does not listen (refuse)")


def tell(said: str) -> None:
    """One line to the person at the terminal."""
    print(f"redirect: {said}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """The exit code: 0, 1, 2 (wrong command line), one of needs.py, or that of the command run."""
    options = parser().parse_args(arguments)
    try:
        if options.action == "attach":
            return actions.attach(options, tell)
        if options.action == "run":
            command = options.command[1:] if options.command[:1] == ["--"] else options.command
            if not command:
                raise RedirectError("run needs a command: bpf/redirect run -- COMMAND", 2)
            return runs.run(options, command, tell)
        if options.action == "detach":
            return actions.detach(tell)
        return _status(options.json)
    except RedirectError as error:
        tell(str(error))
        return error.code
    except OSError as error:
        tell(f"{error.strerror or error} ({os.path.basename(str(error.filename or 'system call'))})")
        return 1


def _status(as_json: bool) -> int:
    found = actions.status()
    print(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))
    return 0


def _lines(found: dict[str, object]) -> list[str]:
    return [f"{name:<12} {_flat(value)}".rstrip() for name, value in found.items()]


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={each}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
