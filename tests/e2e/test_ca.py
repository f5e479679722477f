"""Who signs, in the real process: never a key that is not this install's or configured."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from mitmproxy.certs import CertStore

from e2e.conftest import MakeMesh
from e2e.mesh import ROOT, Mesh
from e2e.provider import wait_for
from mitmesh.ca import Authority, Names
from mitmesh.ca.authority import make
from mitmesh.hostnames import parse_network

HOST = "hosts:\n  - {id: new, match: [new.example], provider: openai, api: openai}\n"


def shown(mesh: Mesh, name: str) -> list[x509.Certificate]:
    """What the proxy shows a client who asks for this host, the host's own first."""
    host, _, port = mesh.run["proxy"].rpartition(":")
    context = ssl.create_default_context(cafile=str(mesh.ca))
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        plain.sendall(f"CONNECT {name}:443 HTTP/1.1\r\nhost: {name}:443\r\n\r\n".encode())
        assert b" 200 " in plain.recv(4096)
        with context.wrap_socket(plain, server_hostname=name) as tls:
            chain = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # public from Python 3.13 on
            return [x509.load_pem_x509_certificate(each.public_bytes().encode()) for each in chain]


def signer(mesh: Mesh, name: str = "api.openai.com") -> str:
    return shown(mesh, name)[0].issuer.rfc4514_string()


def stopped(mesh: Mesh) -> str:
    """The log of a mitmesh that would not start."""
    assert mesh.launch().wait(40) == 1, mesh.log()
    return mesh.log()


@pytest.mark.parametrize("confdir", ["own", "shared"])
def test_mitmproxys_ca_never_signs(make_mesh: MakeMesh, confdir: str, tmp_path: Path) -> None:
    """In the plain form too, where mitmproxy makes a CA before any script is loaded, ours signs and clients trust ours:
    whether `confdir` is mitmproxy's own folder or the one that ours is in."""
    mesh = make_mesh()
    if confdir == "shared":
        mesh.confdir = mesh.data / "ca"
    mesh.start()
    leaf, above = shown(mesh, "api.openai.com")  # the root is not sent
    assert above.subject.rfc4514_string() == leaf.issuer.rfc4514_string() == signer(mesh)
    assert "O=mitmesh" in signer(mesh)
    assert above.extensions.get_extension_for_class(x509.NameConstraints).critical


@pytest.mark.slow
def test_a_host_outside_and_rotation(make_mesh: MakeMesh) -> None:
    """A host added at run time is refused with what to do, the old rules stay; after scripts/ca rotate it is signed for
    by the new CA, without a restart, while the old one goes on signing the others and clients trust both."""
    mesh = make_mesh().start()
    old = signer(mesh)
    mesh.overlay("hosts.yaml", HOST)
    line = (
        "hosts.yaml: new: the CA may not sign for new.example; run scripts/ca rotate; the rules before it stay in force"
    )
    wait_for(lambda: line in str(mesh.health()["warnings"]), "the warning")
    assert signer(mesh) == old
    environ = {**os.environ, "MITMESH_HOME": str(mesh.data)}
    done = subprocess.run([ROOT / "scripts" / "ca", "rotate"], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: not mesh.health()["warnings"], "the new rules")
    assert signer(mesh) == old
    assert signer(mesh, "new.example") != old
    said = subprocess.run([ROOT / "scripts" / "ca", "show"], env=environ, capture_output=True, text=True).stdout
    assert said.count("O=mitmesh: signs") == 2
    assert mesh.ca.read_text().count("BEGIN") == 2
    mesh.stop()

    mesh.overlay("hosts.yaml", HOST.replace("new", "newer"))  # at start there are no rules before it
    assert "newer: the CA may not sign for newer.example; run scripts/ca rotate" in stopped(mesh)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--certs", "{pem}"], "certs must be []"),
        (["--set", "cert_passphrase=x"], "cert_passphrase must be None"),
        (["--set", "add_upstream_certs_to_client_chain=true"], "add_upstream_certs_to_client_chain must be False"),
    ],
)
def test_no_other_key_signs(make_mesh: MakeMesh, tmp_path: Path, options: list[str], said: str) -> None:
    """An option of mitmproxy's that would have another key sign keeps it from starting."""
    CertStore.create_store(tmp_path / "other", "mitmproxy", 2048)
    pem = str(tmp_path / "other" / "mitmproxy-ca.pem")
    assert said in stopped(make_mesh(options=[word.format(pem=pem) for word in options]))


@pytest.mark.quick
def test_ours_signs_again_when_mitmproxy_loads_its_own(make_mesh: MakeMesh, tmp_path: Path) -> None:
    """A `confdir` that is set while it runs makes mitmproxy load another CA: ours takes its place at once."""
    script, done = tmp_path / "changer.py", tmp_path / "done"
    script.write_text(
        "import asyncio, pathlib\n"
        "from mitmproxy import ctx\n"
        "async def running():\n"
        "    async def later():\n"
        f"        while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): await asyncio.sleep(0.05)\n"
        f"        ctx.options.update(confdir={str(tmp_path / 'other')!r})\n"
        f"        pathlib.Path({str(done)!r}).touch()\n"
        "    asyncio.get_running_loop().kept = asyncio.create_task(later())\n"
    )
    mesh = make_mesh(options=["-s", str(script)]).start()
    before = signer(mesh)
    (tmp_path / "go").touch()
    wait_for(done.exists, "the change")
    assert (tmp_path / "other" / "mitmproxy-ca.pem").exists()
    assert signer(mesh) == before


@pytest.mark.slow
def test_a_companys_intermediate(make_mesh: MakeMesh, tmp_path: Path) -> None:
    """A configured CA signs, its chain is sent, and clients who trust the company's root are served."""
    names = Names(("openai.com", "anthropic.com"), (parse_network("127.0.0.0/8"),))
    theirs: Authority = make(names, datetime.now(UTC))
    files = {"key": theirs.pem().split(b"-----BEGIN CERT")[0]}
    files |= {"cert": theirs.signer.public_bytes(Encoding.PEM), "chain": theirs.anchor.public_bytes(Encoding.PEM)}
    for name, data in files.items():
        (tmp_path / f"{name}.pem").write_bytes(data)
    ca = json.dumps({name: str(tmp_path / f"{name}.pem") for name in files})
    mesh = make_mesh(local={"mesh.yaml": f"ca: {ca}\n"})
    assert "its name constraints do not permit it" in stopped(mesh)  # of the shipped hosts, most
    (mesh.rules / "hosts.yaml").write_text("hosts:\n  - {id: o, match: [api.openai.com], provider: openai}\n")
    mesh.start()
    assert signer(mesh) == theirs.signer.subject.rfc4514_string()
    assert mesh.ca.read_bytes() == files["chain"]


def test_the_ca_of_mitm_it_is_not_handed_out(mesh: Mesh) -> None:
    """http://mitm.it would give clients the certificate of mitmproxy's own CA, which signs nothing here."""
    host, _, port = mesh.run["proxy"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        plain.sendall(b"GET http://mitm.it/cert/pem HTTP/1.1\r\nhost: mitm.it\r\nconnection: close\r\n\r\n")
        assert b"BEGIN CERTIFICATE" not in b"".join(iter(lambda: plain.recv(4096), b""))
