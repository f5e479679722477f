"""scripts/doctor: layer by layer, what keeps calls from being governed, and the next step."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mitmesh.launch import LaunchError, environment, home, install, printable, probe, ready, trust
from mitmesh.launch.relay import relay
from mitmesh.launch.watch import watched

CLOCK = 120
"""Seconds a clock may be off before certificates and signatures begin to fail."""


@dataclass(frozen=True)
class Finding:
    """One layer: `well` is None where it is no fault and yet worth knowing. `step` is what to do next."""

    layer: str
    well: bool | None
    said: str
    step: str = ""

    def __str__(self) -> str:
        mark = {True: "ok  ", False: "FAIL", None: "note"}[self.well]
        said = f"{mark}  {self.layer:<10}{printable(self.said)}"
        return said + (f"\n      next      {printable(self.step)}" if self.step else "")


def main(argv: list[str] | None = None) -> None:
    """Prints each finding as it is made; exits with 1 if one is a fault."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who pipes into head wants no more, and no traceback
    given = sys.argv[1:] if argv is None else argv
    at = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(prog="scripts/doctor")
    parser.add_argument("--host", default="api.openai.com", metavar="NAME", help="the LLM host to ask")
    options, command = parser.parse_args(given[:at]), given[at + 1 :]
    sick = False
    for finding in examine(home(), options.host, command):
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()
        sick = sick or finding.well is False
    sys.exit(1 if sick else 0)


def examine(folder: Path, host: str, command: list[str]) -> Iterator[Finding]:
    """All layers, each after those it needs; stops at the first that makes the rest meaningless."""
    places = ready.running(folder)
    if places is None:
        yield Finding("running", False, f"nothing runs on {folder}", "scripts/run (or set MITMESH_HOME to its folder)")
        return
    yield Finding("running", True, f"proxy {places['proxy']}, gateway {places['gateway']}")
    control = places["control"]
    if control != "none" and (why := ready.problem(control)):
        yield Finding("ready", False, f"it is not ready to govern: {why}", "its log says more")
        return
    yield from _rules(control)
    yield from _certificate(folder, places)
    yield from _called(places, host, folder)
    if command:
        yield from _command(folder, places, command)
    else:
        yield from _shell(folder, places)
    yield from _pinned(folder)


def _rules(control: str) -> Iterator[Finding]:
    health = ready.health(control) if control != "none" else {}
    for warning in health.get("warnings", []):
        step = "correct the file; it is read again by itself"
        if "scripts/ca" in warning:
            step = (
                "scripts/ca rotate, and tell clients of the new root (scripts/install-ca); or take the host out again"
            )
        yield Finding("rules", False, warning, step)
    for stage, count in health.get("failures", {}).items():
        yield Finding("stages", None, f"{stage} has failed {count} times since the start", "the log names each")


def _certificate(folder: Path, places: dict[str, str]) -> Iterator[Finding]:
    from cryptography import x509

    from mitmesh import ca

    renew = ca.RENEW if _companys(places) else "scripts/ca rotate"
    file = folder / environment.CA
    try:
        roots = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        yield Finding("CA", False, f"{file}: {error}", "restart scripts/run")
        return
    now = datetime.now(UTC)
    left = min(root.not_valid_after_utc for root in roots) - now
    if any(root.not_valid_before_utc > now for root in roots):
        yield Finding("CA", False, "its certificate is not valid yet", "set this machine's clock")
    elif left < timedelta(days=30):
        yield Finding("CA", left > timedelta(), f"it expires in {left.days} days", renew)
    else:
        yield Finding("CA", True, f"valid for {left.days} more days")
    if _too_wide(folder, places):
        said, _, step = ca.WIDE.partition(": ")
        yield Finding("CA", False, said, f"{step}, and tell clients of the new root (scripts/install-ca)")


