"""What is an LLM host's is governed, however it is named; what is not passes untouched and unread."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from e2e.certs import Authority
from e2e.mesh import Mesh
from e2e.provider import Provider, wait_for
from e2e.sdks import KEY

UPGRADE = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}


def connect(mesh: Mesh, target: str) -> socket.socket:
    """A CONNECT through the proxy, its answer read; the socket to go on with."""
    host, _, port = mesh.run["proxy"].rpartition(":")
    raw = socket.create_connection((host, int(port)), 10)
    raw.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += raw.recv(1) or pytest.fail(f"closed after {head!r}")
    assert b" 200 " in head.splitlines()[0]
    return raw


def read_all(sock: socket.socket) -> bytes:
    """All bytes until the other side ends the connection, in order or not; fails if it does not."""
    data = b""
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except TimeoutError:
        pytest.fail("the connection was not ended")
    except OSError:
        pass
    return data


@pytest.mark.parametrize("http2", [False, True])
def test_other_hosts_are_tunnelled(http2: bool, mesh: Mesh, authority: Authority, provider1: Provider) -> None:
    """A client that trusts only the real server's CA reaches a host that is no LLM's, and is counted per day."""
    count = "select coalesce(sum(connections), 0) as n from tunnels where host = 'plain.example'"
    before = sum(row["n"] for row in mesh.rows(count))
    context = authority.client_context()
    with httpx.Client(verify=context, proxy=mesh.proxy, http2=http2, trust_env=False) as client:
        answer = client.post("https://plain.example/echo", content=b"\x00 as it is")
    assert answer.content == b"\x00 as it is"
    assert not [name for name in answer.headers if name.startswith("x-mesh")]
    assert provider1.call().sni == "plain.example"
    wait_for(lambda: mesh.rows(count)[0]["n"] > before, "the tunnel is counted")
    assert not mesh.rows("select * from exchanges where host = 'plain.example'")


def test_rejected_certificate(mesh: Mesh, authority: Authority, provider: Provider) -> None:
    """A client that does not trust our CA gets nothing from an LLM host, and the audit tells the operator."""
    query = "select * from connections where kind = 'certificate_rejected' and host = 'api.openai.com'"
    before = len(mesh.rows(query))
    with (
        httpx.Client(verify=authority.client_context(), proxy=mesh.proxy, trust_env=False) as client,
        pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.get("https://api.openai.com/v1/models")
    wait_for(lambda: len(mesh.rows(query)) > before, "the rejected certificate is in the audit")
    assert provider.calls == []


def test_plain_http_streams_through(mesh: Mesh, plain: Provider) -> None:
    """Plain HTTP to a host that is no LLM's passes, body and headers untouched."""
    with httpx.Client(proxy=mesh.proxy, trust_env=False) as client:
        answer = client.post("http://plain.example/echo", content=b"{ }", headers={"content-type": "application/json"})
        large = client.get("http://plain.example/large")
    assert answer.content == b"{ }"
    assert large.content == b"x" * 65536 * 64
    assert not [name for name in answer.headers if name.startswith("x-mesh")]


@pytest.mark.parametrize(
    ("named", "sni"),
    [
        ("api.openai.com", "plain.example"),
        ("api.openai.com", None),
        ("plain.example", "api.openai.com"),
        ("API.OpenAI.com.", "api.openai.com"),
    ],
)
def test_a_name_is_enough(named: str, sni: str | None, mesh: Mesh, provider: Provider, provider1: Provider) -> None:
    """CONNECT to an LLM host, or its name in the SNI, is enough for a connection not to pass unread."""
    context = ssl.create_default_context(cafile=str(mesh.ca))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    issuer = b""
    with connect(mesh, f"{named}:443") as raw:
        try:
            with context.wrap_socket(raw, server_hostname=sni) as tls:
                issuer = tls.getpeercert(binary_form=True) or b""
        except OSError:
            pass  # cut is as good as decrypted
    assert b"mitmesh test CA" not in issuer


@pytest.mark.parametrize("inside_tls", [False, True])
def test_what_is_not_http_is_cut(inside_tls: bool, mesh: Mesh, provider: Provider) -> None:
    """Raw bytes on a connection to an LLM host reach nobody."""
    with connect(mesh, "api.openai.com:443") as raw:
        raw.settimeout(10)
        if inside_tls:
            context = ssl.create_default_context(cafile=str(mesh.ca))
            with context.wrap_socket(raw, server_hostname="api.openai.com") as tls:
                tls.sendall(b"\x00\x01\x02 not http at all\n" * 20)
                read_all(tls)
        else:
            raw.sendall(b"\x00\x01\x02 not http at all\n" * 20)
            read_all(raw)
    assert provider.calls == []


def test_websockets_get_426(mesh: Mesh, provider: Provider) -> None:
    """A WebSocket to an LLM host is refused with 426, so that Codex falls back to HTTPS at once."""
    with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as client:
        headers = {**UPGRADE, "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==", "authorization": f"Bearer {KEY}"}
        answer = client.get("https://api.openai.com/v1/responses", headers=headers)
    assert answer.status_code == 426
    assert answer.headers["x-mesh-origin"] == "proxy"
    assert provider.calls == []
    wait_for(lambda: mesh.rows("select * from connections where kind = 'upgrade_refused'"))


def test_a_host_header_takes_no_call_out(mesh: Mesh, provider: Provider) -> None:
    """A Host header that names another host changes neither where a call goes nor what it is."""
    body: Any = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a"}]}
    with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as client:
        headers = {"host": "plain.example", "authorization": f"Bearer {KEY}"}
        answer = client.post("https://api.openai.com/v1/chat/completions", json=body, headers=headers)
    row = mesh.exchange(answer.headers["x-mesh-id"])
    assert row["host"] == "api.openai.com"
    assert [seen.sni for seen in provider.calls] in ([], ["api.openai.com"])


@pytest.fixture
def unlisted() -> Iterator[Provider]:
    """A server on loopback that no rule lists."""
    provider = Provider(None).start()
    yield provider
    provider.stop()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "169.254.169.254", "[::1]", "0.0.0.0", "2130706433"])
def test_the_machine_itself_is_out_of_reach(name: str, mesh: Mesh, unlisted: Provider) -> None:
    """The forward proxy does not fetch from loopback or link-local addresses, plainly or by CONNECT."""
    url = f"http://{name}:{unlisted.port}/large"
    with httpx.Client(proxy=mesh.proxy, trust_env=False, timeout=10) as client:
        try:
            status = client.get(url).status_code
        except httpx.TransportError:
            status = 0
        assert status in (0, 400, 403, 502)
        try:
            client.get(url.replace("http://", "https://"))
        except httpx.TransportError:
            pass
    assert unlisted.calls == []


def test_no_secret_in_the_log(mesh: Mesh, provider: Provider) -> None:
    """Keys, in a header or in Gemini's query, are in no line of the log."""
    secret = "AIzaSy-very-secret-key-in-the-query"
    with mesh.way("forward-h2").client(httpx, [], asynchronous=False) as client:
        url = f"https://generativelanguage.googleapis.com/v1beta/models?key={secret}"
        answer = client.get(url, headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200
    mesh.exchange(answer.headers["x-mesh-id"])
    assert secret not in mesh.log()
    assert KEY not in mesh.log()
