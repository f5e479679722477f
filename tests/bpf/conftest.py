"""Fixtures: a network of the tests' own, a provider there at addresses that are not loopback, one transparent mesh."""

from __future__ import annotations

import asyncio
import fcntl
import os
import ssl
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bpf import machine
from bpf.machine import Cgroup
from e2e.certs import Authority, make_authority
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider

OPENAI4, OPENAI6, OTHER = "198.18.0.10", "2001:2:0:10::10", "198.18.0.20"
"""Addresses of the provider and of a host that is none; from ranges for tests (RFC 2544, RFC 5180)."""
NODE = "198.18.0.1"
NAMES = ["api.openai.com", "plain.example", OPENAI4, OTHER]
BELIEVED = "trust_headers_from: [127.0.0.0/8]\n"
"""An identities.yaml that believes the headers of those who come from loopback, as redirected clients do."""


class Placed(Provider):
    """A provider on port 443 of addresses of its own."""

    def __init__(self, context: ssl.SSLContext, addresses: list[str]) -> None:
        super().__init__(context)
        self.addresses = addresses

    async def _listen(self) -> None:
        await asyncio.start_server(self._serve, self.addresses, 443, ssl=self.context, limit=2**20, backlog=2048)
        self.port = 443


@pytest.fixture(scope="package")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The kernel to ourselves: programs on the root of the cgroup tree are there for everybody."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        pytest.skip("these have the kernel to themselves: run them without -n, as scripts/test does")
    with (Path(tempfile.gettempdir()) / "mitmesh-tests-bpf.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if why := machine.why_not():
            pytest.skip(why)
        machine.redirect("detach")
        yield
        machine.redirect("detach")


@pytest.fixture(scope="package")
def network(kernel: None) -> Iterator[None]:
    """Everything here runs in a network namespace of its own, with addresses that nobody has."""
    with machine.own_network():
        for address in (f"{OPENAI4}/24", f"{OTHER}/24", f"{NODE}/24", f"{OPENAI6}/64"):
            more = ["nodad"] if ":" in address else []
            machine.sh("ip", "addr", "add", address, "dev", "lo", *more)
        yield


@pytest.fixture(scope="package")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the provider's certificate."""
    return make_authority(tmp_path_factory.mktemp("authority"), [*NAMES, OPENAI6])


@pytest.fixture(scope="package")
def openai(network: None, authority: Authority) -> Iterator[Placed]:
    """Serves api.openai.com."""
    provider = Placed(authority.server_context(["http/1.1"]), [OPENAI4, OPENAI6])
    provider.start()
    yield provider
    provider.stop()


@pytest.fixture(scope="package")
def other(network: None, authority: Authority) -> Iterator[Placed]:
    """Serves plain.example, which is no LLM host."""
    provider = Placed(authority.server_context(["http/1.1"]), [OTHER])
    provider.start()
    yield provider
    provider.stop()


@pytest.fixture
def provider(openai: Placed) -> Placed:
    """Its memory empty."""
    openai.clear()
    return openai


@pytest.fixture(scope="package")
def hosts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What clients find in their /etc/hosts."""
    file = tmp_path_factory.mktemp("names") / "hosts"
    file.write_text(f"127.0.0.1 localhost\n{OPENAI4} api.openai.com\n{OTHER} plain.example\n{OPENAI6} six.openai.com\n")
    return file


type MakeMesh = Callable[..., Mesh]


@pytest.fixture(scope="package")
def make_mesh(network: None, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeMesh]:
    """Makes and starts a mesh with a transparent listener, in a cgroup of its own."""
    made: list[tuple[Mesh, Cgroup]] = []

    def make(at: str = "127.0.0.1:8443,[::1]:8443", **settings: Any) -> Mesh:
        settings["options"] = ["--set", f"mesh_transparent={at}", *settings.get("options", [])]
        settings["local"] = {"mesh.yaml": RAW_TEXT, "identities.yaml": BELIEVED, **settings.get("local", {})}
        settings["environ"] = {"MESH_TEST_RESOLVE": f"api.openai.com:443={OPENAI4}:443"}
        folder = settings.pop("folder", None) or tmp_path_factory.mktemp("mesh")
        mesh = Mesh(folder, resolve={}, trust=authority.ca, **settings)
        mesh.launch()
        assert mesh.process
        cgroup = Cgroup(f"mitmesh-test-proxy-{uuid.uuid4().hex[:8]}")
        made.append((mesh, cgroup))
        cgroup.take(mesh.process.pid)
        ready(mesh)
        return mesh

    yield make
    for mesh, cgroup in made:
        if mesh.process is not None and mesh.process.poll() is None:
            mesh.kill9()
        cgroup.remove()


def ready(mesh: Mesh) -> None:
    """Wait for it."""
    from e2e.mesh import START_SECONDS, wait_for

    wait_for(mesh._ready, f"mitmesh is ready; its log:\n{mesh.log()}", START_SECONDS)


@pytest.fixture(scope="module")
def mesh(make_mesh: MakeMesh, openai: Placed, other: Placed) -> Iterator[Mesh]:
    """One mesh for the tests of a module that do not change it; then its ports are free."""
    made = make_mesh()
    yield made
    made.kill9()


@pytest.fixture(scope="module")
def trust(mesh: Mesh, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What clients trust: our CA, and that of hosts which are none of ours."""
    bundle = tmp_path_factory.mktemp("trust") / "bundle.pem"
    bundle.write_bytes(mesh.ca.read_bytes() + authority.ca.read_bytes())
    return bundle


@pytest.fixture
def cgroup(kernel: None) -> Iterator[Cgroup]:
    """A cgroup for clients."""
    made = Cgroup(f"mitmesh-test-{uuid.uuid4().hex[:8]}")
    yield made
    made.remove()


@pytest.fixture
def attached(mesh: Mesh, cgroup: Cgroup) -> Iterator[Cgroup]:
    """Clients in this cgroup are redirected."""
    machine.redirect("attach", "--cgroup", str(cgroup.path))
    yield cgroup
    machine.redirect("detach")


@pytest.fixture
def environ(trust: Path) -> dict[str, str]:
    """A client's environment: no proxy, and what it trusts."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    variables = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    return {**kept, **dict.fromkeys(variables, str(trust))}
