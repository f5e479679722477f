"""Pods: which cgroups are theirs, and which of them are chosen, by the metadata that the kubelet gives."""

from __future__ import annotations

import json
import os
import re
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from loader import RedirectError, cgroups

PODS_FILE = Path("/run/mitmesh/pods.json")
"""What the kubelet said last, for the proxy's option mesh_pods."""

# kubepods-burstable-pod0a1b_....slice (systemd; containerd, CRI-O, Docker), kubepods/burstable/pod0a1b-... (cgroupfs)
_POD = re.compile(r"(?:kubepods(?:-[a-z]+)?-)?pod([0-9a-f]{8}[-_0-9a-f]{24,36})(?:\.slice)?")
_SKIP = re.compile(r"(?:cri-containerd|crio|docker|libpod)-.*")


class Pod(NamedTuple):
    """One pod. `uid` is that in its cgroup's name."""

    uid: str
    namespace: str
    name: str
    labels: dict[str, str]
    service_account: str


def uid(folder: str) -> str | None:
    """The pod that a cgroup's folder is made for; None for any other."""
    found = _POD.fullmatch(folder)
    return found[1].replace("_", "-") if found else None


def running(path: Path) -> Iterator[tuple[str, Path]]:
    """All pods with a cgroup now: uid and folder. What is below a pod is not looked at."""
    try:
        entries = [entry for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return  # it went meanwhile
    for entry in entries:
        if found := uid(entry.name):
            yield found, Path(entry.path)
        elif not _SKIP.fullmatch(entry.name):
            yield from running(Path(entry.path))


def roots() -> list[Path]:
    """Where Kubernetes puts its pods; nowhere else is looked."""
    top = cgroups.root()
    return [path for path in (top / "kubepods.slice", top / "kubepods") if path.is_dir()]


class Choice:
    """`all`, `namespace=NAME` or `label=KEY=VALUE`; several are each enough. Raises RedirectError."""

    def __init__(self, texts: list[str]) -> None:
        self.everything = "all" in texts
        self.namespaces = {text.partition("=")[2] for text in texts if text.startswith("namespace=")}
        pairs = [text.removeprefix("label=").partition("=") for text in texts if text.startswith("label=")]
        self.labels = {(key, value) for key, _, value in pairs}
        if wrong := [text for text in texts if text != "all" and not text.startswith(("namespace=", "label="))]:
            raise RedirectError(f"--pods is all, namespace=NAME or label=KEY=VALUE, not {wrong[0]!r}", 2)

    @property
    def needs_metadata(self) -> bool:
        """Is more than a cgroup's path needed?"""
        return not self.everything

    def takes(self, pod: Pod | None) -> bool:
        """Is this pod chosen? One that nothing is known of is, only where all are."""
        if pod is None:
            return self.everything
        return self.everything or pod.namespace in self.namespaces or bool(self.labels & set(pod.labels.items()))


def parse(text: bytes) -> list[Pod]:
    """Pods of a PodList, as the kubelet's /pods and `kubectl get pods -o json` give it. Raises ValueError."""
    document = json.loads(text)
    if not isinstance(document, dict) or not isinstance(document.get("items"), list):
        raise ValueError("no PodList")
    return [_pod(item) for item in document["items"] if isinstance(item, dict)]


def _pod(item: dict[str, Any]) -> Pod:
    meta, spec = item.get("metadata") or {}, item.get("spec") or {}
    labels = {str(key): str(value) for key, value in (meta.get("labels") or {}).items()}
    hashed = (meta.get("annotations") or {}).get("kubernetes.io/config.hash")  # a static pod's cgroup has this name
    return Pod(
        str(hashed or meta.get("uid", "")),
        str(meta.get("namespace", "")),
        str(meta.get("name", "")),
        labels,
        str(spec.get("serviceAccountName", "")),
    )


def source(named: str, token: str | None, ca: str | None) -> Callable[[], bytes]:
    """Reads the PodList from a file, or from the kubelet (https://127.0.0.1:10250/pods). Both raise OSError."""
    if not named.startswith(("http://", "https://")):
        return Path(named).read_bytes
    context = ssl.create_default_context(cafile=ca) if named.startswith("https://") else None

    def ask() -> bytes:
        request = urllib.request.Request(named)
        if token:
            request.add_header("Authorization", "Bearer " + Path(token).read_text().strip())
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(request, timeout=2) as answer:
            text: bytes = answer.read(64 * 2**20)
            return text

    return ask


class Watch:
    """Looks again and again; `chosen` gives the ids of the cgroups of chosen pods."""

    def __init__(self, choice: Choice, read: Callable[[], bytes] | None, tell: Callable[[str], None]) -> None:
        self.choice, self._read, self._tell = choice, read, tell
        self._known: dict[str, Pod] = {}
        self._asked: set[str] = set()
        self._text = b""
        self.problem: str | None = None

    def chosen(self) -> set[int]:
        """Ids of the cgroups of the pods that are chosen now. The metadata is asked for when a new pod is there."""
        here = {found: path for root in roots() for found, path in running(root)}
        if set(here) - self._asked or set(here) - set(self._known):
            self._ask()
            self._asked = set(here) & set(self._known)
        ids = set()
        for found, path in here.items():
            if self.choice.takes(self._known.get(found)):
                try:
                    ids.add(cgroups.identity(path))
                except OSError:
                    continue
        return ids

    def _ask(self) -> None:
        if self._read is None:
            return
        try:
            text = self._read()
            pods = parse(text)
        except (OSError, ValueError) as error:
            said = f"pod metadata cannot be read ({type(error).__name__}); what is known stays in force"
            if said != self.problem:
                self._tell(said)
            self.problem = said
            return
        self.problem = None
        self._known = {pod.uid: pod for pod in pods}
        if text != self._text:
            self._text = text
            publish(pods)


def publish(pods: list[Pod]) -> None:
    """Write what the proxy needs to know, and no more, where it can read it. Raises OSError."""
    items = [
        {
            "metadata": {"uid": pod.uid, "namespace": pod.namespace, "name": pod.name},
            "spec": {"serviceAccountName": pod.service_account},
        }
        for pod in pods
    ]
    PODS_FILE.parent.mkdir(mode=0o755, exist_ok=True)
    new = PODS_FILE.with_suffix(".new")
    new.write_text(json.dumps({"items": items}) + "\n")
    new.chmod(0o644)
    new.replace(PODS_FILE)
