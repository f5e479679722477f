"""Pods as the Kubernetes API writes them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

_number = itertools.count(1)
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def stamp(seconds: float) -> str:
    """So many seconds after the tests' beginning of time."""
    return (BEGAN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pod(name: str = "web", *ips: str, created: float = 0, uid: str = "", **more: Any) -> dict[str, Any]:
    """A running pod; `more` are namespace, account, node, labels, owner (kind, name), phase, host_network, deleted,
    states, host_ip."""
    meta: dict[str, Any] = {
        "name": name, "namespace": more.get("namespace", "shop"), "uid": uid or f"uid-of-{name}",
        "creationTimestamp": stamp(created), "labels": more.get("labels", {}),
        "resourceVersion": str(next(_number)),
    }  # fmt: skip
    if "deleted" in more:
        meta["deletionTimestamp"] = stamp(more["deleted"])
    if "owner" in more:
        kind, of = more["owner"]
        meta["ownerReferences"] = [{"kind": kind, "name": of, "uid": "u", "controller": True}]
    spec: dict[str, Any] = {
        "serviceAccountName": more.get("account", "default"),
        "nodeName": more.get("node", "node-1"),
    }
    if more.get("host_network"):
        spec["hostNetwork"] = True
    host = more.get("host_ip", "192.0.2.1")
    status: dict[str, Any] = {"phase": more.get("phase", "Running"), "hostIP": host, "hostIPs": [{"ip": host}]}
    if ips:
        status |= {"podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]}
    if "states" in more:
        status["containerStatuses"] = [{"name": "c", "state": {state: {}}} for state in more["states"]]
    return {"metadata": meta, "spec": spec, "status": status}


def event(kind: str, item: dict[str, Any]) -> dict[str, Any]:
    """An event of a watch."""
    return {"type": kind, "object": item}
