"""What is kept of a pod, read from what the Kubernetes API says of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv6Address, ip_address
from typing import Any


class Malformed(ValueError):
    """What came is no answer of the Kubernetes API; the message says of what kind, never what came."""


@dataclass(slots=True, frozen=True)
class PodInfo:
    """A pod, as the API server attests it. `owner` is the kind and name of what made it (`Deployment/web`); `labels`
    are those that were asked for."""

    namespace: str
    name: str
    uid: str
    service_account: str | None
    owner: str | None
    labels: Mapping[str, str]
    node: str | None


@dataclass(slots=True, frozen=True)
class Read:
    """A pod and what decides whether it answers. `created` and `until` (when its time to end is over) are seconds since
    1970."""

    info: PodInfo
    addresses: set[str]
    created: float
    until: float


def canonical(address: object) -> str | None:
    """An address in the one form in which it is compared: an IPv4 address within an IPv6 one is itself. None for what
    is no address of a pod."""
    try:
        found = ip_address(address if isinstance(address, str) else "")
    except ValueError:
        return None
    found = (isinstance(found, IPv6Address) and found.ipv4_mapped) or found
    return None if found.is_loopback or found.is_unspecified or found.is_multicast else str(found)


def read(item: object, labels: Collection[str] = ()) -> Read | None:
    """A pod as it is now; None for one that has ended or shares its host's addresses. Raises Malformed."""
    try:
        meta, spec, status = item["metadata"], item["spec"], item.get("status") or {}  # type: ignore[index,attr-defined]
        if spec.get("hostNetwork") or status.get("phase") in ("Succeeded", "Failed") or _stopped(meta, status):
            return None
        end = meta.get("deletionTimestamp")
        mine = meta.get("labels") or {}
        info = PodInfo(
            meta["namespace"], meta["name"], meta["uid"], spec.get("serviceAccountName") or None, _owner(meta, mine),
            {name: mine[name] for name in labels if name in mine}, spec.get("nodeName") or None,
        )  # fmt: skip
        addresses = _addresses(status, "pod") - _addresses(status, "host")
        return Read(info, addresses, _seconds(meta["creationTimestamp"]), _seconds(end) if end else float("inf"))
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Malformed("no pod") from None


def _addresses(status: dict[str, Any], of: str) -> set[str]:
    found = [entry["ip"] for entry in status.get(f"{of}IPs") or ()] + [status.get(f"{of}IP")]
    return {known for address in found if address and (known := canonical(address))}


def _stopped(meta: dict[str, Any], status: dict[str, Any]) -> bool:
    """It is being deleted and nothing of it runs: its address may be another's before it is gone from the list."""
    states = [each.get("state") or {} for each in status.get("containerStatuses") or ()]
    return bool(meta.get("deletionTimestamp") and states) and all("terminated" in state for state in states)


def _owner(meta: dict[str, Any], labels: dict[str, str]) -> str | None:
    """What controls it; the Deployment behind a ReplicaSet, whose name then ends in the hash of the pods' template."""
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            kind, name = owner["kind"], owner["name"]
            ending = f"-{labels.get('pod-template-hash')}"
            if kind == "ReplicaSet" and name.endswith(ending) and len(name) > len(ending):
                return f"Deployment/{name.removesuffix(ending)}"
            return f"{kind}/{name}"
    return None


def uid_of(item: Any) -> str:
    """What a pod is known by. Raises Malformed."""
    try:
        uid = item["metadata"]["uid"]
    except (KeyError, TypeError):
        uid = None
    if not isinstance(uid, str):
        raise Malformed("no pod")
    return uid


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
