"""Ways round the governance, each tried at the socket: none of them lets a call pass unseen."""

from __future__ import annotations

import json
import random
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamEnded

from e2e.certs import Authority, make_authority
from e2e.conftest import MakeMesh, reachable
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.raw import (
    Listener,
    answer,
    anyone,
    connect_status,
    dial,
    read_all,
    read_head,
    request,
    status,
    switch,
    tunnel,
)
from e2e.sdks import KEY

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hallo"}]}).encode()
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def silent() -> Iterator[Listener]:
    """What stands behind api.mistral.ai: nothing may ever come here."""
    with Listener() as listener:
        yield listener


@pytest.fixture(scope="module")
def hidden() -> Iterator[Listener]:
    """A server on loopback that no rule lists; trap.example resolves to it."""
    with Listener() as listener:
        yield listener


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certificates for the names that this module adds."""
    return make_authority(tmp_path_factory.mktemp("more"), ["api.x.ai", "trap.example"], "mitmesh other CA")


@pytest.fixture(scope="module")
def switching(more: Authority) -> Iterator[Listener]:
    """api.x.ai, which answers every request with 101."""
    with Listener(switch, more.server_context(["http/1.1"])) as listener:
        yield listener


@pytest.fixture(scope="module")
def mesh(
    tmp_path_factory: pytest.TempPathFactory,
    names: dict[str, Provider],
    authority: Authority,
    more: Authority,
    silent: Listener,
    hidden: Listener,
    switching: Listener,
) -> Iterator[Mesh]:
    """One mitmesh with the shipped rules, and traps around it."""
    folder = tmp_path_factory.mktemp("bypass")
    trust = folder / "trust.pem"
    trust.write_bytes(authority.ca.read_bytes() + more.ca.read_bytes())
    resolve: dict[str, Any] = {
        **names,
        "api.openai.com:80": names["plain.example:80"],
        **{f"api.mistral.ai:{port}": silent for port in (443, 80, 22)},
        **{f"trap.example:{port}": hidden for port in (443, 80)},
        "api.x.ai:443": switching,
    }
    local = {"mesh.yaml": RAW_TEXT, "egress.yaml": reachable(names)}
    mesh = Mesh(folder, resolve=resolve, trust=trust, local=local).start()
    yield mesh
    mesh.stop()


def governed(mesh: Mesh, headers: dict[str, str], provider: str = "openai") -> dict[str, Any]:
    """The audit's row of an answer that mitmesh put its name to."""
    row = mesh.exchange(headers["x-mesh-id"])
    assert row["provider"] == provider
    return row


@pytest.mark.parametrize(
    ("named", "sni"),
    [
        ("api.openai.com", "api.openai.com"),
        ("api.openai.com", "plain.example"),
        ("api.openai.com", None),
        ("plain.example", "api.openai.com"),
        ("plain.example", "API.OpenAI.com"),
    ],
)
def test_connect_or_sni_is_enough(named: str, sni: str | None, mesh: Mesh, provider: Provider) -> None:
    """CONNECT to an LLM host whatever the SNI, or its name in the SNI whatever the CONNECT: decrypted, and audited."""
    with tunnel(mesh, f"{named}:443") as raw, anyone().wrap_socket(raw, server_hostname=sni) as tls:
        assert b"mitmproxy" in (tls.getpeercert(binary_form=True) or b"")
        tls.sendall(request(f"POST {CHAT}", "api.openai.com", BODY, **BEARER))
        code, headers, _ = answer(tls)
    assert code == 200
    assert governed(mesh, headers)["dialect"] == "openai_chat"


@pytest.mark.parametrize("spelling", ["API.OPENAI.COM", "api.openai.com.", "Api.OpenAI.Com."])
def test_other_spellings(spelling: str, mesh: Mesh) -> None:
    """Case and a trailing dot hide no LLM host."""
    with tunnel(mesh, f"{spelling}:443") as raw, anyone().wrap_socket(raw, server_hostname=None) as tls:
        assert b"mitmproxy" in (tls.getpeercert(binary_form=True) or b"")


