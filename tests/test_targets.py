"""Where a redirected call goes: the address is what is connected to, the name what people, prices and keys go by."""

from __future__ import annotations

from typing import Any

import pytest
from mitmproxy.test import tflow

from mitmesh.rules import HostRule
from mitmesh.targets import target_of

RULE = HostRule(id="openai", match=["api.openai.com", "*.local.example:8000", "203.0.113.0/24"], provider="openai")


def made(
    via: str = "transparent", *, sni: str | None = None, host: str = "", scheme: str = "https", port: int = 443
) -> Any:
    """The target of a call to 203.0.113.9."""
    flow = tflow.tflow()
    flow.client_conn.sni = sni
    flow.request.scheme, flow.request.host, flow.request.port = scheme, "203.0.113.9", port
    flow.request.headers["host"] = host
    return target_of(flow, RULE, via)


@pytest.mark.parametrize(
    ("call", "name", "proven"),
    [
        ({"sni": "api.openai.com", "host": "api.openai.com"}, "api.openai.com", "api.openai.com"),
        ({"sni": "API.openai.com.", "host": "x"}, "api.openai.com", "api.openai.com"),
        # what nobody checks names the call where a rule is for that name, and decides nothing
        ({"host": "api.openai.com"}, "api.openai.com", "203.0.113.9"),
        ({"host": "a.local.example:8000", "scheme": "http", "port": 8000}, "a.local.example", "203.0.113.9"),
        ({"host": "a.local.example", "scheme": "http", "port": 80}, "203.0.113.9", "203.0.113.9"),
        ({"host": "evil.example"}, "203.0.113.9", "203.0.113.9"),
        ({"sni": "api.openai.com", "host": "chatgpt.com"}, "api.openai.com", "api.openai.com"),
        # an SNI that is an address, or nothing that a resolver takes
        ({"sni": "198.51.100.1", "host": "203.0.113.9"}, "203.0.113.9", "203.0.113.9"),
        ({"sni": "a b", "host": "[::1"}, "203.0.113.9", "203.0.113.9"),
        ({"host": "api.openai.com:x"}, "203.0.113.9", "203.0.113.9"),
        # a client that uses the proxy openly said where it goes already
        ({"via": "forward", "sni": "api.openai.com"}, "203.0.113.9", "203.0.113.9"),
    ],
)
def test_names(call: dict[str, Any], name: str, proven: str) -> None:
    """The SNI, for the provider's certificate must bear it; else a Host header that the rule is for, as a name alone.
    What is connected to is the address in any case: the second lock compares it."""
    target = made(**call)
    assert (target.name, target.proven, target.host) == (name, proven, "203.0.113.9")
