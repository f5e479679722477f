"""What becomes of a connection: untouched, governed as its entry in rules/hosts.yaml says, or refused; and its row."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Message, Request, TextMessage

from e2e.certs import Authority, make_authority
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.raw import (
    Listener,
    answer,
    connect_status,
    dial,
    echo,
    read_exactly,
    read_head,
    request,
    status,
    switch,
    tunnel,
    websocket_echo,
)
from e2e.sdks import KEY

CHAT = "/v1/chat/completions"
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hallo"}]}
BEARER = {"authorization": f"Bearer {KEY}"}
MEGABYTE = 2**20


def trickle(sock: socket.socket, listener: Listener) -> None:
    """Answer with one chunk, and with the next when the test lets it."""
    listener.note(read_head(sock))
    sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
    listener.released.wait(10)
    sock.sendall(b"6\r\nsecond\r\n0\r\n\r\n")


def no_tls(sock: socket.socket, listener: Listener) -> None:
    """Answer in words to whatever comes."""
    listener.note(sock.recv(65536))
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def flood(sock: socket.socket, listener: Listener) -> None:
    """Answer a request with as many megabytes as its path says, having read its body."""
    head = read_head(sock)
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r", 1)[0] or 0)
    digest = hashlib.sha256()
    while length > 0:
        data = sock.recv(min(length, 65536))
        digest.update(data)
        length -= len(data)
    listener.note(digest.hexdigest().encode())
    count = int(head.split(b" ")[1].rpartition(b"/")[2])
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (count * MEGABYTE))
    for _ in range(count):
        sock.sendall(b"\x5a" * MEGABYTE)


@dataclass
class Outside:
    """Servers that are no LLM's, by what they do."""

    trickle: Listener = field(default_factory=lambda: Listener(trickle))
    trickle_tls: Listener = field(default_factory=lambda: Listener(trickle))
    flood: Listener = field(default_factory=lambda: Listener(flood))
    flood_tls: Listener = field(default_factory=lambda: Listener(flood))
    echo: Listener = field(default_factory=lambda: Listener(echo))
    websocket: Listener = field(default_factory=lambda: Listener(websocket_echo))
    switch: Listener = field(default_factory=lambda: Listener(switch))
    broken_tls: Listener = field(default_factory=lambda: Listener(no_tls))


HOSTS = """
hosts:
  - {id: blocked, match: [blocked.example], provider: openai, api: openai, status: blocked,
     reason: no contract, owner: ada@corp.example}
  - {id: refused, match: [refused.example], provider: openai, api: openai, action: refuse}
  - {id: tunnelled, match: [tunnelled.example], provider: openai, api: openai, action: tunnel}
  - {id: observed, match: [observed.example], provider: openai, api: openai, status: blocked, mode: observe}
  - {id: expired, match: [expired.example], provider: openai, api: openai, expires: 2020-01-31}
  - {id: lasting, match: [lasting.example], provider: openai, api: openai, expires: 2999-12-31}
  - {id: here, match: [when.example], provider: openai, api: openai, status: blocked, when: {network: 127.0.0.0/8}}
  - {id: there, match: [elsewhere.example], provider: openai, api: openai, status: blocked, when: {network: 10.0.0.0/8}}
  - {id: elsewhere, match: [elsewhere.example], provider: openai, api: openai}
  - {id: mine, match: [team.example], provider: openai, api: openai, when: {team: blue}}
  - {id: others, match: [team.example], provider: openai, api: openai, status: blocked}
  - {id: red, match: [red.example], provider: openai, api: openai, status: blocked, when: {team: red}}
  - {id: process, match: [process.example], provider: openai, api: openai, status: blocked, when: {process: curl}}
  - {id: tenant, match: [tenant.example], provider: anthropic, api: anthropic,
     inject_headers: {anthropic-allowed-org-ids: org-1, x-corp: "yes"}}
  - {id: pinned, match: [pinned.example], provider: openai, api: openai}
  - {id: pinned-tunnel, match: [passing.example], provider: openai, api: openai, on_pin_failure: tunnel}
  - {id: unread-allow, match: [allow.example], provider: cursor, opaque: allow}
  - {id: unread-warn, match: [warn.example], provider: cursor, opaque: warn}
  - {id: unread-refuse, match: [refuse.example], provider: cursor, opaque: refuse}
  - {id: dead, match: [dead.example], provider: openai, api: openai}
  - {id: broken-tls, match: [broken.example], provider: openai, api: openai}
  - {id: ollama, match: ["127.0.0.1:%d", "localhost:%d"], provider: ollama, api: compatible, billing: local}
"""
NAMES = sorted(set(re.findall(r"match: \[([a-z]+\.example)\]", HOSTS)))
TEAM = "networks: [{network: 127.0.0.0/8, team: blue}]\n"


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    """The servers, running."""
    servers = Outside()
    with ExitStack() as stack:
        for listener in vars(servers).values():
            stack.enter_context(listener)
        yield servers


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory, outside: Outside) -> Authority:
    """The CA of all servers of this module, which only some clients know."""
    names = [*NAMES, "trickle.test", "flood.test"]
    authority = make_authority(tmp_path_factory.mktemp("theirs"), names)
    outside.trickle_tls.context = outside.flood_tls.context = authority.server_context(["http/1.1"])
    return authority