@pytest.mark.parametrize("host", ["plain.example", "127.0.0.1", "api.anthropic.com", ""])
def test_host_header_in_a_governed_tunnel(host: str, mesh: Mesh, provider: Provider, provider1: Provider) -> None:
    """In a tunnel to an LLM host, a Host header changes neither that the call is governed nor where it goes."""
    with tunnel(mesh, "api.openai.com:443") as raw, anyone().wrap_socket(raw, server_hostname="api.openai.com") as tls:
        tls.sendall(request(f"POST {CHAT}", host, BODY, **BEARER))
        code, headers, _ = answer(tls)
    assert (code, governed(mesh, headers)["host"]) == (200, "api.openai.com")
    assert provider.call().sni == "api.openai.com"
    assert provider1.calls == []


@pytest.mark.parametrize("url", ["https://plain.example", "http://plain.example", "https://api.anthropic.com"])
def test_absolute_form_in_a_governed_tunnel(url: str, mesh: Mesh, provider: Provider, provider1: Provider) -> None:
    """In a tunnel to an LLM host, an absolute-form request goes there, governed, and nowhere else."""
    with tunnel(mesh, "api.openai.com:443") as raw, anyone().wrap_socket(raw, server_hostname="api.openai.com") as tls:
        tls.sendall(request(f"POST {url}{CHAT}", "api.openai.com", BODY, **BEARER))
        code, headers, _ = answer(tls)
    assert (code, governed(mesh, headers)["host"]) == (200, "api.openai.com")
    assert provider.call().sni == "api.openai.com"
    assert provider1.calls == []


def test_http2_authority(mesh: Mesh, provider: Provider, provider1: Provider) -> None:
    """In a tunnel to an LLM host, an HTTP/2 :authority that names another host takes no call out."""
    context = anyone()
    context.set_alpn_protocols(["h2"])
    h2 = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))
    headers: dict[str, str] = {}
    pseudo = {":method": "POST", ":scheme": "https", ":authority": "plain.example", ":path": CHAT}
    with tunnel(mesh, "api.openai.com:443") as raw, context.wrap_socket(raw, server_hostname="api.openai.com") as tls:
        assert tls.selected_alpn_protocol() == "h2"
        h2.initiate_connection()
        h2.send_headers(1, [*pseudo.items(), ("authorization", f"Bearer {KEY}")])
        h2.send_data(1, BODY, end_stream=True)
        tls.sendall(h2.data_to_send())
        ended = False
        while not ended and (data := tls.recv(65536)):
            for event in h2.receive_data(data):
                if isinstance(event, ResponseReceived):
                    headers = {str(name): str(value) for name, value in event.headers}
                ended |= isinstance(event, StreamEnded)
            tls.sendall(h2.data_to_send())
    assert governed(mesh, headers)["host"] == "api.openai.com"
    assert provider.call().sni == "api.openai.com"
    assert provider1.calls == []


@pytest.mark.parametrize(
    ("url", "host", "goes_to"),
    [
        ("http://api.openai.com", "api.openai.com", "api.openai.com"),
        ("http://api.openai.com", "plain.example", "api.openai.com"),
        ("http://api.openai.com:80", "", "api.openai.com"),
        ("http://plain.example", "api.openai.com", "plain.example"),
        ("http://plain.example", "api.openai.com:443", "plain.example"),
        ("https://api.openai.com", "plain.example", "api.openai.com"),
        ("HTTPS://API.OPENAI.COM", "x", "API.OPENAI.COM"),
    ],
)
def test_plain_requests_to_the_proxy(
    url: str, host: str, goes_to: str, mesh: Mesh, provider: Provider, plain: Provider
) -> None:
    """An absolute-form request (https too, without a CONNECT) that names an LLM host anywhere is governed."""
    with dial(mesh.proxy) as sock:
        sock.sendall(request(f"POST {url}{CHAT}", host, BODY, **BEARER))
        code, headers, _ = answer(sock)
    assert governed(mesh, headers)["host"].lower() == goes_to.lower()
    if goes_to.islower():
        assert (code, len(provider.calls) + len(plain.calls)) == (200, 1)


