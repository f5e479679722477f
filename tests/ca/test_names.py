"""What a CA is good for follows from hosts.yaml, and what it is good for is read back from its certificate."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mitmesh.ca import EVERYTHING, Names, outside
from mitmesh.ca.authority import make
from mitmesh.ca.names import of_certificate, wanted
from mitmesh.hostnames import parse_network, parse_pattern
from mitmesh.rules import Rules, load

ROOT = Path(__file__).parents[2]


def rules(tmp_path: Path, hosts: str, mesh: str = "") -> Rules:
    (tmp_path / "hosts.yaml").write_text(hosts)
    (tmp_path / "mesh.yaml").write_text(mesh)
    return load(tmp_path)


def entry(match: str, **more: str) -> str:
    return "\n".join([f"  - id: x{abs(hash(match))}", f"    match: [{match}]", "    provider: p"]) + "".join(
        f"\n    {key}: {value}" for key, value in more.items()
    )


def test_the_shipped_hosts_are_covered_and_a_bank_is_not() -> None:
    """Every host that is decrypted as shipped may be signed for; others, and addresses, may not."""
    shipped = load(ROOT / "rules")
    names = wanted(shipped)
    assert outside(shipped, names.covers) is None
    for name in ("api.openai.com", "eu.api.openai.com", "contoso.openai.azure.com", "localhost", "127.0.0.1", "::1"):
        assert names.permits(name), name
    for name in ("bank.example", "openai.com", "evilapi.openai.com.example", "10.0.0.1", "2001:db8::1", "com", "x y"):
        assert not names.permits(name), name


def test_no_name_is_said_twice(tmp_path: Path) -> None:
    """A name below another, and a network within another, add nothing; what is only tunnelled needs no signature."""
    hosts = [
        entry("a.example.com, example.com"),
        entry('"*.b.example.com"'),
        entry("10.1.0.0/16, 10.0.0.0/8"),
        entry("login.example.org", action="tunnel"),
    ]
    names = wanted(rules(tmp_path, "hosts:\n" + "\n".join(hosts)))
    assert names.dns == ("example.com", "localhost")
    assert [str(each) for each in names.networks] == ["10.0.0.0/8", "127.0.0.0/8", "::1/128"]


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("example.com", True),
        ("a.example.com", True),
        ("**.example.com:8443", True),
        ("*-api.example.com", True),
        ("notexample.com", False),
        ("*.com", False),
        ("not.example.com", False),
        ("x.not.example.com", False),
        ("10.1.2.3", True),
        ("10.0.0.0/7", False),
        ("10.9.0.0/24", False),
        ("[fd00::1]:443", False),
    ],
)
def test_what_is_covered(pattern: str, covered: bool) -> None:
    """A pattern is covered when every name it can match is; what is excluded is not."""
    names = Names(
        ("example.com",), (parse_network("10.0.0.0/8"),), ("not.example.com",), (parse_network("10.9.0.0/16"),)
    )
    assert names.covers(parse_pattern(pattern)) is covered


def test_constraints_are_read_back() -> None:
    """What a certificate says of itself is what it was made for; without constraints that is everything."""
    names = Names(("example.com",), (parse_network("10.0.0.0/8"), parse_network("::1/128")))
    for certificate in make(names, datetime.now(UTC)).certificates:
        assert of_certificate(certificate) == names
    for certificate in make(EVERYTHING, datetime.now(UTC)).certificates:
        assert of_certificate(certificate) == EVERYTHING
    assert EVERYTHING.permits("bank.example")
    assert EVERYTHING.permits("2001:db8::1")


@pytest.mark.parametrize(
    ("more", "mesh", "missed"),
    [
        ({}, "", True),
        ({"action": "tunnel"}, "", False),
        ({"action": "refuse"}, "", False),
        ({"status": "blocked"}, "", False),
        ({"status": "blocked"}, "mode: observe", True),
        ({"status": "blocked"}, "teams: {a: {mode: observe}}", True),
        ({"status": "blocked", "mode": "enforce"}, "mode: observe", False),
        ({"status": "blocked", "mode": "observe"}, "", True),
    ],
)
def test_only_what_is_decrypted_counts(tmp_path: Path, more: dict[str, str], mesh: str, missed: bool) -> None:
    """An entry that is never decrypted needs no CA for it; a blocked one does where that is only observed."""
    found = outside(rules(tmp_path, "hosts:\n" + entry("new.example", **more), mesh), lambda pattern: False)
    assert (found is not None) is missed
