"""The variables under which a command is governed, with nothing installed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path

from mitmesh.hostnames import Network, Pattern, parse_pattern, split_port
from mitmesh.launch import LaunchError, ready, trust

CA = Path("ca") / "mitmproxy-ca-cert.pem"
BUNDLE = Path("ca") / "bundle.pem"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Not sent through the proxy, which refuses them: a command's own servers are none of ours. Unless the rules list an
LLM host there."""
KEY_LOG = "SSLKEYLOGFILE"


def running(home: Path) -> dict[str, str]:
    """Where mitmesh listens, if it is up and governs. Raises LaunchError that says what to do."""
    places = ready.running(home)
    if places is None:
        raise LaunchError(f"it does not run on {home}: start scripts/run")
    control = places.get("control", "none")
    if control != "none" and (why := ready.problem(control)):
        raise LaunchError(f"it runs, and is not ready to govern: {why}")
    return places


def variables(home: Path, places: Mapping[str, str], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What to set in `environ`. Writes the bundle of certificates they name, if something in it changed."""
    proxy = f"http://{places['proxy']}"
    bundle = trust.bundle(home / CA, home / BUNDLE, environ)
    found = {name: proxy for base in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY") for name in (base, base.lower())}
    found |= dict.fromkeys(("NO_PROXY", "no_proxy"), _no_proxy(places, environ))
    found |= dict.fromkeys((*trust.REPLACING, trust.ADDING), str(bundle))
    found["NODE_USE_ENV_PROXY"] = "1"  # Node's own fetch ignores the others without it
    found["JAVA_TOOL_OPTIONS"] = _java(found["NO_PROXY"], places["proxy"], trust.java(bundle), environ)
    return found


def _no_proxy(places: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """What goes past the proxy: loopback, and what was set before, without what would take LLM hosts along. Nothing
    where the rules cannot be read: what goes through the proxy is tunnelled or refused, what goes past it is lost."""
    wanted = [*LOOPBACK, *no_proxy(environ)]
    try:
        lost = past(wanted, places)
    except LaunchError:
        return ""
    return ",".join(dict.fromkeys(each for each in wanted if each not in lost))


def no_proxy(environ: Mapping[str, str]) -> list[str]:
    """The entries of NO_PROXY."""
    return (environ.get("NO_PROXY") or environ.get("no_proxy") or "").replace(",", " ").split()


def past(entries: Iterable[str], places: Mapping[str, str]) -> list[str]:
    """Those entries of NO_PROXY that take calls to an LLM host past the proxy. Raises LaunchError where the rules on
    disk, which name those hosts, cannot be read."""
    from mitmesh.rules import RulesError, load  # slow to import, and seldom needed

    try:
        rules = load(Path(places["rules"]))
    except RulesError as error:
        raise LaunchError(str(error)) from None
    hosts = [text for rule in rules.hosts.hosts if rule.action == "decrypt" for text in rule.match]
    patterns = [parse_pattern(text) for text in hosts]
    return [entry for entry in entries if any(_takes(entry, pattern) for pattern in patterns)]


def _takes(entry: str, pattern: Pattern) -> bool:
    """Would this entry take something that the pattern means? An entry is a name with all below it, an address or a
    range, and some clients know a port after it. All of loopback is one: what listens on one name of it does on all."""
    try:
        name, port = split_port(entry.lower().removeprefix("*").removeprefix("."))
    except ValueError:
        name, port = entry, None
    if port and pattern.port and port != pattern.port:
        return False
    if not name:
        return True
    network = _network(name)
    if _here(name, network):
        return _here(pattern.name or pattern.suffix, pattern.network)
    if network or pattern.network:
        return bool(network and pattern.network and _overlap(network, pattern.network))
    host = pattern.name or pattern.suffix
    return not host or name == host or name.endswith("." + host) or host.endswith("." + name)


def _network(name: str) -> Network | None:
    try:
        return ip_network(name, strict=False)
    except ValueError:
        return None


def _here(name: str, network: Network | None) -> bool:
    if network:
        return any(_overlap(network, loopback) for loopback in (ip_network("127.0.0.0/8"), ip_network("::1")))
    return name == "localhost" or name.endswith(".localhost")


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _java(past: str, proxy: str, store: Path, environ: Mapping[str, str]) -> str:
    host, _, port = proxy.rpartition(":")
    options = [f"-D{scheme}.proxy{what}" for scheme in ("https", "http") for what in (f"Host={host}", f"Port={port}")]
    options.append(f"-Dhttp.nonProxyHosts={'localhost|127.*|[::1]' if LOOPBACK[0] in past.split(',') else ''}")
    options += [_quoted(f"-Djavax.net.ssl.trustStore={store}"), "-Djavax.net.ssl.trustStoreType=PKCS12"]
    options.append(f"-Djavax.net.ssl.trustStorePassword={trust.JAVA_PASSWORD}")
    before = environ.get("JAVA_TOOL_OPTIONS", "")
    return " ".join([before, *options] if before else options)


def _quoted(option: str) -> str:
    """An option that Java reads as one, whatever signs the path in it has."""
    if not re.search(r"[\s\"']", option):
        return option
    return "".join(f'"{each}"' if "'" in each else f"'{each}'" for each in re.split("('+)", option) if each)
