"""The relay: bytes pass both ways from an address of its own, and it knows whom they were for."""

from __future__ import annotations

import socket
import sys
import threading

import pytest

from mitmesh.launch.relay import relay


def echo(listener: socket.socket, seen: list[str], count: int) -> None:
    """A proxy that says back what it got, once it got all of it."""
    for _ in range(count):
        connection, peer = listener.accept()
        seen.append(peer[0])
        with connection:
            data = b""
            while piece := connection.recv(65536):
                data += piece
            connection.sendall(data)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_both_ways_and_from_where() -> None:
    """A large body comes back whole, after the client's end; the proxy sees the relay's own address."""
    seen: list[str] = []
    lines = [
        b"CONNECT API.example:443 HTTP/1.1",
        b"GET http://u@[::1]:80/x HTTP/1.1",
        b"GET http://a.example/ HTTP/1.1",
    ]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=echo, args=(listener, seen, len(lines)), daemon=True)
        thread.start()
        with relay(f"127.0.0.1:{listener.getsockname()[1]}") as through:
            host, _, port = through.address.rpartition(":")
            for line in lines:
                sent = line + b"\r\n\r\n" + b"x" * 300_000
                with socket.create_connection((host, int(port)), timeout=10) as client:
                    client.sendall(sent)
                    client.shutdown(socket.SHUT_WR)
                    got = b""
                    while piece := client.recv(65536):
                        got += piece
                assert got == sent
            thread.join(10)
            idle = socket.create_connection((host, int(port)))  # does not keep it from ending
    idle.close()
    assert through.hosts == {"api.example", "::1", "a.example"}
    assert through.client not in (None, "127.0.0.1")
    assert set(seen) == {through.client}
    with pytest.raises(OSError):
        socket.create_connection((host, int(port)), timeout=2)


def test_a_proxy_elsewhere() -> None:
    """From an address of loopback nothing else can be reached."""
    with relay("192.0.2.1:8080") as through:
        assert through.client is None
