from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from mitmesh.exchange import Mode
from mitmesh.rules import HostRule, Hosts, PathRule, When
from mitmesh.scope import HostTable, decide, find_path

TODAY = date(2026, 6, 15)


def host(id: str, *match: str, **rest: Any) -> HostRule:
    return HostRule(id=id, match=list(match), provider="p", **rest)


TABLE = HostTable(
    Hosts(
        hosts=[
            host("exception", "blocked.ai", when=When(team="research"), expires=date(2026, 6, 15)),
            host("lapsed", "lapsed.ai", expires=date(2026, 6, 14)),
            host("openai", "api.openai.com", "*.api.openai.com"),
            host("blocked", "blocked.ai", status="blocked"),
            host("refused", "refused.ai", action="refuse"),
            host("watched", "watched.ai", status="blocked", mode=Mode.OBSERVE),
            host("passed", "passed.ai", action="tunnel"),
            host("office", "private.ai", when=When(network="10.0.0.0/8", process="claude")),
            host("range", "203.0.113.0/24", "[2001:db8::/32]:443"),
            host("ollama", "localhost:11434"),
            host("wide", "**.wide.ai"),
            host("narrow", "x.wide.ai"),
        ]
    )
)


@pytest.mark.parametrize(
    ("connect", "more", "kind", "rule", "by"),
    [
        ("api.openai.com", {}, "decrypt", "openai", "connect"),
        ("API.OpenAI.com.", {}, "decrypt", "openai", "connect"),
        ("eu.api.openai.com", {}, "decrypt", "openai", "connect"),
        ("evil-api.openai.com", {}, "tunnel", None, "connect"),
        ("xapi.openai.com", {}, "tunnel", None, "connect"),
        ("api.openai.com.evil.com", {}, "tunnel", None, "connect"),
        ("example.com", {}, "tunnel", None, "connect"),
        # CONNECT names an LLM host: no SNI, another SNI and another Host header take nothing out.
        ("api.openai.com", {"sni": None}, "decrypt", "openai", "connect"),
        ("api.openai.com", {"sni": "example.com"}, "decrypt", "openai", "connect"),
        ("api.openai.com", {"sni": "passed.ai"}, "decrypt", "openai", "connect"),
        ("api.openai.com", {"host_header": "example.com"}, "decrypt", "openai", "connect"),
        ("api.openai.com", {"host_header": "passed.ai"}, "decrypt", "openai", "connect"),
        # Something else names it: it comes in.
        ("example.com", {"sni": "api.openai.com"}, "decrypt", "openai", "sni"),
        ("198.51.100.1", {"sni": "api.openai.com"}, "decrypt", "openai", "sni"),
        ("example.com", {"host_header": "api.openai.com:443"}, "decrypt", "openai", "host"),
        ("passed.ai", {"sni": "api.openai.com"}, "decrypt", "openai", "sni"),
        ("passed.ai", {"host_header": "api.openai.com"}, "decrypt", "openai", "host"),
        (None, {"address": "203.0.113.7"}, "decrypt", "range", "address"),
        (None, {"address": "203.0.113.7", "sni": "example.com"}, "decrypt", "range", "address"),
        (None, {"address": "::ffff:203.0.113.7"}, "decrypt", "range", "address"),
        (None, {"address": "2001:db8::1"}, "decrypt", "range", "address"),
        (None, {"address": "198.51.100.1"}, "tunnel", None, "connect"),
        # The strictest of several wins, wherever it stands.
        ("api.openai.com", {"sni": "blocked.ai"}, "refuse", "blocked", "sni"),
        ("blocked.ai", {"sni": "api.openai.com"}, "refuse", "blocked", "connect"),
        ("passed.ai", {"host_header": "refused.ai"}, "refuse", "refused", "host"),
        ("api.openai.com", {"sni": "x.wide.ai"}, "decrypt", "openai", "connect"),
        ("passed.ai", {}, "tunnel", "passed", "connect"),
        ("refused.ai", {}, "refuse", "refused", "connect"),
        # Exceptions by caller, and their end.
        ("blocked.ai", {"team": "research"}, "decrypt", "exception", "connect"),
        ("blocked.ai", {"team": "other"}, "refuse", "blocked", "connect"),
        ("lapsed.ai", {}, "refuse", "lapsed", "connect"),
        ("private.ai", {"client": "10.1.1.1", "process": "claude"}, "decrypt", "office", "connect"),
        ("private.ai", {"client": "::ffff:10.1.1.1", "process": "claude"}, "decrypt", "office", "connect"),
        ("private.ai", {"client": "10.1.1.1"}, "tunnel", None, "connect"),
        ("private.ai", {"client": "11.1.1.1", "process": "claude"}, "tunnel", None, "connect"),
        ("private.ai", {"process": "claude"}, "tunnel", None, "connect"),
        # The first entry in the file decides, not the most literal.
        ("x.wide.ai", {}, "decrypt", "wide", "connect"),
        ("wide.ai", {}, "decrypt", "wide", "connect"),
        # What is no host is refused, but for a Host header, which decides nothing here.
        ("api.openai.com\0.evil.com", {}, "refuse", None, "connect"),
        ("example.com", {"sni": "a b"}, "refuse", None, "sni"),
        ("example.com", {"host_header": "a b"}, "tunnel", None, "connect"),
        ("example.com", {"host_header": "x:y:z]"}, "tunnel", None, "connect"),
        (None, {}, "tunnel", None, "connect"),
    ],
)
def test_decide(connect: str | None, more: dict[str, Any], kind: str, rule: str | None, by: str) -> None:
    """Who names an LLM host is in scope, whatever else is named; the strictest entry wins."""
    scope = decide(TABLE, connect, 443, today=TODAY, **more)
    assert (scope.kind, scope.rule and scope.rule.id, scope.named_by) == (kind, rule, by)


