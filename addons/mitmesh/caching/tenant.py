"""Who shares a cached answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange

CLAIMED = frozenset({"header", "claimed", "user_agent"})
"""Sources that only repeat what a client, or a gateway before us, says. Every other one attests."""
_PERSONAL = ("user", "service_account", "pod", "key")

type Hash = Callable[[bytes, str], str]
"""A keyed hash for a purpose."""


def tenant_of(x: Exchange, by: str, hashed: Hash, *, own: bool = False) -> str | None:
    """The name under which this call's answers are shared; None where its caller is not known well enough to share
    with anybody, itself included.

    An attested team (or namespace) is one tenant. Who is not attested is one only together with the credential it
    sent. `own`: the answer lives on at the provider, so that the credential always counts."""
    who = x.identity
    name = getattr(who, by)
    attested = name is not None and who.sources.get(by) not in CLAIMED
    credential = f"credential:{hashed(b'credential', x.credential)}" if x.credential else None
    if attested:
        return f"{by}:{name}" + (f" {credential}" if own and credential else "")
    if credential:
        return f"{by}:{name} {credential}" if name else credential
    for field in _PERSONAL:
        value = getattr(who, field)
        if value is not None and who.sources.get(field) not in CLAIMED:
            return f"{field}:{value}" + (f" namespace:{who.namespace}" if who.namespace else "")
    return None
