"""Pods: namespaces of their own, joined to the node by a veth pair, in cgroups as container runtimes make them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bpf.clients import CALL
from bpf.conftest import NODE, OPENAI4, MakeMesh, Placed
from bpf.machine import Cgroup, Namespace, cgroup_root, following, redirect, sh, told
from e2e.mesh import Mesh
from e2e.provider import wait_for
from e2e.replies import TEXT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CONTAINER = "0123456789abcdef" * 4
LAYOUTS = {
    "containerd": "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_}.slice/cri-containerd-{c}.scope",
    "crio": "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_}.slice/crio-{c}.scope",
    "docker": "kubepods/burstable/pod{uid}/{c}",
}


@dataclass
class Pod:
    """An imitated pod."""

    uid: str
    namespace: str
    name: str
    net: Namespace
    cgroup: Cgroup

    @property
    def item(self) -> dict[str, object]:
        """As the kubelet tells it."""
        labels = {"app": self.name}
        meta = {"uid": self.uid, "namespace": self.namespace, "name": self.name, "labels": labels}
        return {"metadata": meta, "spec": {"serviceAccountName": f"sa-{self.name}"}}

    def run(self, words: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """A command in it."""
        return sh(*self.cgroup.inside(*self.net.inside(*words)), env=environ, check=False)


@pytest.fixture
def pods(network: None) -> Iterator[dict[str, Pod]]:
    """One of each runtime."""
    made = {}
    for number, (runtime, layout) in enumerate(LAYOUTS.items(), 1):
        uid = str(uuid.uuid4())
        cgroup = Cgroup(layout.format(_=uid.replace("-", "_"), uid=uid, c=CONTAINER))
        namespace = "prod" if runtime != "docker" else "dev"
        made[runtime] = Pod(uid, namespace, f"{runtime}-app", Namespace(number), cgroup)
    yield made
    for pod in made.values():
        pod.cgroup.remove()
        pod.net.remove()
    for name in ("kubepods.slice", "kubepods"):
        for folder in sorted((cgroup_root() / name).rglob("*/"), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
        with contextlib.suppress(OSError):
            (cgroup_root() / name).rmdir()


@pytest.fixture(scope="module")
def node(make_mesh: MakeMesh, openai: Placed) -> Iterator[Mesh]:
    """A mesh whose transparent listener is at an address of the node."""
    made = make_mesh(f"{NODE}:8443")
    yield made
    made.kill9()


@pytest.fixture
def client(node: Mesh, hosts_file: Path) -> tuple[list[str], dict[str, str]]:
    """curl, and what it trusts."""
    curl = ["curl", "-sS", "--max-time", "20", "--cacert", str(node.ca), "-H", "content-type: application/json"]
    return told(hosts_file, [*curl, "-d", CALL, "https://api.openai.com/v1/chat/completions"]), {
        "PATH": "/usr/bin:/bin:/usr/sbin:/sbin"
    }


@contextlib.contextmanager
def attached(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A loader that follows, for a proxy at the node's address; nothing of it stays."""
    try:
        with following("--proxy", f"{NODE}:8443", *words) as loader:
            yield loader
        assert loader.returncode == 0
    finally:
        redirect("detach")


def test_three_pods_have_three_identities(
    node: Mesh, pods: dict[str, Pod], provider: Placed, client: tuple[list[str], dict[str, str]], tmp_path: Path
) -> None:
    """Each pod's call is known by pod, namespace and service account, from the cgroup of its process."""
    listing = tmp_path / "pods.json"
    listing.write_text(json.dumps({"items": [pod.item for pod in pods.values()]}))
    before = len(node.rows("select id from exchanges"))
    with attached("--pods", "all", "--pod-metadata", str(listing)):
        for pod in pods.values():
            done = pod.run(*client)
            assert TEXT in done.stdout, done.stderr + node.log()
    rows = node.exchanges(before + 3)[-3:]
    found = [(row["namespace"], row["pod"], row["service_account"]) for row in rows]
    assert found == [(pod.namespace, pod.name, f"sa-{pod.name}") for pod in pods.values()]
    assert [row["user"] for row in rows] == [None] * 3  # a uid in a container is nobody's here
    assert provider.call(3)
    places = [row["process"] for row in rows]
    assert places == [f"curl[{place.partition('[')[2].partition(']')[0]}] in {pod.namespace}/{pod.name}"
                      for place, pod in zip(places, pods.values(), strict=True)]  # fmt: skip


