"""Who calls: as the kernel attests it, by network, by headers of those whose word is taken, by User-Agent."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from mitmesh.identities import networks
from mitmesh.kernel import user_name
from mitmesh.stage import Stage
from mitmesh.useragent import tool_of

if TYPE_CHECKING:
    from mitmesh.dialects.base import Headers
    from mitmesh.exchange import Exchange
    from mitmesh.kernel import Caller

_CLAIM = re.compile(r"[\x21-\x2b\x2d-\x7e](?:[\x20-\x2b\x2d-\x7e]{0,126}[\x21-\x2b\x2d-\x7e])?")
"""Printable ASCII of at most 128 characters. No comma: repeated headers arrive joined by one, and the first of them
may be the client's own, sent to stand before the one its gateway adds."""

MOST_USERS = 1024
"""Names of users that are remembered."""

_PREFIXES = ("x-mesh-", "x-agentmesh-")


class Identity(Stage):
    """Attests who calls, the strongest source first, and takes what identifies out of what leaves."""

    name = "identity"

    def __init__(self) -> None:
        self._users: dict[int, str] = {}
        """Names by uid; a machine has few."""

    async def request(self, x: Exchange) -> None:
        """Fill `x.identity`; `X-Mesh-*` and `X-AgentMesh-*` leave the headers, believed or not."""
        known, trusted = networks(x.rules).find(x.client)
        who = x.identity
        if x.caller:
            who.attest("kernel", **await self._attested(x.caller))
        who.attest("network", team=known.team, user=known.user, namespace=known.namespace)
        claims = take_claims(x.headers)
        if claims and trusted:
            who.attest("header", team=claims.get("team"), user=claims.get("user"), tool=claims.get("tool"))
        agent = x.headers.get("user-agent")
        if agent and who.tool is None:
            tool, version = tool_of(agent)
            who.attest("user_agent", tool=tool, tool_version=version)

    async def _attested(self, caller: Caller) -> dict[str, str | None]:
        """What the kernel says, as fields of an identity."""
        claims: dict[str, str | None] = {"process": caller.text}
        if caller.pod:
            pod = caller.pod
            claims |= {"namespace": pod.namespace, "pod": pod.name, "service_account": pod.service_account}
        elif caller.owner and caller.owner.pod:
            claims["pod"] = caller.owner.pod  # its uid: nobody told its name yet
        elif caller.on_host:
            if caller.uid not in self._users:
                if len(self._users) > MOST_USERS:
                    self._users.clear()
                self._users[caller.uid] = await asyncio.to_thread(user_name, caller.uid)
            claims["user"] = self._users[caller.uid]
        return claims


def take_claims(headers: Headers) -> dict[str, str]:
    """Remove all X-Mesh-* and X-AgentMesh-* headers; returns the well-formed ones by what follows the prefix, in lower
    case. X-Mesh-* comes before its alias; a malformed one counts as absent."""
    found = [name for name in headers if name[:2] in ("x-", "X-") and name.lower().startswith(_PREFIXES)]
    if not found:
        return {}
    claims: dict[str, str] = {}
    for name in sorted(found, key=lambda name: name.lower().startswith(_PREFIXES[1])):
        value = headers.pop(name, None)
        if value is not None and _CLAIM.fullmatch(value):
            claims.setdefault(name.lower().partition("mesh-")[2], value)
    return claims
