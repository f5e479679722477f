"""How a call is paid for, judged from its credential's shape and its host."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from mitmesh.exchange import Billing

PLAN_HOSTS = (
    "chatgpt.com",
    "chat.openai.com",
    "claude.ai",
    "gemini.google.com",
    "cloudcode-pa.googleapis.com",  # Gemini CLI and Code Assist with a Google login
    "githubcopilot.com",
    "copilot-proxy.githubusercontent.com",
    "cursor.sh",
)
"""Hosts, with all below them, that only serve people on a plan."""

_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".svc", ".cluster.local", ".lan")
_KEY_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")


def billing(host: str, path: str, headers: Mapping[str, str], declared: Billing | None = None) -> Billing:
    """How a call to `host` (name or address) is paid for.

    `headers` are those that leave (case-insensitive), `path` has the query, `declared` is what the host's or provider's
    rule says. First a plan's login, which tells for itself; then what is declared; then the host; then any key.
    """
    if _is_plan(headers):
        return Billing.SUBSCRIPTION
    if declared is not None:
        return declared
    if (of_host := _of_host(host)) is not None:
        return of_host
    if any(headers.get(header) for header in _KEY_HEADERS) or "?key=" in path or "&key=" in path:
        return Billing.METERED
    return Billing.UNKNOWN


@lru_cache(maxsize=1024)
def _of_host(host: str) -> Billing | None:
    name = host.lower().strip("[]").rstrip(".")
    if any(name == plan or name.endswith("." + plan) for plan in PLAN_HOSTS):
        return Billing.SUBSCRIPTION
    return Billing.LOCAL if _is_local(name) else None


def _is_plan(headers: Mapping[str, str]) -> bool:
    """Codex names the ChatGPT account its plan belongs to; a Claude plan's OAuth token has a prefix of its own."""
    if headers.get("chatgpt-account-id"):
        return True
    for header in ("authorization", "x-api-key"):
        if (headers.get(header) or "").rpartition(" ")[2].startswith("sk-ant-oat"):
            return True
    return False


def _is_local(name: str) -> bool:
    """Loopback, private and link-local addresses, names that only resolve inside, and names of one label."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(_LOCAL_SUFFIXES))
    return address.is_private or address.is_loopback or address.is_link_local