def test_plain_http_in_a_tunnel(mesh: Mesh, plain: Provider) -> None:
    """Plain HTTP after CONNECT is governed, to an LLM host or with its name in the Host header."""
    for target, host in (("api.openai.com:80", "plain.example"), ("plain.example:80", "api.openai.com")):
        with tunnel(mesh, target) as sock:
            sock.sendall(request(f"POST {CHAT}", host, BODY, **BEARER))
            code, headers, _ = answer(sock)
            assert code == 200
            governed(mesh, headers)
    assert len(plain.calls) == 2


RAW = {
    "binary": b"\x00\x01\x02\x03" * 64,
    "ssh": b"SSH-2.0-OpenSSH_9.9\r\n" * 4,
    "h2c": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
    "almost HTTP": b"POST /v1/chat/completions\r\nHost: x\r\n\r\n",
    "endless HTTP": b"HELO there, this is not HTTP\r\n" * 4,
    "endless TLS": b"\x16\x03\x01\x00\x05hello" * 4,
}


@pytest.mark.parametrize("inside_tls", [False, True])
@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("port", [443, 22])
def test_raw_bytes(name: str, inside_tls: bool, port: int, mesh: Mesh, silent: Listener) -> None:
    """Bytes that are not HTTP on a connection to an LLM host are cut, and the provider sees no connection.

    What could still become HTTP or TLS is waited for, and goes nowhere either."""
    with tunnel(mesh, f"api.mistral.ai:{port}") as raw:
        try:
            sock = anyone().wrap_socket(raw, server_hostname="api.mistral.ai") if inside_tls else raw
            sock.sendall(RAW[name])
            if name.startswith("endless"):
                sock.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    sock.recv(1)
            else:
                read_all(sock)
        except ConnectionError:
            pass  # cut before all was sent
    assert silent.connections == 0
    assert not mesh.rows("select * from exchanges where host = 'api.mistral.ai' and forwarded")


def test_raw_bytes_are_audited(mesh: Mesh) -> None:
    """A connection that was cut has its row."""
    query = "select * from connections where kind = 'refused' and host = 'api.mistral.ai' and detail = 'not HTTP'"
    before = len(mesh.rows(query))
    with tunnel(mesh, "api.mistral.ai:443") as raw:
        raw.sendall(RAW["binary"])
        read_all(raw)
    row = wait_for(lambda: mesh.rows(query)[before:], "the cut connection's row")[0]
    assert (row["port"], row["rule_id"], row["client"]) == (443, "mistral", "127.0.0.1")


@pytest.mark.parametrize("outer", ["api.mistral.ai:443", "api.mistral.ai:80", "plain.example:80"])
def test_nested_connect(outer: str, mesh: Mesh, silent: Listener, hidden: Listener, plain: Provider) -> None:
    """A CONNECT inside a tunnel opens nothing."""
    with tunnel(mesh, outer) as raw:
        sock = anyone().wrap_socket(raw, server_hostname="api.mistral.ai") if outer.endswith("443") else raw
        sock.sendall(b"CONNECT trap.example:80 HTTP/1.1\r\nHost: trap.example:80\r\n\r\n")
        assert status(read_head(sock)) >= 400
    assert (silent.connections, hidden.connections, plain.calls) == (0, 0, [])


def test_nested_tls(mesh: Mesh, silent: Listener, provider: Provider) -> None:
    """TLS inside the TLS to an LLM host, whatever name it bears, is not passed on."""
    context = anyone()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    inner = context.wrap_bio(incoming, outgoing, server_hostname="plain.example")
    with pytest.raises(ssl.SSLWantReadError):
        inner.do_handshake()
    with tunnel(mesh, "api.mistral.ai:443") as raw, context.wrap_socket(raw, server_hostname="api.mistral.ai") as tls:
        tls.sendall(outgoing.read())
        incoming.write(tls.recv(65536))
        try:
            inner.do_handshake()
        except ssl.SSLError:
            pass
        assert b"mitmesh test CA" not in (inner.getpeercert(binary_form=True) or b"")
    assert silent.connections == 0


