"""What is done with a connection: decrypted, tunnelled or refused. Pure decisions; the engine acts on them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from mitmesh.egress import egress_refused
from mitmesh.exchange import Mode
from mitmesh.hostnames import (
    Host,
    Network,
    Pattern,
    parse_address,
    parse_host,
    parse_network,
    parse_pattern,
    split_port,
)
from mitmesh.paths import PathTable, find_path
from mitmesh.rules import HostRule, Hosts

__all__ = ["HostTable", "PathTable", "Scope", "decide", "egress_refused", "find_path"]

type NamedBy = Literal["connect", "sni", "address", "host"]


@dataclass(slots=True, frozen=True)
class Scope:
    """What becomes of a connection, by which rule, and what named the host. `rule` None: no LLM host (tunnelled), or
    no host at all (refused). `observed`: it would have been refused, were the rule enforced."""

    kind: Literal["decrypt", "tunnel", "refuse"]
    rule: HostRule | None = None
    named_by: NamedBy = "connect"
    observed: bool = False

    @property
    def strictness(self) -> tuple[int, bool]:
        """Orders scopes, so that the strictest can be taken."""
        return ("tunnel", "decrypt", "refuse").index(self.kind), self.observed


@dataclass(slots=True, frozen=True)
class _Entry:
    order: int
    pattern: Pattern
    rule: HostRule
    network: Network | None

    def holds(self, team: str | None, client: str | None, process: str | None) -> bool:
        when = self.rule.when
        if when is None:
            return True
        if (when.team is not None and when.team != team) or (when.process is not None and when.process != process):
            return False
        if self.network is None:
            return True
        address = parse_address(client) if client else None
        return address is not None and address in self.network


class HostTable:
    """rules/hosts.yaml, made ready for look-ups; build one per snapshot. `apis` holds its path tables by name."""

    def __init__(self, hosts: Hosts) -> None:
        self.apis = {name: PathTable(rules) for name, rules in hosts.apis.items()}
        self._names: dict[str, list[_Entry]] = {}
        self._suffixes: dict[str, list[_Entry]] = {}
        self._networks: list[_Entry] = []
        for order, rule in enumerate(hosts.hosts):
            network = parse_network(rule.when.network) if rule.when and rule.when.network else None
            for text in rule.match:
                self._add(_Entry(order, parse_pattern(text), rule, network))

    def _add(self, entry: _Entry) -> None:
        pattern = entry.pattern
        if pattern.network is not None:
            self._networks.append(entry)
        elif pattern.regex is not None:
            self._suffixes.setdefault(pattern.suffix, []).append(entry)
        elif pattern.name is not None:
            self._names.setdefault(pattern.name, []).append(entry)

    def find(
        self, host: str, port: int, *, team: str | None = None, client: str | None = None, process: str | None = None
    ) -> HostRule | None:
        """The first entry that matches the host and holds for this caller (`client` is its IP address), or None."""
        parsed = parse_host(host)
        return None if parsed is None else self._find(parsed, port, team, client, process)

    def api(self, host: str, port: int) -> str:
        """The first API that an entry names for this host, whoever calls; `none` where none does."""
        parsed = parse_host(host)
        named = [e for e in self._candidates(parsed) if e.rule.api != "none"] if parsed else []
        fitting = [entry for entry in named if parsed and entry.pattern.matches(parsed, port)]
        return min(fitting, key=lambda entry: entry.order).rule.api if fitting else "none"

    def _find(
        self, host: Host, port: int, team: str | None, client: str | None, process: str | None
    ) -> HostRule | None:
        best: _Entry | None = None
        for entry in self._candidates(host):
            if (best is None or entry.order < best.order) and entry.pattern.matches(host, port):
                best = entry if entry.holds(team, client, process) else best
        return best.rule if best else None

    def _candidates(self, host: Host) -> list[_Entry]:
        if host.address is not None:
            return self._networks
        found = list(self._names.get(host.name, ()))
        rest = host.name
        while rest:
            found += self._suffixes.get(rest, ())
            rest = rest.partition(".")[2]
        return found


def decide(
    table: HostTable,
    connect_host: str | None,
    port: int,
    *,
    today: date,
    sni: str | None = None,
    address: str | None = None,
    host_header: str | None = None,
    team: str | None = None,
    client: str | None = None,
    process: str | None = None,
    mode: Mode = Mode.ENFORCE,
) -> Scope:
    """What becomes of a connection, of all that names its destination.

    `connect_host` is the CONNECT or request target, `address` the original destination of a transparent connection,
    `today` in UTC, `mode` the rules' for this caller. Each name alone brings a connection into scope; where two name
    different entries the strictest holds (refuse before decrypt before tunnel), and among equals the first in the
    order of the arguments. A Host header can bring a call in, never take it out. What no resolver would take for a
    host is refused.
    """
    scope: Scope | None = None
    named: tuple[tuple[NamedBy, str | None], ...] = (
        ("connect", connect_host),
        ("sni", sni),
        ("address", address),
        ("host", _without_port(host_header)),
    )
    for by, name in named:
        if not name:
            continue
        host = parse_host(name)
        if host is None:
            if by != "host":
                return Scope("refuse", None, by)
            continue
        rule = table._find(host, port, team, client, process)
        if rule is not None:
            other = _scope(rule, by, today, mode)
            scope = other if scope is None or other.strictness > scope.strictness else scope
    return scope or Scope("tunnel")


def _scope(rule: HostRule, by: NamedBy, today: date, mode: Mode) -> Scope:
    refused = rule.action == "refuse" or rule.status == "blocked" or expired(rule, today)
    if not refused:
        return Scope(rule.action, rule, by)
    if (rule.mode or mode) is Mode.OBSERVE:
        return Scope("decrypt", rule, by, observed=True)
    return Scope("refuse", rule, by)


def expired(rule: HostRule, today: date) -> bool:
    """Is this an exception whose last day (UTC) has passed?"""
    return rule.expires is not None and rule.expires < today


def _without_port(header: str | None) -> str | None:
    if header is None:
        return None
    try:
        return split_port(header.strip())[0]
    except ValueError:
        return None
