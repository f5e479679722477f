"""Where a call goes, and what that host is called: a redirected connection says its name in TLS or in HTTP only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mitmesh.exchange import Target
from mitmesh.hostnames import parse_host, parse_pattern, split_port

if TYPE_CHECKING:
    from mitmproxy import http

    from mitmesh.rules import HostRule


def target_of(flow: http.HTTPFlow, rule: HostRule, via: str) -> Target:
    """The target of a call that came in by `via`, under this rule. Of a redirected one, the name is the SNI, which the
    provider's certificate must bear; without TLS, or without SNI, the Host header, if the rule is for that name."""
    request = flow.request
    target = Target(request.scheme, request.host, request.port)
    if via != "transparent":
        return target
    if request.scheme == "https" and (sni := _name(flow.client_conn.sni)):
        target.named, target.certified = sni, True
    elif (said := _name(request.host_header)) and _is_for(rule, said, request.port):
        target.named = said
    return target


def _name(text: str | None) -> str | None:
    """A host name as it is compared; None for an address, and for what is no host."""
    try:
        host = parse_host(split_port(text.strip())[0]) if text else None
    except ValueError:
        return None
    return host.name if host and host.address is None else None


def _is_for(rule: HostRule, name: str, port: int) -> bool:
    host = parse_host(name)
    return host is not None and any(parse_pattern(text).matches(host, port) for text in rule.match)
