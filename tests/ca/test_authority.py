"""The CA that is made, checked with OpenSSL; and what is refused of one that is given."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ca.leaf import leaf
from mitmesh.ca import Authority, AuthorityError, Names
from mitmesh.ca.authority import LIFETIME, make, read
from mitmesh.hostnames import parse_network

NOW = datetime.now(UTC)
NAMES = Names(("api.example.com",), (parse_network("127.0.0.0/8"), parse_network("::1/128")))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return make(NAMES, NOW)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("api.example.com", True),
        ("eu.api.example.com", True),
        ("127.0.0.1", True),
        ("bank.example", False),
        ("example.com", False),
        ("10.0.0.1", False),
        ("2001:db8::1", False),
    ],
)
def test_openssl_agrees(tmp_path: Path, authority: Authority, name: str, good: bool) -> None:
    """Whoever has the key can sign for the names in the constraints, and for no other."""
    for file, certificates in {"root": authority.certificates[1:], "chain": authority.certificates[:1]}.items():
        (tmp_path / file).write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in certificates))
    (tmp_path / "leaf").write_bytes(leaf(authority, name))
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver"]
    files = ["-CAfile", str(tmp_path / "root"), "-untrusted", str(tmp_path / "chain"), str(tmp_path / "leaf")]
    done = subprocess.run([*command, *files], capture_output=True, text=True)
    assert (done.returncode == 0) is good, done.stderr
    assert good or "permitted subtree violation" in done.stderr
    assert authority.permits(name) is good


def test_it_is_read_as_it_was_written(authority: Authority) -> None:
    """Key and certificates survive their file; the trusted one is a root whose key is nowhere."""
    again = read(authority.pem(), authority.pem(), "it", NOW)
    assert again.certificates == authority.certificates
    assert again.anchor.issuer == again.anchor.subject
    assert again.anchor.public_key() != again.key.public_key()
    assert authority.pem().count(b"PRIVATE KEY") == 2  # one key: begin and end
    assert again.organisation == "mitmesh"


def test_two_are_never_taken_for_one_another() -> None:
    """Each has a name of its own, so that stores and people can tell them apart."""
    assert make(NAMES, NOW).anchor.subject != make(NAMES, NOW).anchor.subject


def test_what_is_refused(authority: Authority) -> None:
    """A key without its certificate, a broken chain, no PEM, and what is out of date."""
    other = make(NAMES, NOW)
    certificates = [each.public_bytes(Encoding.PEM) for each in authority.certificates]
    cases = {
        "PEM": (b"nonsense", certificates[0]),
        "not that of the first": (other.pem(), b"".join(certificates)),
        "not signed by the one after": (authority.pem(), certificates[0] + other.anchor.public_bytes(Encoding.PEM)),
    }
    for said, (key, chain) in cases.items():
        with pytest.raises(AuthorityError, match=said):
            read(key, chain, "ca", NOW)
    with pytest.raises(AuthorityError, match=r"not valid yet.*clock"):
        read(authority.pem(), authority.pem(), "ca", NOW - timedelta(days=9))
    with pytest.raises(AuthorityError, match=r"expired on .*scripts/ca rotate"):
        read(authority.pem(), authority.pem(), "ca", NOW + LIFETIME)
    key_pem = authority.pem().split(b"-----BEGIN CERT")[0]
    with pytest.raises(AuthorityError, match="PEM"):
        read(key_pem, b"", "ca", NOW)
