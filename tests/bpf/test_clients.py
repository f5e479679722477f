"""Clients that were never told about a proxy."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bpf import clients
from bpf.conftest import OPENAI4, OPENAI6, OTHER, MakeMesh, Placed
from bpf.machine import Cgroup, redirect, sh, status, told
from e2e.certs import Authority
from e2e.mesh import Mesh
from e2e.provider import wait_for
from e2e.replies import TEXT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

URL = "https://api.openai.com/v1/chat/completions"
type Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where clients are built."""
    return tmp_path_factory.mktemp("clients")


@pytest.fixture
def call(attached: Cgroup, environ: dict[str, str], hosts_file: Path) -> Call:
    """Runs a command among the redirected."""
    return lambda *words: sh(*attached.inside(*told(hosts_file, words)), env=environ, check=False)


@pytest.mark.parametrize("name", clients.NAMES)
def test_a_client_is_governed(
    name: str, call: Call, mesh: Mesh, provider: Placed, attached: Cgroup, built: Path
) -> None:
    """Its call reaches the provider through mitmproxy, and the audit says which process made it."""
    before = len(mesh.rows("select id from exchanges"))
    done = call(*clients.command(name, built, URL))
    assert TEXT in done.stdout, done.stderr + mesh.log()
    assert provider.call().target == "/v1/chat/completions"
    row = mesh.exchanges(before + 1)[-1]
    assert row["process"].endswith(f"in /{attached.name}")
    assert row["process"].startswith({"curl": "curl[", "go": "go-client[", "node": "node["}.get(name, "python"))
    assert row["user"] == "root"
    assert (row["via"], row["host"], row["provider"]) == ("transparent", "api.openai.com", "openai")
    assert row["cost_microusd"]
    assert row["billing"] == ("metered" if name == "openai" else "unknown")  # by its key; the address is a private one
    assert '"process":"kernel"' in row["identity_sources"].replace(" ", "")


def test_an_answer_is_searched_at_the_address_and_under_the_name(
    make_mesh: MakeMesh, provider: Placed, authority: Authority, cgroup: Cgroup, hosts_file: Path, built: Path
) -> None:
    """What we fetch ourselves (`output: mask`) comes from where the client wanted to go, whose certificate bears the
    name that the client gave."""
    mesh = make_mesh("127.0.0.1:8480", local={"pii.yaml": "output: {action: mask}\n"})
    redirect("attach", "--proxy", "127.0.0.1:8480", "--cgroup", str(cgroup.path))
    words = [*clients.command("curl", built, URL), "--cacert", str(mesh.ca)]
    done = sh(*cgroup.inside(*told(hosts_file, words)), check=False)
    redirect("detach")
    assert TEXT in done.stdout, done.stdout + done.stderr + mesh.log()
    seen = provider.call()
    assert seen.peer[0] == OPENAI4
    assert b"host: api.openai.com\r\n" in seen.head.lower()
    assert mesh.exchanges(1)[-1]["host"] == "api.openai.com"


def test_no_header_contradicts_the_kernel(call: Call, mesh: Mesh, provider: Placed, built: Path) -> None:
    """A redirected client comes from loopback, whose headers are believed here; the kernel's word comes before."""
    before = len(mesh.rows("select id from exchanges"))
    forged = ["-H", "X-Mesh-User: ada", "-H", "X-Mesh-Process: other", "-H", "X-Mesh-Team: red"]
    assert TEXT in call(*clients.command("curl", built, URL), *forged).stdout
    row = mesh.exchanges(before + 1)[-1]
    assert (row["user"], row["team"]) == ("root", "red")
    assert row["process"].startswith("curl[")
    provider.call()


def test_ipv6(call: Call, mesh: Mesh, provider: Placed, hosts_file: Path) -> None:
    """A call to an IPv6 address goes to the listener on ::1 and on to that very address."""
    resolve = ["--resolve", f"api.openai.com:443:[{OPENAI6}]"]
    done = call("curl", "-sS", "-d", clients.CALL, "-H", "content-type: application/json", *resolve, URL)
    assert TEXT in done.stdout, done.stderr
    assert provider.call().peer[0] == OPENAI6  # from itself to itself: the addresses are all on one interface


def test_another_host_is_untouched(call: Call, mesh: Mesh, other: Placed, authority: Authority) -> None:
    """What is no LLM host passes as it is: the same bytes, and the server's own certificate."""
    other.clear()
    seen = call(
        "curl", "-sS", "--cacert", str(authority.ca), "-H", "X-Odd:  two  blanks", "https://plain.example/v1/models"
    )
    assert seen.returncode == 0, seen.stderr
    request = other.call()
    assert b"X-Odd:  two  blanks\r\n" in request.head
    counted = "select connections from tunnels where host = 'plain.example'"
    assert wait_for(lambda: mesh.rows(counted), "it is counted by its name")[0]["connections"] >= 1
    script = f"""if 1:
        import socket, ssl, hashlib
        raw = socket.create_connection(("{OTHER}", 443))
        tls = ssl.create_default_context(cafile="{authority.ca}").wrap_socket(raw, server_hostname="plain.example")
        print(hashlib.sha256(tls.getpeercert(True)).hexdigest(), tls.getpeername())"""
    through = call("python3", "-c", script)
    direct = sh("python3", "-c", script)
    assert through.stdout.split()[0] == direct.stdout.split()[0]
    assert "8443" in through.stdout and "8443" not in direct.stdout


