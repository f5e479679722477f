"""Loaded with `-s` into the mitmdump under test: names resolve to fake providers, and to nothing else.

MESH_TEST_RESOLVE is "api.openai.com:443=127.0.0.1:41234,...". Any other name fails to resolve, so that no test can
reach the internet by mistake. The product knows nothing of it.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import Any

_table = dict(entry.split("=") for entry in os.environ.get("MESH_TEST_RESOLVE", "").split(",") if entry)
_real = socket.getaddrinfo


def _getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if target := _table.get(f"{name}:{port}"):
        address, _, number = target.rpartition(":")
        return _real(address, int(number), *args, **kwargs)
    if name in (None, "", "localhost") or _is_address(name):
        return _real(host, port, *args, **kwargs)
    raise socket.gaierror(socket.EAI_NONAME, "not in MESH_TEST_RESOLVE")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


socket.getaddrinfo = _getaddrinfo