@pytest.mark.parametrize(
    ("which", "taken"), [("namespace=prod", {"containerd", "crio"}), ("label=app=docker-app", {"docker"})]
)
def test_pods_are_chosen(which: str, taken: set[str], node: Mesh, pods: dict[str, Pod], tmp_path: Path) -> None:
    """By namespace or by label; the others' connections go where they always went."""
    listing = tmp_path / "pods.json"
    listing.write_text(json.dumps({"items": [pod.item for pod in pods.values()]}))
    script = f"import socket; print(socket.create_connection(('{OPENAI4}', 443), 5).getpeername()[0])"
    with attached("--pods", which, "--pod-metadata", str(listing)):
        ends = {
            name: pod.run(["python3", "-c", script], {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}).stdout.strip()
            for name, pod in pods.items()
        }
    assert {name for name, end in ends.items() if end == NODE} == taken
    assert {end for name, end in ends.items() if name not in taken} == {OPENAI4}


def test_a_new_pod_is_seen_within_a_second(node: Mesh, pods: dict[str, Pod], tmp_path: Path, openai: Placed) -> None:
    """Its cgroup appears, its metadata is asked for, and it is redirected."""
    listing = tmp_path / "pods.json"
    late = pods.pop("docker")
    listing.write_text(json.dumps({"items": [pod.item for pod in pods.values()]}))
    path = late.cgroup.path
    path.rmdir()
    path.parent.rmdir()
    script = f"import socket; print(socket.create_connection(('{OPENAI4}', 443), 5).getpeername()[0])"
    environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
    with attached("--pods", "namespace=dev", "--pod-metadata", str(listing)):
        listing.write_text(json.dumps({"items": [pod.item for pod in [*pods.values(), late]]}))
        path.mkdir(parents=True)
        began = time.monotonic()
        wait_for(lambda: late.run(["python3", "-c", script], environ).stdout.strip() == NODE, "it is redirected")
        assert time.monotonic() - began < 1
    late.cgroup.remove()
    late.net.remove()


def test_equal_ports_in_different_namespaces(network: None, cgroup: Cgroup) -> None:
    """1,000 connections at once, ten namespaces with the same hundred source ports: each is told where it wanted to
    go, and none where another did."""
    import asyncio

    spaces = [Namespace(number) for number in range(20, 30)]
    script = """if 1:
        import socket, sys
        held = []
        for n in range(100):
            s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("", 20000 + n)); s.connect((f"198.19.{sys.argv[1]}.{n + 1}", 443)); held.append(s)
        print("up", flush=True); sys.stdin.readline()
        wrong = 0
        for n, s in enumerate(held):
            s.settimeout(20)
            wrong += s.recv(64).decode() != f"198.19.{sys.argv[1]}.{n + 1}:443"
        print("wrong", wrong)"""

    async def accept() -> None:
        from mitmproxy.platform.linux import original_addr

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await go.wait()
            host, port = original_addr(writer.get_extra_info("socket"))
            writer.write(f"{host}:{port}".encode())
            await writer.drain()
            await reader.read()
            writer.close()

        go = asyncio.Event()
        server = await asyncio.start_server(tell, NODE, 8444, backlog=1024)
        await asyncio.to_thread(redirect, "attach", "--proxy", f"{NODE}:8444", "--cgroup", str(cgroup.path))
        clients = [
            await asyncio.create_subprocess_exec(
                *cgroup.inside(*space.inside("python3", "-c", script, str(number))), stdin=-1, stdout=-1
            )
            for number, space in enumerate(spaces)
        ]
        for each in clients:
            assert each.stdout and await each.stdout.readline() == b"up\n"
        counts = await asyncio.to_thread(lambda: json.loads(redirect("status", "--json").stdout)["counts"])
        assert counts["connections"] == 1000
        go.set()
        said = await asyncio.gather(*(each.communicate(b"\n") for each in clients))
        assert [out for out, _ in said] == [b"wrong 0\n"] * 10
        server.close()

    try:
        asyncio.run(accept())
    finally:
        redirect("detach")
        for space in spaces:
            space.remove()
