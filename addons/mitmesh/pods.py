"""Pods by uid, from the file that bpf/redirect writes of what the kubelet said: a PodList."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

MOST = 64 * 2**20
"""Bytes; a node has hundreds of pods, not more than this says."""


@dataclass(slots=True, frozen=True)
class Pod:
    """A pod as Kubernetes names it."""

    namespace: str
    name: str
    service_account: str | None = None


class Pods:
    """The file, read again when it has changed. It is believed only if its owner is root or this process' user."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._pods: dict[str, Pod] = {}

    def get(self, uid: str) -> Pod | None:
        """The pod of this uid, or None where nothing is known of it."""
        if self._path is None:
            return None
        try:
            seen = self._path.stat()
        except OSError:
            return self._pods.get(uid)  # it was taken away; what is known stays true
        stamp = (seen.st_mtime_ns, seen.st_size, seen.st_ino)
        if stamp != self._stamp:
            self._stamp = stamp
            self._read(seen)
        return self._pods.get(uid)

    def _read(self, seen: os.stat_result) -> None:
        assert self._path
        if seen.st_uid not in (0, os.geteuid()) or seen.st_mode & 0o022 or seen.st_size > MOST:
            log.warning(
                "mitmesh: mesh_pods %s is not believed: another's, writable by others, or too large", self._path
            )
            return
        try:
            self._pods = parse(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            log.warning("mitmesh: mesh_pods %s cannot be read; what was known stays", self._path)


def parse(text: bytes) -> dict[str, Pod]:
    """Pods of a PodList (as `kubectl get pods -o json`) by uid. Raises ValueError."""
    document = json.loads(text)
    if not isinstance(document, dict) or not isinstance(items := document.get("items"), list):
        raise ValueError("no PodList")
    found: dict[str, Pod] = {}
    for item in items:
        meta, spec = (item.get("metadata"), item.get("spec")) if isinstance(item, dict) else (None, None)
        if isinstance(meta, dict):
            account = spec.get("serviceAccountName") if isinstance(spec, dict) else None
            pod = Pod(str(meta.get("namespace", "")), str(meta.get("name", "")), str(account) if account else None)
            found[str(meta.get("uid", ""))] = pod
    return found
