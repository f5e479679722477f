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

CODEX_HOSTS = ("chatgpt.com", "chat.openai.com")
CLAUDE_HOST = "api.anthropic.com"

_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".svc", ".cluster.local", ".lan")
CREDENTIALS = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "ocp-apim-subscription-key")
"""Headers in which LLM clients send their credential; the last is Azure API Management's."""


def billing(host: str, path: str, headers: Mapping[str, str], declared: Billing | None = None) -> Billing:
    """How a call to `host` (name or address) is paid for.

    `headers` are those that leave (case-insensitive), `path` has the query, `declared` is what the host's or provider's
    rule says. First a plan's login, which tells for itself; then what is declared; then the host; then any key.
    """
    if _is_plan(host, headers):
        return Billing.SUBSCRIPTION
    if declared is not None:
        return declared
    if (of_host := _of_host(host)) is not None:
        return of_host
    if any(headers.get(header) for header in CREDENTIALS) or "?key=" in path or "&key=" in path:
        return Billing.METERED
    return Billing.UNKNOWN


@lru_cache(maxsize=1024)
def _of_host(host: str) -> Billing | None:
    name = host.lower().strip("[]").rstrip(".")
    if any(name == plan or name.endswith("." + plan) for plan in PLAN_HOSTS):
        return Billing.SUBSCRIPTION
    return Billing.LOCAL if _is_local(name) else None


def _is_plan(host: str, headers: Mapping[str, str]) -> bool:
    """Is what pays a plan's login? Only where plans are served, and only if there is no key beside it: whoever could
    say it of any call would have all of them uncounted. A Claude plan's OAuth token has a prefix of its own."""
    name = host.lower().rstrip(".")
    if name in CODEX_HOSTS and headers.get("chatgpt-account-id"):
        return True
    sent = [(headers.get(header) or "").rpartition(" ")[2] for header in CREDENTIALS]
    keys = [key for key in sent if key]
    return name == CLAUDE_HOST and bool(keys) and all(key.startswith("sk-ant-oat") for key in keys)


def _is_local(name: str) -> bool:
    """Loopback, private and link-local addresses, names that only resolve inside, and names of one label."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return bool(name) and ("." not in name or name.endswith(_LOCAL_SUFFIXES))
    return address.is_private or address.is_loopback or address.is_link_local
