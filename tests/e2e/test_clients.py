"""Real clients under scripts/exec: what is governed, what is tunnelled, and what a stolen key is good for."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ca.leaf import leaf
from e2e.certs import Authority
from e2e.conftest import reachable
from e2e.mesh import RAW_TEXT, ROOT, Mesh
from e2e.provider import Provider
from mitmesh import ca
from mitmesh.rules import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / ".venv").exists(), reason="scripts/setup has not run here"),
]

CLIENTS = Path(__file__).with_name("clients")
GOVERNED, TUNNELLED, STOLEN = (
    "https://api.openai.com/v1/models",
    "https://plain.example/v1/models",
    "https://bank.example/v1/models",
)
type Run = Callable[[list[str]], subprocess.CompletedProcess[str]]
ID = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{26}\b")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority) -> Iterator[Mesh]:
    """A mitmesh, and somewhere in the world a bank.example whose certificate was signed with its CA's key."""
    folder = tmp_path_factory.mktemp("clients")
    table = dict(names)
    mesh = Mesh(folder, resolve=table, trust=authority.ca, local={"mesh.yaml": RAW_TEXT})
    (signer,) = ca.prepare(mesh.data / "ca", load(mesh.rules)).authorities
    chain = folder / "stolen.pem"
    chain.write_bytes(signer.pem().replace(b"-----BEGIN CERT", leaf(signer, "bank.example") + b"-----BEGIN CERT", 1))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain)
    table["bank.example:443"] = thief = Provider(context).start()
    mesh.overlay("egress.yaml", reachable(table))
    yield mesh.start()
    mesh.stop()
    thief.stop()


@pytest.fixture(scope="module")
def governed(mesh: Mesh, authority: Authority) -> Run:
    """Runs a command under scripts/exec, on a machine whose own store is the providers' CA."""

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        unset = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "JAVA_TOOL_OPTIONS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        environ = {name: value for name, value in os.environ.items() if name not in unset}
        environ |= {"MITMESH_HOME": str(mesh.data), "SSL_CERT_FILE": str(authority.ca), "NO_PROXY": "*"}
        command = [str(ROOT / "scripts" / "exec"), "--", *command]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=90)

    return run


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A static binary."""
    folder = tmp_path_factory.mktemp("go")
    shutil.copy(CLIENTS / "fetch.go", folder)
    settings = {"CGO_ENABLED": "0", "GOCACHE": str(folder / "cache"), "GOPROXY": "off", "GO111MODULE": "off"}
    command = ["go", "build", "-o", "fetch", "fetch.go"]
    built = subprocess.run(command, cwd=folder, env=os.environ | settings, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return str(folder / "fetch")


PROGRAMS: dict[str, tuple[str, list[str]]] = {
    "curl": ("curl", ["curl", "-sS", "-D", "-", "-o", os.devnull]),
    "python": (sys.executable, [sys.executable, str(CLIENTS / "fetch.py")]),
    "httpx": (sys.executable, [sys.executable, str(CLIENTS / "fetch_httpx.py")]),
    "node": ("node", ["node", str(CLIENTS / "fetch.mjs")]),
    "java": ("java", ["java", str(CLIENTS / "Fetch.java")]),
    "go": ("go", []),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_client(name: str, governed: Run, mesh: Mesh, request: pytest.FixtureRequest) -> None:
    """It trusts us for an LLM host, reaches a tunnelled host as before, and refuses what the CA may not sign for."""
    tool, command = PROGRAMS[name]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    command = command or [request.getfixturevalue("go")]
    got = governed([*command, GOVERNED])
    assert got.returncode == 0, got.stderr
    (call,) = ID.findall(got.stdout)
    assert mesh.exchange(call)["host"] == "api.openai.com"
    passed = governed([*command, TUNNELLED])
    assert passed.returncode == 0, passed.stderr
    assert "200" in passed.stdout
    assert not ID.findall(passed.stdout)
    stolen = governed([*command, STOLEN])
    assert stolen.returncode != 0, stolen.stdout
    assert re.search("certificate|PKIX|constraint|subtree", stolen.stderr, re.I), stolen.stderr


def test_git(governed: Run) -> None:
    """git reaches a tunnelled host: what comes back is no repository, and no matter of trust."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    done = governed(["git", "ls-remote", TUNNELLED])
    assert "certificate" not in done.stderr.lower()
    assert "certificate" in governed(["git", "ls-remote", STOLEN]).stderr.lower()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="Chromium is not installed")
@pytest.mark.skipif(shutil.which("certutil") is None, reason="certutil is not installed")
def test_chromium(mesh: Mesh, authority: Authority, tmp_path: Path) -> None:
    """With the CA installed and /proxy.pac as its setting, LLM hosts are governed, others go directly, and a stolen key
    is good for nothing; once uninstalled the CA is trusted no more."""
    environ = {**os.environ, "HOME": str(tmp_path), "MITMESH_HOME": str(mesh.data)}
    database = f"sql:{tmp_path / '.pki' / 'nssdb'}"

    def script(*words: str) -> str:
        command = [str(ROOT / "scripts" / "install-ca"), *words]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout

    def browse(url: str) -> str:
        resolve = ",".join(f"MAP {name} 127.0.0.1:{provider.port}" for name, provider in mesh.resolve.items())
        flags = ["gpu", "quic", "background-networking", "component-update", "sync"]
        command = ["chromium", "--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{flag}" for flag in flags)]
        command += [f"--user-data-dir={tmp_path / 'profile'}", f"--host-resolver-rules={resolve}"]
        command += [f"--proxy-pac-url=http://{mesh.run['control']}/proxy.pac", "--dump-dom", url]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60).stdout

    assert "trusted" in script("install", "nss")
    subprocess.run(["certutil", "-A", "-d", database, "-t", "C,,", "-n", "theirs", "-i", authority.ca], check=True)
    before = len(mesh.rows("select id from exchanges"))
    assert "gpt-4o-mini" in browse(GOVERNED)
    assert mesh.exchanges(before + 1)[-1]["host"] == "api.openai.com"
    tunnels = mesh.rows("select * from tunnels")
    assert "gpt-4o-mini" in browse(TUNNELLED)
    assert mesh.rows("select * from tunnels") == tunnels  # it did not come by us at all
    assert "gpt-4o-mini" not in browse(STOLEN)
    assert "1 removed" in script("uninstall", "nss")
    assert "gpt-4o-mini" not in browse(GOVERNED)
    assert "mitmesh" not in subprocess.run(["certutil", "-L", "-d", database], capture_output=True, text=True).stdout
