"""Who serves a call that came to the gateway, and with whose credential."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Callable, MutableMapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from mitmesh.exchange import Billing, Exchange, Mode, Origin, Target
from mitmesh.globs import glob
from mitmesh.identities import team_of
from mitmesh.paths import compile_path
from mitmesh.rules import HostRule, Hosts, Provider, RouteRule, Rules
from mitmesh.scope import HostTable
from mitmesh.stage import Stage
from mitmesh.stages.scope import Scope
from mitmesh.wire.path import normalise

# fmt: off
HARMLESS = frozenset({
    "accept", "accept-encoding", "accept-language", "anthropic-beta", "anthropic-version", "connection",
    "content-encoding", "content-length", "content-type", "host", "openai-beta", "te", "traceparent", "tracestate",
    "transfer-encoding", "user-agent", "x-goog-api-client", "x-should-retry",
})
# fmt: on
"""Headers that go to any provider a call is routed to."""
HARMLESS_PREFIXES = ("x-stainless-",)
HARMLESS_QUERY = frozenset({"after", "alt", "api-version", "before", "beta", "include", "limit", "order", "stream"})
"""Query parameters that do."""

_KEY_HEADER = {"anthropic": ("x-api-key", ""), "google": ("x-goog-api-key", ""), "azure": ("api-key", "")}
"""Where a provider wants its key, and what stands before it; all others take a bearer token."""

ANY_PATH = "/**"
"""A route's path where none is given: any path of the gateway that has a dialect."""

type Producer = Callable[[Exchange], AsyncIterator[bytes]]


class Route(Stage):
    """Finds the provider of each call to the gateway. `demo` serves every call instead, wherever it came in."""

    name = "route"

    def __init__(self, demo: Producer | None = None) -> None:
        self._demo = demo
        self._routes: list[tuple[RouteRule, re.Pattern[str], re.Pattern[str]]] = []
        self._hosts = HostTable(Hosts())
        self._made: dict[tuple[str, str], HostRule] = {}

    def configure(self, rules: Rules) -> None:
        """Compile the routes' patterns."""
        self._hosts = HostTable(rules.hosts)
        self._made = {}
        self._routes = [(rule, compile_path(rule.path), glob(rule.model)) for rule in rules.routes.routes]

    async def request(self, x: Exchange) -> None:
        """Give a call to the gateway its target, host rule and credential; refuse it with 401 where it has none."""
        if x.via == "gateway":
            await self._gateway(x)
        elif x.wants_key:
            self._own_key(x)
        if self._demo and (x.target or x.route):
            x.route, x.local, x.origin = "demo", self._demo, Origin.PROXY
            x.host = x.host.model_copy(update={"billing": Billing.SUBSCRIPTION})
            drop_credentials(x.headers)

    async def _gateway(self, x: Exchange) -> None:
        name, rule_id = self._find(x)
        provider = x.rules.routes.providers.get(name)
        if provider is None:
            return
        scheme, host, port, prefix = _split(provider.base_url)
        target = Target(scheme, host, port)
        x.host, x.route = self._host(x, name, provider, target), rule_id
        if self._demo:
            return
        x.target, x.path = target, prefix + x.path
        await Scope().request(x)  # a blocked provider is blocked at the gateway too
        self._credential(x, name, provider)

    def _host(self, x: Exchange, name: str, provider: Provider, target: Target) -> HostRule:
        """The rule of the provider's host in rules/hosts.yaml, in the name and billing of its entry in routes.yaml."""
        rule = self._hosts.find(target.host, target.port, team=team_of(x.client, x.rules), client=x.client)
        key = (name, rule.id if rule else "")
        if key not in self._made:
            rule = rule or HostRule(id=f"provider:{name}", match=[target.host], provider=name)
            update = {"provider": name, "billing": provider.billing or rule.billing}
            self._made[key] = rule.model_copy(update=update)
        return self._made[key]

    def _find(self, x: Exchange) -> tuple[str, str]:
        """The provider's name and the rule that chose it; a path's own provider where no rule does."""
        path, model = normalise(x.path) or "", x.call.model or ""
        for rule, path_pattern, model_pattern in self._routes:
            if rule.path == ANY_PATH and not x.dialect.native:
                continue  # nobody said that our key is good for calls we do not know
            if path_pattern.fullmatch(path) and model_pattern.fullmatch(model):
                return rule.provider, rule.id
        return x.dialect.native, "native"

    def _own_key(self, x: Exchange) -> None:
        """Put the provider's key into a call that came through the proxy with a virtual key: to the very host that the
        key is configured for, and to no other."""
        name, provider = next(
            ((name, each) for name, each in x.rules.routes.providers.items() if x.target and _is_at(each, x.target)),
            (x.provider, None),
        )
        key = configured_key(provider) if provider else None
        if key is None:
            reason = f"No key of {name} is configured for this host. Set providers.{name}.api_key in rules/routes.yaml."
            # Enforced whatever the mode: without a credential it could only fail elsewhere.
            x.refuse(self.name, "key", reason, status=401, type="no_credential", mode=Mode.ENFORCE)
            return
        _put_key(x, name, key)

    def _credential(self, x: Exchange, name: str, provider: Provider) -> None:
        """A client's credential goes to the native provider of its dialect and to nobody else."""
        if name == x.dialect.native and x.credential:
            return
        key = configured_key(provider)
        x.path = drop_credentials(x.headers, x.path)
        if key:
            _put_key(x, name, key)
        elif provider.api_key != "none":
            said = "its key is not to be found" if provider.api_key else "no key is configured for it"
            reason = f"This call is routed to {name}, but {said}. Set providers.{name}.api_key in rules/routes.yaml."
            if name == x.dialect.native:
                reason = f"This call has no credential for {name}. Send yours, or have the operator configure one."
            # Enforced whatever the mode: without a credential it could only fail elsewhere.
            x.refuse(self.name, x.route or "native", reason, status=401, type="no_credential", mode=Mode.ENFORCE)


def _put_key(x: Exchange, name: str, key: str) -> None:
    header, before = _KEY_HEADER.get(name, ("authorization", "Bearer "))
    x.headers[header] = before + key


def _is_at(provider: Provider, target: Target) -> bool:
    scheme, host, port, _ = _split(provider.base_url)
    return (scheme, host, port) == (target.scheme, target.proven, target.port) and provider.api_key not in (
        None,
        "none",
    )


def configured_key(provider: Provider) -> str | None:
    """The key that the rules name, from the environment or a file; None where there is none."""
    kind, _, where = (provider.api_key or "").partition(":")
    if kind == "env":
        return os.environ.get(where) or None
    if kind == "file" and Path(where).is_file():
        return Path(where).read_text().strip() or None
    return None


def drop_credentials(headers: MutableMapping[str, str], path: str = "") -> str:
    """Leave of the headers, and of the path that is returned, only what cannot be a credential or a name of the
    client's account: what is not known to be harmless does not go to a provider that it was not meant for."""
    for name in [name for name in headers if name not in HARMLESS and not name.startswith(HARMLESS_PREFIXES)]:
        del headers[name]
    url = urlsplit(path)
    if not url.query:
        return path
    given = parse_qsl(url.query, keep_blank_values=True)
    kept = [(name, value) for name, value in given if name in HARMLESS_QUERY]
    return path if kept == given else url._replace(query=urlencode(kept)).geturl()


@lru_cache(maxsize=256)
def _split(base_url: str) -> tuple[str, str, int, str]:
    """A provider's scheme, host, port and path prefix."""
    url = urlsplit(base_url)
    return url.scheme, url.hostname or "", url.port or (443 if url.scheme == "https" else 80), url.path