def test_websockets_in_any_case(mesh: Mesh, provider: Provider) -> None:
    """A WebSocket to an LLM host is answered 426 however it is written, over plain HTTP too, and has its row."""
    query = "select * from connections where kind = 'upgrade_refused'"
    before = len(mesh.rows(query))
    fields = {"Connection": "keep-alive, Upgrade", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "A" * 22 + "=="}
    for upgrade in ("websocket", "WebSocket", "h2c, websocket"):
        with dial(mesh.proxy) as sock:
            sock.sendall(request("GET http://api.openai.com/v1/responses", "x", Upgrade=upgrade, **fields))
            code, headers, body = answer(sock)
        assert (code, headers["x-mesh-origin"]) == (426, "proxy")
        assert json.loads(body)["error"]["message"]
    rows = wait_for(lambda: len(found := mesh.rows(query)) == before + 3 and found, "three rows")
    assert rows[-1]["host"] == "api.openai.com"
    assert provider.calls == []


def test_other_upgrades_are_not_asked_for(mesh: Mesh, provider: Provider) -> None:
    """An upgrade to something else reaches no provider; the call goes on without it."""
    with tunnel(mesh, "api.openai.com:443") as raw, anyone().wrap_socket(raw, server_hostname="api.openai.com") as tls:
        headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2_Settings": "AAMAAABkAAQAAP__"}
        tls.sendall(request(f"POST {CHAT}", "api.openai.com", BODY, **BEARER, **headers))
        code, _, _ = answer(tls)
    assert code == 200
    seen = provider.call()
    assert (seen.header("upgrade"), "pgrade" in (seen.header("connection") or "")) == (None, False)


def test_101_unasked(mesh: Mesh, switching: Listener) -> None:
    """A provider that switches protocols unasked gets nobody's bytes."""
    with tunnel(mesh, "api.x.ai:443") as raw, anyone().wrap_socket(raw, server_hostname="api.x.ai") as tls:
        tls.sendall(request(f"POST {CHAT}", "api.x.ai", BODY, **BEARER))
        assert status(read_head(tls)) in (0, 502)
        try:
            tls.sendall(b"anything at all")
            assert b"anything at all" not in read_all(tls)
        except OSError:
            pass
    assert b"anything at all" not in switching.received
    row = wait_for(lambda: mesh.rows("select * from exchanges where host = 'api.x.ai' and outcome is not null"))[0]
    assert (row["forwarded"], row["outcome"] == "answered") == (1, False)


