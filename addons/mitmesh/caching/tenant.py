"""Who shares a cached answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange

ATTESTED = frozenset({"kernel", "kubernetes", "certificate", "jwt", "key", "proxy", "network"})
"""Sources that attest. Any other (a header, a User-Agent, the team of the unknown) says what anybody may say."""
_PERSONAL = ("user", "service_account", "pod")

type Hash = Callable[[bytes, str], str]
"""A keyed hash for a purpose."""


def tenant_of(x: Exchange, by: str, hashed: Hash, *, own: bool = False) -> str | None:
    """The name under which this call's answers are shared; None where its caller is not known well enough to share
    with anybody, itself included.

    An attested team (or namespace) is one tenant. Who is not attested is one only together with the credential it
    sent, or the virtual key. `own`: the answer lives on at the provider, so that the credential always counts."""
    who = x.identity
    name = getattr(who, by)
    credential = f"credential:{hashed(b'credential', x.credential)}" if x.credential else None
    if credential is None and who.key is not None and who.sources.get("key") in ATTESTED:
        credential = f"key:{who.key}"
    if name is not None and who.sources.get(by) in ATTESTED:
        return f"{by}:{name}" + (f" {credential}" if own and credential else "")
    if credential:
        return f"{by}:{name} {credential}" if name else credential
    for field in _PERSONAL:
        value = getattr(who, field)
        if value is not None and who.sources.get(field) in ATTESTED:
            return f"{field}:{value}" + (f" namespace:{who.namespace}" if who.namespace else "")
    return None