@pytest.fixture(scope="module")
def llm(theirs: Authority) -> Iterator[Provider]:
    """The provider behind every name of HOSTS."""
    provider = Provider(theirs.server_context(["h2", "http/1.1"])).start()
    yield provider
    provider.stop()


@pytest.fixture
def seen(llm: Provider) -> Provider:
    """The same, its memory empty."""
    llm.clear()
    return llm


@pytest.fixture(scope="module")
def mesh(
    tmp_path_factory: pytest.TempPathFactory,
    outside: Outside,
    theirs: Authority,
    llm: Provider,
    provider_plain: Provider,
) -> Iterator[Mesh]:
    """One mitmesh with HOSTS, and servers that are no LLM's around it."""
    allowed = [f"127.0.0.1:{listener.port}" for listener in [*vars(outside).values(), llm]]
    local = {
        "mesh.yaml": RAW_TEXT,
        "hosts.yaml": HOSTS % (provider_plain.port, provider_plain.port),
        "identities.yaml": TEAM,
        "egress.yaml": f"allow: {json.dumps(allowed)}\n",
    }
    resolve: dict[str, Any] = {f"{name}:443": llm for name in NAMES if name != "dead.example"}
    resolve |= {f"{name}:80": provider_plain for name in NAMES}
    resolve |= {"broken.example:443": outside.broken_tls}
    resolve |= {"trickle.test:80": outside.trickle, "trickle.test:443": outside.trickle_tls}
    resolve |= {"flood.test:80": outside.flood, "flood.test:443": outside.flood_tls, "echo.test:22": outside.echo}
    resolve |= {"socket.test:80": outside.websocket, "switch.test:80": outside.switch, "echo.test:443": outside.echo}
    mesh = Mesh(tmp_path_factory.mktemp("connections"), resolve=resolve, trust=theirs.ca, local=local).start()
    yield mesh
    mesh.stop()


@pytest.fixture
def client(mesh: Mesh) -> Iterator[httpx.Client]:
    """A client that trusts mitmesh's CA and no other."""
    with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as client:
        yield client


@pytest.fixture
def stranger(mesh: Mesh, theirs: Authority) -> Iterator[httpx.Client]:
    """A client that trusts the servers' own CA and no other."""
    with httpx.Client(verify=theirs.client_context(), proxy=mesh.proxy, trust_env=False, timeout=20) as client:
        yield client


def row(mesh: Mesh, kind: str, host: str) -> dict[str, Any]:
    """The latest row of a connection, once there is one."""
    query = "select * from connections where kind = ? and host = ? order by id desc"
    return wait_for(lambda: mesh.rows(query, kind, host), f"a row: {kind} {host}")[0]


def tunnels(mesh: Mesh, host: str) -> int:
    """How many connections to a host were tunnelled."""
    return sum(row["connections"] for row in mesh.rows("select * from tunnels where host = ?", host))


# --- what is no LLM host ---


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_answers_stream_through(scheme: str, mesh: Mesh, outside: Outside, stranger: httpx.Client) -> None:
    """The first chunk of an answer arrives while the server still holds the second, and connections are counted."""
    server = outside.trickle_tls if scheme == "https" else outside.trickle
    server.released.clear()
    before = tunnels(mesh, "trickle.test")
    with stranger.stream("GET", f"{scheme}://trickle.test/") as got:
        chunks = got.iter_raw()
        assert next(chunks) == b"first"
        server.released.set()
        assert b"".join(chunks) == b"second"
    wait_for(lambda: tunnels(mesh, "trickle.test") == before + 1, "one more in tunnels")
    assert not mesh.rows("select * from connections where host = 'trickle.test'")
    assert not mesh.rows("select * from exchanges where host = 'trickle.test'")


