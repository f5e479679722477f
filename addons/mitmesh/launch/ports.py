"""Ports on 127.0.0.1: are they free, before anything is started."""

from __future__ import annotations

import errno
import socket

from mitmesh.launch import LaunchError


def check(ports: dict[str, int]) -> None:
    """Raises LaunchError that names the first port (by its option) that cannot be opened; 0 is any free port."""
    seen: dict[int, str] = {}
    for option, port in ports.items():
        if not 0 <= port <= 65535:
            raise LaunchError(f"{option} must be from 0 to 65535; it is {port}")
        if port and port in seen:
            raise LaunchError(f"{seen[port]} and {option} are both {port}: choose another for one of them")
        seen[port] = option
        try:
            _open(port)
        except OSError as error:
            why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be opened ({error.strerror})"
            raise LaunchError(f"port {port} {why}: choose another with {option}") from None


def free() -> int:
    """A port that nobody uses now."""
    return _open(0)


def _open(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that has just been closed is free
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def both(port: int | None) -> str:
    """This port on 127.0.0.1 and, where the machine has IPv6, on ::1, as the option mesh_transparent has it; 0 is any
    free port, None is no listener. Raises LaunchError if it is taken."""
    if port is None:
        return ""
    if not 0 <= port <= 65535:
        raise LaunchError(f"--transparent must be from 0 to 65535; it is {port}")
    port = port or free()
    places = []
    for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise LaunchError(f"port {port} is in use: choose another with --transparent") from None
            continue  # no IPv6 here
        places.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return ",".join(places)