@pytest.mark.parametrize("how", ["connected", "unconnected", "ipv6", "go"])
def test_quic_is_refused(how: str, call: Call, built: Path, openai: Placed) -> None:
    """UDP to port 443 is refused at once, so that HTTP/3 falls back to TCP; other UDP is not touched."""
    if how == "go":
        assert "refused" in call(str(clients.go(built)), "-udp", f"{OPENAI4}:443").stdout
        assert "nil" in call(str(clients.go(built)), "-udp", f"{OPENAI4}:9").stdout
        return
    family, address = ("AF_INET6", OPENAI6) if how == "ipv6" else ("AF_INET", OPENAI4)
    send = "s.sendto(b'x', to)" if how == "unconnected" else "s.connect(to); s.send(b'x')"
    script = "import socket, sys; s = socket.socket(socket.{}, socket.SOCK_DGRAM); to = ('{}', {}); {}"
    refused = call("python3", "-c", script.format(family, address, 443, send))
    assert "ConnectionRefusedError" in refused.stderr
    assert call("python3", "-c", script.format(family, address, 9, send)).returncode == 0


def test_ports_by_option(mesh: Mesh, cgroup: Cgroup, call: Call, openai: Placed) -> None:
    """Only 443 is redirected, unless other ports are given."""
    with socket.create_server((OPENAI4, 9443)):
        script = f"import socket; print(socket.create_connection(('{OPENAI4}', 9443)).getpeername())"
        assert OPENAI4 in call("python3", "-c", script).stdout
        redirect("attach", "--cgroup", str(cgroup.path), "--port", "443", "--port", "9443")
        assert "127.0.0.1" in call("python3", "-c", script).stdout


def test_loopback_is_left_alone(call: Call) -> None:
    """A service of the machine's own on port 443 is not turned away from."""
    with socket.create_server(("127.0.0.1", 443)):
        script = "import socket; print(socket.create_connection(('127.0.0.1', 443)).getpeername()[1])"
        assert call("python3", "-c", script).stdout.strip() == "443"


@pytest.mark.parametrize("who", ["redirected", "stranger"])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_listener_takes_redirected_connections_only(who: str, address: str, call: Call, mesh: Mesh) -> None:
    """A connection made straight to the transparent listener is closed without an answer."""
    script = f"""if 1:
        import socket, ssl
        raw = socket.create_connection(("{address}", 8443), 10)
        raw.settimeout(10)
        try:
            ssl._create_unverified_context().wrap_socket(raw, server_hostname="api.openai.com")
            print("TLS")
        except OSError as error:
            print("closed")"""
    run = call if who == "redirected" else sh
    assert run("python3", "-c", script).stdout.strip() == "closed", mesh.log()


@pytest.mark.parametrize("way", ["proxy", "gateway"])
def test_clients_that_use_the_proxy_openly_have_an_identity(
    way: str, mesh: Mesh, cgroup: Cgroup, provider: Placed, environ: dict[str, str], built: Path
) -> None:
    """Connects to the proxy's own ports are remembered too, those of processes that are not redirected."""
    port = mesh.run[way].rpartition(":")[2]
    redirect("attach", "--own-port", port)
    before = len(mesh.rows("select id from exchanges"))
    base = URL if way == "proxy" else f"{mesh.gateway}/v1/chat/completions"
    words = [*clients.command("curl", built, base), "-H", "X-Mesh-User: ada"]
    words += ["-x", mesh.proxy] if way == "proxy" else ["--noproxy", "*", "-H", "Authorization: Bearer sk-test"]
    done = sh(*cgroup.inside(*words), env=environ)
    redirect("detach")
    assert TEXT in done.stdout
    row = mesh.exchanges(before + 1)[-1]
    assert row["process"].startswith("curl[")
    assert row["process"].endswith(f"in /{cgroup.name}")
    assert row["user"] == "root"


def test_nothing_leaks(attached: Cgroup, mesh: Mesh, other: Placed) -> None:
    """After 10,000 connects nothing is remembered, and nothing was pushed out."""
    script = f"""if 1:
        import socket, struct
        for _ in range(2500):
            s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.connect(("{OTHER}", 443)); s.close()"""
    before = status()["counts"]
    with ThreadPoolExecutor(4) as pool:  # each connection costs the proxy some milliseconds, on a busy machine many
        runs = [pool.submit(sh, *attached.inside("python3", "-c", script), timeout=300) for _ in range(4)]
    for run in runs:
        run.result()
    kinds = ("connections", "opening")
    wait_for(lambda: [status()["counts"][what] for what in kinds] == [0, 0], "all is forgotten", 60)
    after = status()["counts"]
    assert after["redirected"] - before["redirected"] == 10_000
    assert after["evicted"] == 0