@pytest.mark.parametrize(
    ("name", "mode", "kind", "observed"),
    [
        ("blocked.ai", Mode.ENFORCE, "refuse", False),
        ("blocked.ai", Mode.OBSERVE, "decrypt", True),
        ("refused.ai", Mode.OBSERVE, "decrypt", True),
        ("lapsed.ai", Mode.OBSERVE, "decrypt", True),
        ("watched.ai", Mode.ENFORCE, "decrypt", True),
        ("api.openai.com", Mode.OBSERVE, "decrypt", False),
        ("passed.ai", Mode.OBSERVE, "tunnel", False),
    ],
)
def test_observe(name: str, mode: Mode, kind: str, observed: bool) -> None:
    """A refusal that is only observed decrypts and says so; an entry's own mode comes before the rules'."""
    scope = decide(TABLE, name, 443, today=TODAY, mode=mode)
    assert (scope.kind, scope.observed) == (kind, observed)


def test_observed_is_not_lost() -> None:
    """Of two entries that decrypt, the one that would have been refused is the one told."""
    assert decide(TABLE, "api.openai.com", 443, today=TODAY, sni="watched.ai").observed


@pytest.mark.parametrize(("port", "found"), [(11434, "ollama"), (443, None)])
def test_port(port: int, found: str | None) -> None:
    """A port in a pattern is part of it."""
    rule = TABLE.find("localhost", port)
    assert (rule and rule.id) == found


def test_find_nothing_in_what_is_no_host() -> None:
    """A look-up of what is no host finds nothing, and does not raise."""
    assert TABLE.find("a b", 443) is None


def test_apis() -> None:
    """The table carries the path tables of its file, by name."""
    table = HostTable(Hosts(apis={"a": [PathRule(path="/v1/messages", dialect="anthropic")]}))
    assert find_path(table.apis["a"], "POST", "/v1/messages") == "anthropic"


def test_an_entry_without_an_api_takes_the_next_ones() -> None:
    """An entry that only blocks or observes a host does not change what is spoken there."""
    own = {"id": "mine", "match": ["api.openai.com"], "provider": "openai", "status": "blocked"}
    shipped = {"id": "openai", "match": ["*.openai.com"], "provider": "openai", "api": "openai"}
    hosts = Hosts.model_validate({"apis": {"openai": []}, "hosts": [own, shipped]})
    assert HostTable(hosts).api("api.openai.com", 443) == "openai"
    assert HostTable(hosts).api("api.example.com", 443) == "none"
