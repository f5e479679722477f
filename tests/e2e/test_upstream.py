"""mitmproxy's `upstream:` mode: everything that leaves goes through a corporate proxy, governed all the same."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from e2e.conftest import MakeMesh
from e2e.mesh import Mesh
from e2e.provider import Provider
from e2e.raw import Listener, read_head

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]}


class Corporate(Listener):
    """A CONNECT proxy that reaches the fake providers, and remembers what it was asked for."""

    def __init__(self, names: dict[str, Provider]) -> None:
        super().__init__(self._connect)
        self.names, self.asked = names, list[str]()

    def _connect(self, sock: socket.socket, _: Listener) -> None:
        wanted = read_head(sock).split()[1].decode()
        self.asked.append(wanted)
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self.names[wanted].port)) as server:
            relay(sock, server)


def relay(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    while True:
        for ready in select.select([one, other], [], [], 10)[0]:
            data = ready.recv(65536)
            if not data:
                return
            (other if ready is one else one).sendall(data)


@pytest.fixture
def corporate(names: dict[str, Provider]) -> Iterator[Corporate]:
    with Corporate(names) as proxy:
        yield proxy


@pytest.fixture
def behind(make_mesh: MakeMesh, corporate: Corporate) -> Mesh:
    """A mitmesh that reaches nothing but the corporate proxy; where it listens is mesh_listen's to say."""
    mesh = make_mesh(resolve={}, options=["--mode", f"upstream:http://127.0.0.1:{corporate.port}"]).start()
    assert not mesh.run["proxy"].endswith(":8080")
    return mesh


def client(mesh: Mesh, ca: Path) -> httpx.Client:
    return httpx.Client(proxy=mesh.proxy, verify=ssl.create_default_context(cafile=str(ca)), trust_env=False)


def test_searched_answers_are_carried_too(make_mesh: MakeMesh, corporate: Corporate, provider: Provider) -> None:
    """A call whose answer is searched (`output: mask`) is made by us, and leaves through the corporate proxy too."""
    options = ["--mode", f"upstream:http://127.0.0.1:{corporate.port}@127.0.0.1:0"]
    mesh = make_mesh(resolve={}, options=options, local={"pii.yaml": "output: {action: mask}\n"}).start()
    with client(mesh, mesh.ca) as http:
        answer = http.post("https://api.openai.com/v1/chat/completions", json=CHAT)
    assert (answer.status_code, corporate.asked) == (200, ["api.openai.com:443"])


@pytest.mark.quick
def test_a_call_is_governed_and_carried(behind: Mesh, corporate: Corporate, provider: Provider) -> None:
    """A call to an LLM host is decrypted, audited, and leaves through the corporate proxy."""
    with client(behind, behind.ca) as http:
        answer = http.post("https://api.openai.com/v1/chat/completions", json=CHAT)
    assert answer.status_code == 200
    assert corporate.asked == ["api.openai.com:443"]
    assert behind.exchange(answer.headers["x-mesh-id"])["outcome"] == "answered"


def test_what_is_no_llm_host_is_tunnelled_through_it(behind: Mesh, corporate: Corporate, provider1: Provider) -> None:
    """A client that trusts only the real server's CA reaches it."""
    with client(behind, behind.trust) as http:
        assert http.get("https://plain.example/v1/models").status_code < 500
    assert corporate.asked == ["plain.example:443"]


def test_a_refused_call_does_not_reach_it(behind: Mesh, corporate: Corporate) -> None:
    """A call that is refused asks the corporate proxy for nothing."""
    with client(behind, behind.ca) as http:
        answer = http.post("https://api.openai.com/v1/chat/completions", content=b"{")
    assert answer.status_code == 400
    assert corporate.asked == []
