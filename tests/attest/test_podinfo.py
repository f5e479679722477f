from __future__ import annotations

from typing import Any

import pytest

from attest.pods import pod
from mitmesh.attest.podinfo import Malformed, canonical, read

HASHED = {"pod-template-hash": "7d9f"}
LABELS = HASHED | {"team": "shop"}


def test_all_that_is_kept() -> None:
    """Namespace, service account, owner, node and the labels that were asked for."""
    found = read(
        pod(
            "web-7d9f-x",
            "10.0.0.5",
            account="seller",
            labels=HASHED | {"team": "shop"},
            owner=("ReplicaSet", "web-7d9f"),
        ),
        ["team", "absent"],
    )
    assert found
    info = found.info
    assert (info.namespace, info.name, info.uid) == ("shop", "web-7d9f-x", "uid-of-web-7d9f-x")
    assert (info.service_account, info.owner, info.node) == ("seller", "Deployment/web", "node-1")
    assert info.labels == {"team": "shop"}


@pytest.mark.parametrize(
    ("owner", "labels", "expected"),
    [
        (("ReplicaSet", "web-7d9f"), HASHED, "Deployment/web"),
        (("ReplicaSet", "web-7d9f"), {}, "ReplicaSet/web-7d9f"),
        (("ReplicaSet", "web-other"), HASHED, "ReplicaSet/web-other"),
        (("ReplicaSet", "-7d9f"), HASHED, "ReplicaSet/-7d9f"),
        (("StatefulSet", "db-7d9f"), HASHED, "StatefulSet/db-7d9f"),
        (("Job", "nightly-28912345"), {}, "Job/nightly-28912345"),
    ],
)
def test_owner(owner: tuple[str, str], labels: dict[str, str], expected: str) -> None:
    found = read(pod("p", "10.0.0.5", owner=owner, labels=labels))
    assert found and found.info.owner == expected


def test_an_owner_that_does_not_control_is_none() -> None:
    item = pod("p", "10.0.0.5", owner=("Node", "n"))
    item["metadata"]["ownerReferences"][0]["controller"] = False
    found = read(item)
    assert found and found.info.owner is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("FD00:0:0::5", "fd00::5"),
        ("127.0.0.1", None),
        ("::1", None),
        ("::ffff:127.0.0.1", None),
        ("0.0.0.0", None),
        ("224.0.0.1", None),
        ("10.0.0.5 ", None),
        ("host", None),
        ("", None),
        (None, None),
        (5, None),
    ],
)
def test_canonical(address: Any, expected: str | None) -> None:
    assert canonical(address) == expected


def broken(*path: str, value: Any = None) -> dict[str, Any]:
    item = pod("p", "10.0.0.5")
    at: Any = item
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return item


@pytest.mark.parametrize(
    "item",
    [
        None, [], "pod", {}, {"metadata": None}, broken("spec"), broken("status", value="x"),
        broken("metadata", "creationTimestamp", value="yesterday"), broken("metadata", "creationTimestamp"),
        broken("metadata", "labels", value=5), broken("status", "podIPs", value=[5]),
        broken("metadata", "ownerReferences", value=[{"controller": True}]),
    ],
)  # fmt: skip
def test_what_is_no_pod(item: Any) -> None:
    """It is told as such, and nothing of it is repeated."""
    with pytest.raises(Malformed, match=r"^no pod$"):
        read(item, ["team"])