INSIDE = ["127.0.0.1", "127.1", "0x7f.0.0.1", "2130706433", "0.0.0.0", "localhost", "LOCALHOST.", "a.localhost"]
INSIDE += ["[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "127.0.0.2", "169.254.169.254", "[fe80::1]"]
INSIDE += ["[fd00:ec2::254]"]


@pytest.mark.parametrize("name", INSIDE)
def test_inside_the_machine(name: str, mesh: Mesh, hidden: Listener) -> None:
    """Loopback and link-local addresses are out of reach, by CONNECT and plainly, whatever the Host header says."""
    place = f"{name}:{hidden.port}"
    assert connect_status(mesh, place) in (400, 403)
    for host in (place, "api.openai.com", "plain.example"):
        with dial(mesh.proxy) as sock:
            sock.sendall(request(f"GET http://{place}/v1/models", host, **BEARER))
            assert status(read_head(sock)) in (400, 403, 502)
    assert hidden.connections == 0


@pytest.mark.parametrize("host", ["trap.example", "api.openai.com"])
def test_a_name_for_the_machine_itself(host: str, mesh: Mesh, hidden: Listener) -> None:
    """A name that resolves to loopback is no way in: not a byte arrives, and the audit has a row."""
    query = "select * from connections where kind = 'refused' and host = 'trap.example' and detail like '%loopback%'"
    before = len(mesh.rows(query))
    with dial(mesh.proxy) as sock:
        sock.sendall(request("GET http://trap.example/v1/models", host, **BEARER))
        assert status(read_head(sock)) in (0, 502)
    with tunnel(mesh, "trap.example:443") as raw:
        try:
            anyone().wrap_socket(raw, server_hostname=host).close()
        except OSError:
            pass
    with tunnel(mesh, "trap.example:443") as raw:
        raw.sendall(b"SSH-2.0-OpenSSH\r\n")
        read_all(raw)
    assert hidden.received == b""
    wait_for(lambda: len(mesh.rows(query)) > before, "a row of the refused connection")


def test_own_ports(mesh: Mesh) -> None:
    """The proxy opens no way to the proxy, the gateway or the control port."""
    for place in (mesh.run["proxy"], mesh.run["gateway"], mesh.run["control"]):
        assert connect_status(mesh, place) == 403
        for host in (place, "api.openai.com"):
            with dial(mesh.proxy) as sock:
                sock.sendall(request(f"GET http://{place}/health", host))
                code, _, body = answer(sock)
            assert code in (403, 502)
            assert b"policy_version" not in body


def test_egress_allows(make_mesh: MakeMesh) -> None:
    """What rules/egress.yaml lists can be reached; the next port cannot."""
    with Listener() as allowed, Listener() as other:
        mesh = make_mesh(local={"egress.yaml": f"allow: ['localhost:{allowed.port}']\n"}).start()
        with dial(mesh.proxy) as sock:
            sock.sendall(request(f"GET http://127.0.0.1:{allowed.port}/", "127.0.0.1"))
            wait_for(lambda: b"GET / HTTP/1.1" in allowed.received, "the request")
        assert connect_status(mesh, f"[::1]:{allowed.port}") == 200
        assert connect_status(mesh, f"127.0.0.1:{other.port}") == 403
        assert other.connections == 0


BREAK = '''
"""Loaded with -s: hooks that fail where a host's name says so."""
from mitmesh.connections import Connections

def breaks(name, host_of):
    method = getattr(Connections, name)
    def broken(self, event):
        if name.replace("_", "-") + "." in host_of(event):
            raise RuntimeError("injected")
        return method(self, event)
    setattr(Connections, name, broken)

breaks("connect", lambda flow: flow.request.host)
breaks("hello", lambda data: data.client_hello.sni or "")
breaks("decrypted", lambda data: data.conn.sni or "")
breaks("raw", lambda flow: flow.server_conn.address[0])
breaks("rule_of", lambda flow: flow.request.host)
breaks("upstream", lambda data: data.server.address[0])
breaks("connected", lambda data: data.server.address[0])
'''
HOOKS = ["connect", "hello", "decrypted", "rule_of", "upstream", "connected"]


@pytest.fixture(scope="module")
def breaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Mesh, dict[str, Listener]]]:
    """A mitmesh whose hooks fail on hosts named after them, each in front of a server of its own."""
    folder = tmp_path_factory.mktemp("breaking")
    script = folder / "break.py"
    script.write_text(BREAK)
    names = {hook: f"{hook.replace('_', '-')}.api.openai.com" for hook in [*HOOKS, "raw"]}
    servers = make_authority(folder, list(names.values()))
    listeners = {hook: Listener(context=servers.server_context(["http/1.1"])) for hook in names}
    resolve: Any = {f"{name}:443": listeners[hook] for hook, name in names.items()}
    for listener in listeners.values():
        listener.__enter__()
    mesh = Mesh(folder / "mesh", resolve=resolve, trust=servers.ca, options=["-s", str(script)]).start()
    yield mesh, listeners
    mesh.stop()
    for listener in listeners.values():
        listener.__exit__()


