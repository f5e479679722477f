"""The variables under which a command is governed, with nothing installed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mitmesh.launch import LaunchError, ready, trust

CA = Path("ca") / "mitmproxy-ca-cert.pem"
BUNDLE = Path("ca") / "bundle.pem"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Never sent through the proxy, which refuses them: a command's own servers are none of ours."""
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
    found["JAVA_TOOL_OPTIONS"] = _java(places["proxy"], trust.java(bundle), environ.get("JAVA_TOOL_OPTIONS", ""))
    return found


def _no_proxy(places: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """What goes past the proxy: loopback, and of what was set before all that is no LLM host. Nothing of it where the
    rules cannot be read: what goes through the proxy is tunnelled, what goes past it is lost."""
    try:
        kept = [each for each in no_proxy(environ) if not passes_by(each, places)]
    except LaunchError:
        kept = []
    return ",".join(dict.fromkeys([*LOOPBACK, *kept]))


def no_proxy(environ: Mapping[str, str]) -> list[str]:
    """The entries of NO_PROXY."""
    return (environ.get("NO_PROXY") or environ.get("no_proxy") or "").replace(",", " ").split()


def passes_by(entry: str, places: Mapping[str, str]) -> bool:
    """Would this entry of NO_PROXY take calls to an LLM host past the proxy? Raises LaunchError where the rules on
    disk, which name those hosts, cannot be read."""
    name = entry.lower().removeprefix("*").removeprefix(".")
    if not name:
        return True
    from mitmesh.ca.names import wanted  # slow to import, and seldom needed
    from mitmesh.rules import RulesError, load

    try:
        names = set(wanted(load(Path(places["rules"]))).dns) - {"localhost"}
    except RulesError as error:
        raise LaunchError(str(error)) from None
    return any(name == host or name.endswith("." + host) or host.endswith("." + name) for host in names)


def _java(proxy: str, store: Path, before: str) -> str:
    host, _, port = proxy.rpartition(":")
    options = [f"-D{scheme}.proxy{what}" for scheme in ("https", "http") for what in (f"Host={host}", f"Port={port}")]
    options.append("-Dhttp.nonProxyHosts=localhost|127.*|[::1]")
    options += [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStoreType=PKCS12"]
    options.append(f"-Djavax.net.ssl.trustStorePassword={trust.JAVA_PASSWORD}")
    return " ".join([before, *options] if before else options)
