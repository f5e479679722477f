"""`--host`: every process but the proxy; by default only addresses of LLM hosts, resolved and learned."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf import machine
from bpf.conftest import OPENAI4, OPENAI6, OTHER, MakeMesh, Placed, ready
from bpf.machine import REDIRECT, ROOT, Cgroup, redirect, sh, status, told
from e2e.certs import Authority
from e2e.mesh import Mesh
from e2e.provider import wait_for
from e2e.replies import TEXT
from loader import cgroups

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PEER = "import socket, sys; print(socket.create_connection((sys.argv[1], 443), 5).getpeername()[0])"
URL = "https://api.openai.com/v1/chat/completions"


def peer(address: str) -> str:
    return sh("python3", "-c", PEER, address).stdout.strip()


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A rules folder with three hosts."""
    folder = tmp_path / "rules"
    folder.mkdir()
    listed = (
        'hosts:\n  - id: a\n    match: ["api.openai.com", "*.openai.azure.com"]\n  - id: b\n    match: ["x.example"]\n'
    )
    (folder / "hosts.yaml").write_text(listed)
    return folder


@contextlib.contextmanager
def following(hosts: Path, *words: str) -> Iterator[None]:
    """A loader that follows."""
    loader = subprocess.Popen(told(hosts, [REDIRECT, "attach", *words]), stderr=subprocess.PIPE, text=True)
    assert loader.stderr
    said = ""
    while "redirecting" not in said:
        said = loader.stderr.readline()
        assert said
    try:
        yield
    finally:
        loader.terminate()
        assert loader.wait(10) == 0
        redirect("detach")


def test_all_443(mesh: Mesh, provider: Placed, other: Placed, environ: dict[str, str], hosts_file: Path) -> None:
    """Every process's connects come to the proxy, and its own go out: its cgroup was found by who listens."""
    with following(hosts_file, "--host", "--all-443"):
        assert peer(OTHER) == "127.0.0.1"
        curl = ["curl", "-sS", "--max-time", "20", "-H", "content-type: application/json"]
        done = sh(*told(hosts_file, [*curl, "-d", '{"model":"m","messages":[]}', URL]), env=environ)
        assert TEXT in done.stdout, mesh.log()
        assert provider.call()
        with machine.own_network():  # a container's own loopback is not the host's: it is left alone
            sh("ip", "addr", "add", f"{OTHER}/32", "dev", "lo")
            with socket.create_server((OTHER, 443)):
                assert peer(OTHER) == OTHER
    assert peer(OTHER) == OTHER


def test_addresses_of_llm_hosts(mesh: Mesh, openai: Placed, other: Placed, hosts_file: Path, rules: Path) -> None:
    """By default only the addresses that the rules' names resolve to."""
    with following(hosts_file, "--host", "--rules", str(rules)):
        assert (peer(OPENAI4), peer(OTHER)) == ("127.0.0.1", OTHER)