def test_uploads_stream_through(mesh: Mesh, outside: Outside) -> None:
    """The first chunk of an upload over plain HTTP arrives while the client still holds the second."""
    listener = outside.echo
    place = f"127.0.0.1:{listener.port}"
    with dial(mesh.proxy) as sock:
        sock.sendall(request(f"POST http://{place}/", place, Transfer_Encoding="chunked") + b"b\r\nfirst-piece\r\n")
        wait_for(lambda: b"first-piece" in listener.received, "the first chunk")


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_large_bodies(scheme: str, outside: Outside, stranger: httpx.Client) -> None:
    """Megabytes pass in both directions, byte for byte."""
    body = os.urandom(3 * MEGABYTE)
    got = stranger.post(f"{scheme}://flood.test/7", content=body)
    assert got.content == b"\x5a" * 7 * MEGABYTE
    server = outside.flood_tls if scheme == "https" else outside.flood
    assert server.received.endswith(hashlib.sha256(body).hexdigest().encode())


def resident(mesh: Mesh) -> int:
    """Bytes of memory that mitmesh has."""
    assert mesh.process
    status = Path(f"/proc/{mesh.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def download(mesh: Mesh, theirs: Authority, scheme: str) -> None:
    options: dict[str, Any] = {"verify": theirs.client_context(), "proxy": mesh.proxy, "timeout": 60}
    with httpx.stream("GET", f"{scheme}://flood.test/100", trust_env=False, **options) as got:
        assert sum(len(chunk) for chunk in got.iter_raw()) == 100 * MEGABYTE


def raw_echo(mesh: Mesh, _: Authority, target: str) -> None:
    with tunnel(mesh, target) as sock:
        for _ in range(20):
            data = b"\x01\x02" * (MEGABYTE // 2)
            sender = threading.Thread(target=sock.sendall, args=(data,))
            sender.start()
            assert read_exactly(sock, len(data)) == data
            sender.join()


def websocket(mesh: Mesh, _: Authority, target: str) -> None:
    ws = WSConnection(ConnectionType.CLIENT)
    with tunnel(mesh, target) as sock:
        exchange_texts(sock, ws, ws.send(Request(host="socket.test", target="/")), ["x" * 60_000] * 500)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
@pytest.mark.parametrize(
    ("what", "where"),
    [(download, "https"), (download, "http"), (raw_echo, "echo.test:22"), (websocket, "socket.test:80")],
    ids=["TLS", "HTTP", "TCP", "WebSocket"],
)
def test_memory(what: Callable[[Mesh, Authority, str], None], where: str, mesh: Mesh, theirs: Authority) -> None:
    """What passes is not kept: tens of megabytes leave no trace in memory."""
    before = resident(mesh)
    what(mesh, theirs, where)
    assert resident(mesh) - before < 12 * MEGABYTE


@pytest.mark.parametrize("port", [22, 443])
def test_raw_bytes_pass(port: int, mesh: Mesh, outside: Outside) -> None:
    """A protocol that is neither HTTP nor TLS passes to a host that is no LLM's, and is counted."""
    before = tunnels(mesh, "echo.test")
    with tunnel(mesh, f"echo.test:{port}") as sock:
        for data in (b"SSH-2.0-OpenSSH_9.9\r\n", bytes(range(256)) * 100):
            sock.sendall(data)
            assert read_exactly(sock, len(data)) == data
    wait_for(lambda: tunnels(mesh, "echo.test") == before + 1, "one more in tunnels")


def exchange_texts(sock: socket.socket, ws: WSConnection, opening: bytes, texts: Iterable[str]) -> None:
    """Open a WebSocket, and have each text sent back."""
    sock.sendall(opening)
    ws.receive_data(read_head(sock))
    assert [type(event) for event in ws.events()] == [AcceptConnection]
    for text in texts:
        sock.sendall(ws.send(TextMessage(data=text)))
        got = ""
        while len(got) < len(text):
            ws.receive_data(sock.recv(65536))
            got += "".join(event.data for event in ws.events() if isinstance(event, Message))
        assert got == text


@pytest.mark.parametrize("connect", [True, False])
def test_websockets_pass(connect: bool, mesh: Mesh) -> None:
    """A WebSocket over plain HTTP to a host that is no LLM's passes, through a tunnel or without one."""
    ws = WSConnection(ConnectionType.CLIENT)
    opening = ws.send(Request(host="socket.test", target="/chat"))
    with tunnel(mesh, "socket.test:80") if connect else dial(mesh.proxy) as sock:
        if not connect:
            opening = opening.replace(b"GET /chat", b"GET http://socket.test/chat", 1)
        exchange_texts(sock, ws, opening, ["eins", "zwei ☀", "x" * 100_000])


def test_other_upgrades_pass(mesh: Mesh) -> None:
    """Any other upgrade over plain HTTP to a host that is no LLM's passes."""
    with dial(mesh.proxy) as sock:
        sock.sendall(request("GET http://switch.test/", "switch.test", Connection="Upgrade", Upgrade="raw"))
        assert status(read_head(sock)) == 101
        sock.sendall(b"\x00\x01\x02 raw")
        assert read_exactly(sock, 7) == b"\x00\x01\x02 raw"


def test_nothing_of_it_was_a_call(mesh: Mesh) -> None:
    """Nothing that passed was taken for a call."""
    hosts = {row["host"] for row in mesh.rows("select host from exchanges")}
    assert not {host for host in hosts if host and host.endswith(".test")}


# --- what rules/hosts.yaml says ---


def post(client: httpx.Client, host: str, path: str = CHAT, scheme: str = "https", **more: Any) -> httpx.Response:
    return client.post(f"{scheme}://{host}{path}", **{"json": BODY, "headers": BEARER, **more})


@pytest.mark.parametrize(
    ("host", "rule"),
    [
        ("blocked.example", "blocked"),
        ("refused.example", "refused"),
        ("expired.example", "expired"),
        ("when.example", "here"),
    ],
)
def test_refused(host: str, rule: str, mesh: Mesh, seen: Provider, plain: Provider, client: httpx.Client) -> None:
    """A blocked, refused or expired host: the connection is refused, a plain call in its dialect; nothing arrives."""
    with pytest.raises(httpx.ProxyError, match="403"):
        post(client, host)
    assert row(mesh, "refused", host)["rule_id"] == rule
    refusal = post(client, host, scheme="http")
    assert (refusal.status_code, refusal.headers["x-mesh-rule"]) == (403, rule)
    assert rule in refusal.json()["error"]["message"]
    audited = mesh.exchange(refusal.headers["x-mesh-id"])
    assert (audited["outcome"], audited["refused_rule"], audited["forwarded"]) == ("refused", rule, 0)
    assert seen.calls == plain.calls == []


def test_a_refusal_says_why(mesh: Mesh) -> None:
    """Whoever meets a refused CONNECT reads the rule, its reason and whom to ask."""
    with dial(mesh.proxy) as sock:
        sock.sendall(b"CONNECT blocked.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")
        code, headers, body = answer(sock)
    assert (code, headers["x-mesh-origin"], headers["x-mesh-rule"]) == (403, "proxy", "blocked")
    with dial(mesh.proxy) as sock:
        sock.sendall(b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: x\r\n\r\n")
        code, headers, _ = answer(sock)
    assert (code, headers["x-mesh-origin"], headers["x-mesh-rule"]) == (403, "proxy", "egress")
    assert all(word in body.decode() for word in ("rule blocked", "no contract", "ada@corp.example"))


def test_refused_by_sni(mesh: Mesh, seen: Provider) -> None:
    """A blocked name in the SNI closes the connection, whatever the CONNECT said."""
    context = ssl.create_default_context()
    with tunnel(mesh, "lasting.example:443") as raw, pytest.raises(OSError):
        context.wrap_socket(raw, server_hostname="blocked.example")
    assert row(mesh, "refused", "lasting.example")["sni"] == "blocked.example"
    assert seen.calls == []


@pytest.mark.parametrize("host", ["lasting.example", "elsewhere.example", "team.example"])
def test_allowed(host: str, mesh: Mesh, seen: Provider, client: httpx.Client) -> None:
    """An exception that lasts, a rule for another network, a rule for one's own team: the call is served."""
    got = post(client, host)
    assert got.status_code == 200
    audited = mesh.exchange(got.headers["x-mesh-id"])
    assert (audited["outcome"], audited["host"]) == ("answered", host)
    decrypted = row(mesh, "decrypted", host)
    assert decrypted["rule_id"] == {"team.example": "mine"}.get(host, host.partition(".")[0])
    assert (decrypted["sni"], decrypted["port"], decrypted["client"]) == (host, 443, "127.0.0.1")


@pytest.mark.parametrize("host", ["red.example", "process.example"])
def test_an_entry_that_does_not_hold(host: str, mesh: Mesh, seen: Provider, stranger: httpx.Client) -> None:
    """An entry for another team, or for a process (nothing attests one yet), is as if it were not there."""
    got = post(stranger, host)
    assert got.status_code == 200
    assert "x-mesh-id" not in got.headers


def test_tunnelled_by_rule(mesh: Mesh, seen: Provider, plain: Provider, stranger: httpx.Client) -> None:
    """`action: tunnel` passes unread, TLS and plain, and is counted."""
    got = post(stranger, "tunnelled.example")
    assert (got.status_code, "x-mesh-id" in got.headers, len(seen.calls)) == (200, False, 1)
    got = post(stranger, "tunnelled.example", scheme="http")
    assert (got.status_code, "x-mesh-id" in got.headers, len(plain.calls)) == (200, False, 1)
    wait_for(lambda: tunnels(mesh, "tunnelled.example") == 2, "two in tunnels")


def test_observed(mesh: Mesh, seen: Provider, client: httpx.Client) -> None:
    """A blocked host whose entry only observes is served; the audit says what would have been refused."""
    got = post(client, "observed.example")
    assert got.status_code == 200
    audited = mesh.exchange(got.headers["x-mesh-id"])
    assert (audited["outcome"], audited["refused_by"]) == ("answered", None)
    verdicts = mesh.rows("select * from verdicts where exchange = ?", audited["id"])
    assert [(v["rule_id"], v["action"], v["mode"]) for v in verdicts] == [("observed", "refuse", "observe")]


def test_inject_headers(mesh: Mesh, seen: Provider, client: httpx.Client) -> None:
    """`inject_headers` arrive at the provider in place of what the client sent under their names."""
    body = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": BODY["messages"]}
    headers = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "Anthropic-Allowed-Org-Ids": "org-mine"}
    assert post(client, "tenant.example", "/v1/messages", json=body, headers=headers).status_code == 200
    sent = seen.call()
    found = [value for name, value in sent.headers if name.lower() == "anthropic-allowed-org-ids"]
    assert (found, sent.header("x-corp")) == (["org-1"], "yes")


def test_pinned(mesh: Mesh, seen: Provider, stranger: httpx.Client) -> None:
    """A client that rejects our certificate goes on being refused."""
    for _ in range(2):
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            post(stranger, "pinned.example")
    rejected = row(mesh, "certificate_rejected", "pinned.example")
    assert (rejected["rule_id"], rejected["sni"]) == ("pinned", "pinned.example")
    assert rejected["detail"]
    assert seen.calls == []


def test_pinned_passes(mesh: Mesh, seen: Provider, stranger: httpx.Client) -> None:
    """Where the rule says so, a client that rejected our certificate passes untouched the second time."""
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        post(stranger, "passing.example")
    assert row(mesh, "certificate_rejected", "passing.example")["rule_id"] == "pinned-tunnel"
    got = post(stranger, "passing.example")
    assert (got.status_code, "x-mesh-id" in got.headers, len(seen.calls)) == (200, False, 1)
    wait_for(lambda: tunnels(mesh, "passing.example") == 1, "one in tunnels")


@pytest.mark.parametrize("proxied", ["127.0.0.1", "localhost"])
def test_a_server_of_ones_own(proxied: str, mesh: Mesh, plain: Provider, client: httpx.Client) -> None:
    """A self-hosted server on loopback that hosts.yaml lists is reached and governed; its neighbour port is not."""
    got = post(client, f"{proxied}:{plain.port}", scheme="http")
    audited = mesh.exchange(got.headers["x-mesh-id"])
    assert (got.status_code, audited["provider"], audited["billing"]) == (200, "ollama", "local")
    assert audited["dialect"] == "openai_chat"
    assert connect_status(mesh, f"{proxied}:{plain.port + 1}") == 403


def test_plain_http_to_an_llm_host(mesh: Mesh, plain: Provider, client: httpx.Client) -> None:
    """Plain HTTP to an LLM host is governed as TLS is."""
    got = post(client, "lasting.example", scheme="http")
    assert mesh.exchange(got.headers["x-mesh-id"])["completion_tokens"]


# --- rows of what went wrong ---


def test_upstream_failed(mesh: Mesh, client: httpx.Client) -> None:
    """A provider that cannot be reached, or speaks no TLS, has its row, and the call its outcome."""
    for host, rule in (("dead.example", "dead"), ("broken.example", "broken-tls")):
        got = post(client, host)
        assert got.status_code == 502
        failed = row(mesh, "upstream_failed", host)
        assert failed["rule_id"] == rule
        assert failed["detail"]
    rows = mesh.rows("select * from exchanges where host = 'dead.example'")
    assert [audited["outcome"] for audited in rows] == ["upstream_failed"]


def test_a_tunnel_that_failed(mesh: Mesh, stranger: httpx.Client) -> None:
    """A host that is no LLM's and cannot be reached is not counted as tunnelled."""
    with pytest.raises(httpx.HTTPError):
        stranger.get("https://nowhere.test/")
    assert row(mesh, "upstream_failed", "nowhere.test")["rule_id"] is None
    assert stranger.get("http://nowhere.test/").status_code == 502
    assert tunnels(mesh, "nowhere.test") == 0


# --- what no dialect knows ---


@pytest.mark.parametrize("host", ["allow.example", "refuse.example", "lasting.example"])
def test_other_json(host: str, mesh: Mesh, seen: Provider, client: httpx.Client) -> None:
    """A JSON body on an unknown path is read by the generic dialect, in full, whatever `opaque` says."""
    seen.script(Script(body=b'{"ok": true}'))
    got = post(client, host, "/v1/fine_tuning/jobs", json={"training_file": "file-1", "notes": ["eins", "zwei"]})
    audited = mesh.exchange(got.headers["x-mesh-id"])
    assert (got.json(), audited["operation"], audited["dialect"]) == ({"ok": True}, "other", "generic")
    assert (audited["inspected"], audited["uninspected_bytes"], audited["outcome"]) == ("full", 0, "answered")


@pytest.mark.parametrize("policy", ["allow", "warn", "refuse"])
def test_other_bytes(policy: str, mesh: Mesh, seen: Provider, client: httpx.Client) -> None:
    """A body that nobody can read passes, passes with a warning or is refused; the audit has its size."""
    body = b"\x00\x01protobuf\xff" * 10
    seen.script(Script(body=b"\x0a\x00", content_type="application/grpc"))
    headers = {**BEARER, "content-type": "application/connect+proto"}
    got = post(client, f"{policy}.example", "/aiserver.v1/Chat", json=None, content=body, headers=headers)
    audited = mesh.exchange(got.headers["x-mesh-id"])
    assert (audited["inspected"], audited["uninspected_bytes"]) == ("opaque", len(body))
    verdicts = [
        (v["action"], v["rule_id"]) for v in mesh.rows("select * from verdicts where exchange = ?", audited["id"])
    ]
    if policy == "refuse":
        assert (got.status_code, audited["outcome"], verdicts) == (415, "refused", [("refuse", "opaque")])
        assert got.json()["error"]
        assert seen.calls == []
    else:
        assert (got.status_code, got.content, seen.call().body) == (200, b"\x0a\x00", body)
        assert verdicts == ([("warn", "opaque")] if policy == "warn" else [])


# --- rules that change ---


@pytest.mark.quick
def test_rules_reach_open_connections(tmp_path: Path, theirs: Authority, llm: Provider, seen: Provider) -> None:
    """A host that is blocked while connections to it are open serves no further call on them."""
    local = {"mesh.yaml": RAW_TEXT, "hosts.yaml": "hosts: [{id: a, match: [lasting.example], provider: openai}]\n"}
    mesh = Mesh(tmp_path, resolve={"lasting.example:443": llm}, trust=theirs.ca, local=local).start()
    try:
        with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as client:
            assert post(client, "lasting.example").status_code == 200
            blocked = "hosts: [{id: b, match: [lasting.example], provider: openai, status: blocked}]\n"
            mesh.overlay("hosts.yaml", blocked)
            wait_for(lambda: mesh.log().count("are in force"), "the new rules")
            refused = post(client, "lasting.example")
        assert (refused.status_code, refused.headers["x-mesh-rule"], len(seen.calls)) == (403, "b", 1)
        assert len(mesh.rows("select * from connections where kind = 'decrypted'")) == 1
    finally:
        mesh.kill9()
