from __future__ import annotations

import pytest

from mitmesh.egress import egress_refused, parse_allow


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.53", "127.1", "0x7f.1", "2130706433", "017700000001", "::1", "[::1]", "0.0.0.0", "0", "::",
     "0.1.2.3", "localhost", "LOCALHOST.", "ｌocalhost", "x.localhost", "::ffff:127.0.0.1", "::ffff:7f00:1",
     "::127.0.0.1", "64:ff9b::7f00:1", "169.254.169.254", "0xa9fea9fe", "2852039166", "::ffff:169.254.169.254",
     "64:ff9b::169.254.169.254", "fe80::1", "fe80::1%eth0", "febf::1", "fd00:ec2::254", "100.100.100.200",
     "a b", ""],
)  # fmt: skip
def test_refused(host: str) -> None:
    """Loopback, link-local and metadata are refused however they are spelled."""
    assert egress_refused(host, 80)


@pytest.mark.parametrize(
    "host",
    ["api.openai.com", "localhost.example.com", "notlocalhost", "10.0.0.1", "192.168.1.1", "169.253.1.1", "128.0.0.1",
     "fd00::1", "2606:4700::1", "8.8.8.8"],
)  # fmt: skip
def test_allowed(host: str) -> None:
    """Other destinations are not this rule's business."""
    assert egress_refused(host, 80) is None


@pytest.mark.parametrize(
    ("host", "port", "allow", "refused"),
    [
        ("localhost", 3000, ["localhost:3000"], False),
        ("127.0.0.1", 3000, ["localhost:3000"], False),
        ("::1", 3000, ["127.0.0.1:3000"], False),
        ("0x7f.1", 3000, ["[::1]:3000"], False),
        ("x.localhost", 3000, ["localhost:*"], False),
        ("localhost", 3001, ["localhost:3000"], True),
        ("127.0.0.53", 53, ["localhost:53"], True),
        ("127.0.0.53", 53, ["127.0.0.53:53"], False),
        ("169.254.169.254", 80, ["169.254.169.254:80"], False),
        ("169.254.169.254", 81, ["169.254.169.254:80"], True),
        ("::ffff:169.254.169.254", 80, ["169.254.169.254:*"], False),
    ],
)
def test_allow_list(host: str, port: int, allow: list[str], refused: bool) -> None:
    """rules/egress.yaml opens one destination, whichever way a client spells it, and no other."""
    assert bool(egress_refused(host, port, allow=allow)) is refused


@pytest.mark.parametrize(
    ("host", "listed", "allow", "refused"),
    [
        ("127.0.0.1", False, [], True),
        ("127.0.0.1", True, [], True),
        ("localhost", True, ["localhost:9090"], False),
        ("192.168.1.5", False, [], True),
        ("192.168.1.5", False, ["192.168.1.5:9090"], False),
        ("192.168.1.6", False, [], False),
    ],
)
def test_own_ports(host: str, listed: bool, allow: list[str], refused: bool) -> None:
    """The proxy's own ports open only by rules/egress.yaml, not because a host rule covers loopback."""
    why = egress_refused(host, 9090, own_ports={9090}, own_addresses={"192.168.1.5"}, allow=allow, listed=listed)
    assert bool(why) is refused


def test_listed() -> None:
    """An LLM server on loopback that rules/hosts.yaml lists is reached."""
    assert egress_refused("localhost", 11434, own_ports={9090}, listed=True) is None


@pytest.mark.parametrize("entry", ["localhost", "::1", "a b:1", ":80", "localhost:0", "http://localhost:1"])
def test_bad_entries(entry: str) -> None:
    """An entry without a port, or without a host, is an error."""
    with pytest.raises(ValueError, match=r"must be|port"):
        parse_allow(entry)