def test_addresses_are_learned_from_dns_answers(
    mesh: Mesh, openai: Placed, other: Placed, hosts_file: Path, rules: Path
) -> None:
    """A name that fits a pattern with * is redirected once a client has been told its address; others never are."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=_answer, args=(server, OTHER), daemon=True).start()
    with following(hosts_file, "--host", "--rules", str(rules)):
        before = status()["addresses"]
        _ask("my.openai.azure.com.example")
        time.sleep(0.3)
        assert (peer(OTHER), status()["addresses"]) == (OTHER, before)
        _ask("my.openai.azure.com")
        wait_for(lambda: peer(OTHER) == "127.0.0.1", "the address is learned", 2)
    server.close()


def _question(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0\0\1\0\1"


def _ask(name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + _question(name), ("127.0.0.1", 53))
        client.recv(512)


def _answer(server: socket.socket, address: str) -> None:
    with contextlib.suppress(OSError):
        while True:
            query, client = server.recvfrom(512)
            head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, 1, 0, 0)
            record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(address)
            server.sendto(head + query[12:] + record, client)


def test_it_needs_to_know_the_proxy(network: None, openai: Placed) -> None:
    """Without a proxy that listens it is one line, and nothing is attached."""
    before = machine.programs()
    done = redirect("attach", "--host", "--proxy", "127.0.0.1:8499", check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (11, 1)
    assert machine.programs() == before


def test_a_loop_is_cut(make_mesh: MakeMesh, provider: Placed, cgroup: Cgroup, hosts_file: Path) -> None:
    """A proxy that came into a chosen cgroup after the attach: its own connects are turned back to it; it closes them
    and says so, once. The same attach again leaves it out, and it alone."""
    mesh = make_mesh("127.0.0.1:8450")
    words = ["attach", "--proxy", "127.0.0.1:8450", "--cgroup", str(cgroup.path)]
    redirect(*words)
    assert mesh.process
    home = Path("/proc", str(mesh.process.pid), "cgroup").read_text().rpartition("0::")[2].strip()
    cgroup.take(mesh.process.pid)
    curl = ["curl", "-sS", "--max-time", "20", "--cacert", str(mesh.ca), "-H", "content-type: application/json"]
    call = [*curl, "-d", '{"model":"m","messages":[]}', "-x", mesh.proxy, URL]
    try:
        for _ in range(3):
            assert "upstream_failed" in sh(*call, check=False).stdout
        assert mesh.log().count("came back to us") == 1
        assert "bpf/redirect attach again" in mesh.log()
        redirect(*words)
        assert TEXT in sh(*call).stdout
        client = cgroup.inside(*told(hosts_file, [word for word in call if word not in ("-x", mesh.proxy)]))
        assert TEXT in sh(*client).stdout
        assert mesh.exchanges(5)[-1]["via"] == "transparent"
    finally:
        redirect("detach")
        (cgroups.root() / home.lstrip("/") / "cgroup.procs").write_text(str(mesh.process.pid))
    assert provider.call()


def test_rules_by_process(
    make_mesh: MakeMesh, provider: Placed, authority: Authority, cgroup: Cgroup, hosts_file: Path
) -> None:
    """`when: {process: ...}` holds for the cgroup that the kernel attests, whatever the process calls itself."""
    name = f"/{cgroup.name}"
    rule = "hosts:\n  - {id: closed, match: [api.openai.com], provider: openai, action: refuse, when: {process: %s}}\n"
    mesh = make_mesh("127.0.0.1:8470,[::1]:8470", local={"hosts.yaml": rule % name})
    free = Cgroup(f"{cgroup.name}-free")
    proxies = ["--proxy", "127.0.0.1:8470", "--proxy", "[::1]:8470"]
    redirect("attach", *proxies, "--cgroup", str(cgroup.path), "--cgroup", str(free.path))
    curl = ["curl", "-sS", "--max-time", "20", "--cacert", str(mesh.ca), "-H", "content-type: application/json"]
    words = told(hosts_file, [*curl, "-d", '{"model":"m","messages":[]}', URL])
    refused, fine = sh(*cgroup.inside(*words), check=False), sh(*free.inside(*words), check=False)
    redirect("detach")
    free.remove()
    assert refused.returncode == 35, refused.stdout
    assert TEXT in fine.stdout, fine.stderr
    query = "select rule_id from connections where kind = 'refused'"
    assert wait_for(lambda: mesh.rows(query), "its row")[0]["rule_id"] == "closed"


@pytest.mark.parametrize("when_down", ["refuse"])
def test_the_proxy_restarts_under_load(
    when_down: str,
    make_mesh: MakeMesh,
    openai: Placed,
    other: Placed,
    cgroup: Cgroup,
    trust: Path,
    authority: Authority,
) -> None:
    """While clients call without a pause, the proxy is told to end, and started anew: what is answered was answered
    by the right host, through the proxy; the rest was refused or cut; and afterwards all is well."""
    mesh = make_mesh("127.0.0.1:8460,[::1]:8460")
    bundle = mesh.folder / "bundle.pem"
    bundle.write_bytes(mesh.ca.read_bytes() + authority.ca.read_bytes())
    redirect("attach", "--proxy", "127.0.0.1:8460", "--proxy", "[::1]:8460", "--cgroup", str(cgroup.path))
    script = f"""if 1:
        import http.client, json, ssl, sys, threading, time
        context = ssl.create_default_context(cafile="{bundle}")
        end, counts = time.monotonic() + 14, dict(fine=0, failed=0, wrong=0, last=0)
        def call(name, address):
            while time.monotonic() < end:
                c = http.client.HTTPSConnection(name, 443, timeout=10, context=context)
                try:
                    import socket
                    c.sock = context.wrap_socket(socket.create_connection((address, 443), 10), server_hostname=name)
                    c.request("GET", "/v1/models")
                    a = c.getresponse(); a.read()
                    ours = a.headers.get("x-mesh-origin")
                    right = ours in ("provider", "proxy") if name == "api.openai.com" else ours is None
                    counts["fine" if right else "wrong"] += 1
                    counts["last"] = time.monotonic()
                except (OSError, http.client.HTTPException):
                    counts["failed"] += 1; time.sleep(0.02)
                finally: c.close()
        threads = [threading.Thread(target=call, args=each) for each in
                   [("api.openai.com", "{OPENAI4}"), ("plain.example", "{OTHER}")] * 3]
        [t.start() for t in threads]; [t.join() for t in threads]
        counts["last"] = end - counts["last"]; print(json.dumps(counts))"""
    client = subprocess.Popen(cgroup.inside("python3", "-c", script), stdout=subprocess.PIPE, text=True)
    time.sleep(2)
    assert mesh.process
    home = Path("/proc", str(mesh.process.pid), "cgroup").read_text().rpartition("0::")[2].strip()
    mesh.stop()
    mesh.launch()
    (machine.cgroup_root() / home.lstrip("/") / "cgroup.procs").write_text(str(mesh.process.pid))
    ready(mesh)
    counts = json.loads(client.communicate(timeout=60)[0])
    redirect("detach")
    assert counts["wrong"] == 0
    assert counts["fine"] > 50
    assert counts["failed"] > 0
    assert counts["last"] < 2


@pytest.mark.parametrize("chosen", ["host", "cgroup"])
def test_nft(
    mesh: Mesh, provider: Placed, cgroup: Cgroup, hosts_file: Path, environ: dict[str, str], chosen: str
) -> None:
    """The same by nftables, where its modules are: calls are governed over IPv4 and IPv6, nobody is known, a direct
    connect is closed, and detach takes the table away."""
    assert mesh.process
    home = Path("/proc", str(mesh.process.pid), "cgroup").read_text().rpartition("0::")[2].strip()
    before = sh("nft", "list", "ruleset").stdout
    which = ["--host", "--all-443", "--proxy-cgroup", home] if chosen == "host" else ["--cgroup", str(cgroup.path)]
    done = redirect("attach", "--engine", "nft", *which, check=False)
    if done.returncode:
        pytest.skip(done.stderr.strip())
    assert "identity" in done.stderr
    count = len(mesh.rows("select id from exchanges"))
    curl = ["curl", "-sS", "--max-time", "20", "-H", "content-type: application/json"]
    six = ["--resolve", f"api.openai.com:443:[{OPENAI6}]"]
    try:
        for where in ([], six):
            words = told(hosts_file, [*curl, *where, "-d", '{"model":"m","messages":[]}', URL])
            done = sh(*cgroup.inside(*words), env=environ, check=False)
            assert TEXT in done.stdout, done.stderr + mesh.log()
        for row in mesh.exchanges(count + 2)[-2:]:
            assert (row["via"], row["process"], row["host"]) == ("transparent", None, "api.openai.com")
        assert {provider.call(1).peer[0], provider.call(2).peer[0]} == {OPENAI4, OPENAI6}
        assert "attached     nft" in redirect("status").stdout
        udp = "import socket; s = socket.socket(2, 2); s.connect(('198.18.0.10', 443)); s.send(b'x'); s.send(b'x')"
        refused = sh(*cgroup.inside("python3", "-c", udp), check=False)
        assert "PermissionError" in refused.stderr  # as nftables refuses locally
        direct = sh("curl", "-sk", "--max-time", "5", "https://127.0.0.1:8443/", check=False)
        assert direct.returncode in (35, 52, 56)
    finally:
        redirect("detach")
    assert sh("nft", "list", "ruleset").stdout == before


def test_the_project_runs_from_anywhere(tmp_path: Path, network: None) -> None:
    """bpf/ is all that is needed: it can be copied to a node without the rest."""
    shutil.copytree(ROOT / "bpf", tmp_path / "elsewhere")
    assert sh(str(tmp_path / "elsewhere" / "redirect"), "status", cwd=str(tmp_path)).returncode == 0