def _called(places: dict[str, str], host: str, folder: Path) -> Iterator[Finding]:
    """Can a client that is set up right reach a provider, and is it governed?"""
    bundle = trust.bundle(folder / environment.CA, folder / environment.BUNDLE)
    got = probe.ask(places["proxy"], host, bundle)
    if got.broke == "trust":
        yield Finding("trusted", False, f"our own bundle is refused: {got.detail}", _untrusted(host, places))
        return
    if got.broke and not _listed(host, places):
        step = "list it in rules/local/hosts.yaml if it is one (--host names an LLM host; api.openai.com by default)"
        yield Finding("governed", None, f"{host} is no LLM host by the rules, and did not answer: {got.detail}", step)
        return
    if got.broke:
        step = "rules/hosts.yaml and rules/egress.yaml decide" if got.broke == "tunnel" else "the proxy's log says more"
        yield Finding("proxy", False, f"{host}: {got.detail}", step)
        return
    yield Finding("trusted", True, f"the bundle {bundle} is accepted")
    if not got.governed:
        yield Finding("governed", None, f"{host} was tunnelled: it is no LLM host", "list it in rules/local/hosts.yaml")
        return
    yield Finding("governed", True, f"{host} answered {got.status} as call {got.headers['x-mesh-id']}")
    if got.headers.get("x-mesh-origin") == "proxy" and got.status < 500:
        yield Finding("upstream", None, "mitmesh answers by itself (--demo, or a rule): no provider was asked")
    elif got.headers.get("x-mesh-origin") == "proxy":
        step = "can this machine reach it at all? behind a company's proxy: -- --mode upstream:http://its:port"
        yield Finding("upstream", False, f"{host} could not be reached from here", step)
    else:
        yield Finding("upstream", True, f"{host} can be reached")
    if abs(got.clock_off) > CLOCK:
        ahead = "ahead" if got.clock_off > 0 else "behind"
        yield Finding("clock", False, f"it is {abs(got.clock_off):.0f} s {ahead}", "set it: certificates depend on it")
    if "h3" in got.headers.get("alt-svc", ""):
        step = "block UDP 443, so that clients who use no proxy fall back"
        yield Finding("HTTP/3", None, f"{host} offers it, and it cannot be governed", step)


def _listed(host: str, places: dict[str, str]) -> bool:
    """Is it an LLM host? Yes where the rules cannot be read, which others tell of."""
    try:
        return bool(environment.past([host], places))
    except LaunchError:
        return True


def _companys(places: dict[str, str]) -> bool:
    """Does a CA of the company's own sign, and not ours? No where the rules cannot be read."""
    from mitmesh.rules import RulesError, load

    try:
        return load(Path(places["rules"])).mesh.ca.cert is not None
    except RulesError:
        return False


def _too_wide(folder: Path, places: dict[str, str]) -> bool:
    """May our CA sign for every host against the rules? No where it or they cannot be read, which others tell of."""
    from mitmesh import ca
    from mitmesh.rules import RulesError, load

    try:
        rules = load(Path(places["rules"]))
        signers = ca.look(folder / "ca", rules)
    except (RulesError, OSError):
        return False
    return signers is not None and signers.wider(rules)


def _untrusted(host: str, places: dict[str, str]) -> str:
    """What to do when our certificate for a host is refused although its root is known."""
    if _companys(places):
        return f"`ca` in mesh.yaml: is `chain` whole, is the root in it, and may its certificate sign for {host}?"
    return "scripts/ca show; scripts/ca rotate --now"


def _shell(folder: Path, places: dict[str, str]) -> Iterator[Finding]:
    """Would what is started from this shell be governed, and what is not started from it?"""
    wanted, step = f"http://{places['proxy']}", "scripts/exec -- COMMAND (or -- bash, for a governed shell)"
    used = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or ""
    if used.rstrip("/") == wanted:
        yield Finding("shell", True, "commands started here use the proxy")
    else:
        instead = "another proxy" if used else "no proxy"
        yield Finding("shell", None, f"commands started here use {instead}", step)
    yield from _past(places)
    if os.environ.get(environment.KEY_LOG):
        yield Finding("shell", None, f"{environment.KEY_LOG} is set: clients write their session keys to a file")
    if places_ := install.installed(folder / environment.CA):
        yield Finding("installed", True, f"the CA is trusted in {', '.join(places_)}")
    else:
        step = "scripts/install-ca install, for browsers and programs with a setting for the proxy"
        yield Finding("installed", None, "the CA is in no store; scripts/exec needs none", step)