@pytest.mark.parametrize("hook", HOOKS)
def test_a_failing_hook_closes(hook: str, breaking: tuple[Mesh, dict[str, Listener]]) -> None:
    """An exception in a hook closes the client's connection: the call reaches nobody, decrypted or not."""
    mesh, listeners = breaking
    name = f"{hook.replace('_', '-')}.api.openai.com"
    with dial(mesh.proxy) as raw:
        raw.sendall(f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        if read_head(raw):
            try:
                with anyone().wrap_socket(raw, server_hostname=name) as tls:
                    tls.sendall(request(f"POST {CHAT}", name, BODY, **BEARER))
                    assert read_all(tls) == b""
            except OSError:
                pass
        else:
            assert hook == "connect"
    assert b"Hallo" not in listeners[hook].received
    assert "injected" not in mesh.log()
    wait_for(lambda: f"{'broken'} failed: RuntimeError" in mesh.log(), "a line in the log")


def test_a_failing_tcp_hook_closes(breaking: tuple[Mesh, dict[str, Listener]]) -> None:
    """An exception over raw bytes closes the client's connection; they reach nobody."""
    mesh, listeners = breaking
    with tunnel(mesh, "raw.api.openai.com:443") as raw:
        raw.sendall(RAW["binary"])
        assert read_all(raw) == b""
    assert listeners["raw"].connections == 0


def free_port() -> int:
    """A port that nothing listens on. Not one that the system gives to clients: a client that tries such a port again
    and again is at last connected to itself."""
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    pytest.fail("no free port")


def test_before_it_is_ready(tmp_path: Path, authority: Authority) -> None:
    """While mitmesh starts a client finds no open port, and the first bytes that get in are governed."""
    port = free_port()
    with Listener() as silent:
        resolve: Any = {"api.openai.com:443": silent}
        mesh = Mesh(tmp_path, resolve=resolve, trust=authority.ca, options=["-p", str(port)])
        process = mesh.launch()

        def cut() -> bool:
            assert process.poll() is None, mesh.log()
            try:
                with dial(f"127.0.0.1:{port}") as sock:
                    sock.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
                    code = status(read_head(sock))
                    assert code in (0, 200, 503)
                    if code == 200:
                        sock.sendall(RAW["binary"])
                        assert read_all(sock) == b""
                    return code == 200
            except ConnectionRefusedError:
                return False

        try:
            wait_for(cut, "it listens", 40)
            assert silent.connections == 0
        finally:
            mesh.kill9()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("mesh_listen=127.0.0.1:0", "Received multiple values for mesh_listen"),
        ("mesh_drain=soon", "mesh_drain"),
        ("mesh_no_such=1", "mesh_no_such"),
    ],
)
def test_a_wrong_option(option: str, told: str, make_mesh: MakeMesh) -> None:
    """An option of ours that is wrong ends the process: mitmproxy alone would serve on, without us."""
    mesh = make_mesh(options=["--set", option])
    assert mesh.launch().wait(40) == 1
    assert told in mesh.log()
    assert "listening" not in mesh.log()


def test_while_it_drains(make_mesh: MakeMesh, provider: Provider) -> None:
    """Told to stop, it takes no new connection and no new call, and lets the running one end."""
    mesh = make_mesh(options=["--set", "mesh_drain=8"]).start()
    provider.script(Script(hold=3))
    with (
        tunnel(mesh, "api.openai.com:443") as raw,
        anyone().wrap_socket(raw, server_hostname="api.openai.com") as running,
        tunnel(mesh, "api.openai.com:443") as raw2,
        anyone().wrap_socket(raw2, server_hostname="api.openai.com") as idle,
        dial(mesh.proxy) as fresh,
    ):
        body = BODY.replace(b'"model"', b'"stream": true, "model"')
        running.sendall(request(f"POST {CHAT}", "api.openai.com", body, **BEARER))
        assert status(read_head(running)) == 200
        assert mesh.process
        mesh.process.terminate()
        wait_for(lambda: "in flight" in mesh.log(), "it drains")
        with pytest.raises(ConnectionRefusedError):
            dial(mesh.proxy)
        idle.sendall(request(f"POST {CHAT}", "api.openai.com", BODY, **BEARER))
        code, headers, refusal = answer(idle)
        assert (code, headers["x-mesh-origin"]) == (503, "proxy")
        assert json.loads(refusal)["error"]["code"] == "engine.not_ready"
        fresh.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status(read_head(fresh)) in (0, 503)
        provider.release()
        data = b""
        while b"data: [DONE]" not in data:
            data += running.recv(65536) or pytest.fail("the running call was cut")
    assert mesh.process.wait(20) == 0
    assert len(provider.calls) == 1
