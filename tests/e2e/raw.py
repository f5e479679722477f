"""Bare sockets: a server that keeps every byte and speaks no HTTP by itself, and clients that speak it badly."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, Ping, Request, TextMessage

from e2e.mesh import Mesh

SECONDS = 10.0


class Listener(socketserver.ThreadingTCPServer):
    """A server on 127.0.0.1 that counts its connections and keeps what they send; `behave(sock, listener)` says what
    it does with one (default: read, and answer nothing)."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 64

    def __init__(
        self, behave: Callable[[socket.socket, Listener], None] | None = None, context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.behave, self.context = behave or swallow, context
        self.port: int = self.server_address[1]
        self.connections, self.received = 0, b""
        self.released = threading.Event()
        self._lock = threading.Lock()

    def note(self, data: bytes) -> bytes:
        """Keep what came."""
        with self._lock:
            self.received += data
        return data

    def finish_request(self, request: Any, client_address: Any) -> None:
        """One connection, in a thread of its own."""
        with self._lock:
            self.connections += 1
        request.settimeout(SECONDS)
        sock = self.context.wrap_socket(request, server_side=True) if self.context else request
        try:
            self.behave(sock, self)
        finally:
            sock.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what these tests are about."""

    def __enter__(self) -> Listener:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        """End the thread before the socket: one that goes on polls whatever gets the socket's number next, for ever."""
        self.shutdown()
        super().__exit__(*error)


def swallow(sock: socket.socket, listener: Listener) -> None:
    """Keep what comes, and answer nothing."""
    while listener.note(sock.recv(65536)):
        pass


def echo(sock: socket.socket, listener: Listener) -> None:
    """Send back whatever comes."""
    while data := sock.recv(65536):
        listener.note(data)
        sock.sendall(data)


def switch(sock: socket.socket, listener: Listener) -> None:
    """Answer any request with 101, then echo."""
    listener.note(read_head(sock))
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
    echo(sock, listener)


def websocket_echo(sock: socket.socket, listener: Listener) -> None:
    """A WebSocket server that sends each message back."""
    connection = WSConnection(ConnectionType.SERVER)
    while data := sock.recv(65536):
        connection.receive_data(data)
        for event in connection.events():
            if isinstance(event, Request):
                sock.sendall(connection.send(AcceptConnection()))
            elif isinstance(event, TextMessage | BytesMessage):
                sock.sendall(connection.send(type(event)(data=event.data)))
            elif isinstance(event, Ping):
                sock.sendall(connection.send(event.response()))


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


def read_head(sock: socket.socket) -> bytes:
    """A message's head, or what came of it before the connection ended."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        try:
            byte = sock.recv(1)
        except TimeoutError:
            pytest.fail(f"no head but {head!r}")
        except OSError:
            byte = b""
        if not byte:
            break
        head += byte
    return head


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """That many bytes."""
    data = b""
    while len(data) < count:
        data += sock.recv(count - len(data)) or pytest.fail(f"ended after {len(data)} of {count} bytes")
    return data


def status(head: bytes) -> int:
    """The status of a response; 0 where there is none."""
    words = head.split(b" ", 2)
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0


def dial(place: str) -> socket.socket:
    """A connection to `host:port` or to its URL."""
    url = urlsplit(place if "//" in place else f"//{place}")
    return socket.create_connection((url.hostname or "", url.port or 0), SECONDS)


def tunnel(mesh: Mesh, target: str) -> socket.socket:
    """A CONNECT through the proxy that is granted; the socket to go on with."""
    sock = dial(mesh.proxy)
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
    head = read_head(sock)
    assert status(head) == 200, head
    return sock


def connect_status(mesh: Mesh, target: str) -> int:
    """What the proxy answers to a CONNECT."""
    with dial(mesh.proxy) as sock:
        sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        return status(read_head(sock))


def anyone() -> ssl.SSLContext:
    """A client's context that believes everybody: who answers is then looked at."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def request(line: str, host: str, body: bytes = b"", **headers: str) -> bytes:
    """An HTTP/1.1 request, byte for byte; `_` in the names of headers stands for `-`."""
    fields = {"Host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    return "".join([f"{line} HTTP/1.1\r\n", *(f"{k}: {v}\r\n" for k, v in fields.items()), "\r\n"]).encode() + body


def answer(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """A response with a Content-Length (or none): status, headers in lower case, body."""
    head = read_head(sock)
    lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:-2])
    headers = {name.lower(): value.strip() for name, _, value in lines}
    return status(head), headers, read_exactly(sock, int(headers.get("content-length", 0)))