def _past(places: dict[str, str]) -> Iterator[Finding]:
    try:
        past = environment.past(environment.no_proxy(os.environ), places)
    except LaunchError as error:
        yield Finding("NO_PROXY", None, f"nobody can say what it takes past the proxy: {error}", "correct the file")
        return
    if past:
        yield Finding("NO_PROXY", False, f"it takes calls past the proxy: {', '.join(past)}", "take these out of it")


def _command(folder: Path, places: dict[str, str], command: list[str]) -> Iterator[Finding]:
    """Run it as scripts/exec does, and say what became of its calls."""
    if not shutil.which(command[0]):
        yield Finding("command", False, f"{command[0]} is not found", "is it on PATH?")
        return
    with relay(places["proxy"]) as through, watched(folder, through) as seen:
        variables = environment.variables(folder, {**places, "proxy": through.address})
        code = subprocess.run(command, env=os.environ | variables).returncode
    yield Finding("command", True if code == 0 else None, f"{command[0]} ended with {code}")
    for host in seen.rejected:
        step = (
            "it has a store of its own, or pins: docs/clients.md; on_pin_failure in hosts.yaml can let it pass unread"
        )
        yield Finding("pinned", False, f"it refuses our certificate for {host}", step)
    for host, detail in seen.refused:
        yield Finding(
            "refused", False, f"a connection to {host} was closed: {detail}", "rules/hosts.yaml, rules/egress.yaml"
        )
    for host, detail in seen.unreachable:
        step = "no fault of the command's: can this machine reach it at all? scripts/why ID tells more of a call"
        yield Finding("upstream", False, f"{host} could not be reached: {detail}", step)
    if seen.calls:
        ids = ", ".join(f"{call['id']} ({call['outcome']})" for call in seen.calls[-3:])
        yield Finding(
            "governed", True, f"{len(seen.calls)} calls are in the audit: {ids}", "scripts/why ID tells of each"
        )
    elif seen.tunnelled:
        step = "if one of them is an LLM host, list it in rules/local/hosts.yaml"
        yield Finding("governed", False, f"it called no LLM host: {', '.join(seen.tunnelled)}", step)
    elif not (seen.rejected or seen.refused or seen.unreachable):
        yield _nothing(code, seen.others)


def _nothing(code: int, others: int) -> Finding:
    """Nothing of the command came to the proxy: why that may be."""
    said = "nothing of it came to the proxy"
    if others:
        said += f"; {others} calls of others did, or its own by way of the gateway (scripts/why last)"
    if code:
        return Finding(
            "proxy", False, said, "it failed before it called anybody: what did it say, and does it run alone?"
        )
    step = "if it calls a model at all it takes no notice of HTTPS_PROXY: docs/clients.md says how to tell it"
    return Finding("proxy", False, said, step + ", or use the gateway's base URL")


def _pinned(folder: Path) -> Iterator[Finding]:
    """Who else refuses our certificate: of the last day."""
    from mitmesh.launch.watch import rejected_since

    since = datetime.now(UTC) - timedelta(days=1)
    for host, count in rejected_since(folder, since).items():
        step = "the client does not trust the CA (scripts/install-ca), or pins (docs/clients.md)"
        yield Finding("pinned", None, f"our certificate for {host} was refused {count} times in a day", step)


if __name__ == "__main__":
    try:
        main()
    except LaunchError as problem:
        sys.exit(f"mitmesh: {problem}")
