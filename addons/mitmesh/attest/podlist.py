"""Pods by their address, as lists and watch events of a Kubernetes API server tell them. Knows no network."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from mitmesh.attest.podinfo import Malformed, PodInfo, Read, canonical, read, uid_of


class Gone(Exception):
    """The version that a watch began at is no longer kept (410): list anew."""


class WatchError(Exception):
    """The API server ended a watch with an error; the message is its code."""


class _Rank(NamedTuple):
    """How new a claim is: by the order in which claims were seen; within the first list by the pods' creation."""

    seen: int
    created: float


@dataclass(slots=True)
class _Claim:
    rank: _Rank
    lost: bool = False
    """Another pod claimed the address later, or as late; it is not this pod's again before it claims it anew."""


@dataclass(slots=True)
class _Pod:
    read: Read
    claims: dict[str, _Claim] = field(default_factory=dict)


class PodTable:
    """Pods by address. `labels` are kept of each; `most` pods are remembered, the rest answers to nothing; `clock`
    gives seconds since 1970."""

    def __init__(
        self, labels: Collection[str] = (), most: int = 50_000, clock: Callable[[], float] = time.time,
        before: PodTable | None = None,
    ) -> None:  # fmt: skip
        self._labels, self._most, self._clock = frozenset(labels), most, clock
        self._pods: dict[str, _Pod] = {}
        self._holders: dict[str, set[str]] = {}
        self._before = before
        self._seen: int = before._seen + 1 if before else 0
        self.left_out = 0
        """Pods that found no room. They answer to nothing before the next list."""

    def __len__(self) -> int:
        return len(self._pods)

    def successor(self) -> PodTable:
        """An empty table for a new list. Who held an address here and still claims it holds it there, unless the list
        shows one that claimed it since."""
        before = None if self.left_out else self  # of those left out nobody knows when they claimed what they claim
        return PodTable(self._labels, self._most, self._clock, before)

    def find(self, address: str) -> PodInfo | None:
        """The pod that has this IP address now; None where that is not certain."""
        if (known := canonical(address)) is None:
            return None
        for uid in self._holders.get(known, ()):
            pod = self._pods[uid]
            if not pod.claims[known].lost and pod.read.until > self._clock():
                return pod.read.info
        return None

    def listed(self, item: object) -> None:
        """Take a pod of the first list or of a successor's. Raises Malformed."""
        self._put(item, self._seen, known=False)

    def complete(self) -> None:
        """The list is whole; from here on come events."""
        self._before = None

    def event(self, event: object) -> str:
        """Take an event of a watch; return the version up to which everything is known now. Raises Gone, WatchError
        and Malformed."""
        try:
            kind, item = event["type"], event["object"]  # type: ignore[index]
            if kind == "ERROR":
                raise Gone if item.get("code") == 410 else WatchError(_code(item.get("code")))
            version = item["metadata"]["resourceVersion"]
        except (KeyError, TypeError, AttributeError):
            raise Malformed("no event of a watch") from None
        if not isinstance(version, str) or kind not in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK"):
            raise Malformed("an event of an unknown kind")
        if kind == "DELETED":
            self._forget(uid_of(item))
        elif kind != "BOOKMARK":
            self._seen += 1
            self._put(item, self._seen, known=kind == "MODIFIED")
        return version

    def _put(self, item: object, seen: int, known: bool) -> None:
        uid, now = uid_of(item), read(item, self._labels)
        old = self._pods.get(uid)
        if now is None:
            self._forget(uid)
        elif old is None and (len(self._pods) >= self._most or (known and self.left_out)):
            self.left_out += 1
            for address in now.addresses:
                self._supersede(address, _Rank(seen, now.created))
        else:
            claims = old.claims if old else {}
            self._let_go(uid, claims.keys() - now.addresses)
            pod = self._pods[uid] = _Pod(now, {each: claims[each] for each in claims if each in now.addresses})
            for address in now.addresses - pod.claims.keys():
                self._claim(address, pod, seen)

    def _claim(self, address: str, pod: _Pod, seen: int) -> None:
        uid = pod.read.info.uid
        before = self._before._pods.get(uid) if self._before else None
        claim = before.claims.get(address) if before else None
        claim = _Claim(claim.rank, claim.lost) if claim else _Claim(_Rank(seen, pod.read.created))
        claim.lost = self._supersede(address, claim.rank) or claim.lost
        pod.claims[address] = claim
        self._holders.setdefault(address, set()).add(uid)

    def _supersede(self, address: str, rank: _Rank) -> bool:
        """All claims not newer than this are lost; true if this is too."""
        lost = False
        for holder in self._holders.get(address, ()):
            other = self._pods[holder].claims[address]
            lost = lost or other.rank >= rank
            other.lost = other.lost or other.rank <= rank
        return lost

    def _forget(self, uid: str) -> None:
        if pod := self._pods.pop(uid, None):
            self._let_go(uid, pod.claims)

    def _let_go(self, uid: str, addresses: Collection[str]) -> None:
        for address in addresses:
            holders = self._holders[address]
            holders.discard(uid)
            if not holders:
                del self._holders[address]


def _code(code: object) -> str:
    return str(code) if isinstance(code, int) else "unknown"
