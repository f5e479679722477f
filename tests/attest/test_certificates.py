"""Client certificates: whose they are, and that only the CAs of the rules can say so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from attest.clients import CLIENT, NOW, SERVER, Issuer
from mitmesh.attest import Rejected
from mitmesh.attest.certificates import CertificateCheck
from mitmesh.rules.identities import CertificateIdentity, Certificates

MOMENT = NOW.timestamp()
SPIFFE = "spiffe://corp.example/ns/ci/sa/agent"


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def check(issuer: Issuer, tmp_path: Path) -> CertificateCheck:
    (tmp_path / "ca.pem").write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
    names = [
        CertificateIdentity(name="spiffe://corp.example/ns/*/sa/agent", team="agents", user="name"),
        CertificateIdentity(name="*.build.example", team="build"),
        CertificateIdentity(name="*@corp.example", team="people", user="name"),
    ]
    return CertificateCheck(Certificates(ca=str(tmp_path / "ca.pem"), names=names))


@pytest.mark.parametrize(
    ("name", "team", "user"),
    [
        (x509.UniformResourceIdentifier(SPIFFE), "agents", SPIFFE),
        (x509.DNSName("one.build.example"), "build", None),
        (x509.RFC822Name("ada@corp.example"), "people", "ada@corp.example"),
    ],
)
def test_who(check: CertificateCheck, issuer: Issuer, name: x509.GeneralName, team: str, user: str | None) -> None:
    """The first rule whose name the certificate bears says who it is."""
    found = check.find(issuer.client(name), MOMENT)
    assert found and (found.team, found.user) == (team, user)


@pytest.mark.parametrize(
    ("usage", "holds"), [((), True), ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), True), ((SERVER, CLIENT), True),
                         ((SERVER,), False), ((ExtendedKeyUsageOID.CODE_SIGNING,), False)],
)  # fmt: skip
def test_what_it_was_made_for(
    check: CertificateCheck, issuer: Issuer, usage: Sequence[x509.ObjectIdentifier], holds: bool
) -> None:
    """A server's certificate of the same CA is no client's."""
    chain = issuer.client(x509.UniformResourceIdentifier(SPIFFE), usage=usage)
    if holds:
        assert check.find(chain, MOMENT)
    else:
        with pytest.raises(Rejected):
            check.find(chain, MOMENT)


def test_nobody(check: CertificateCheck, issuer: Issuer) -> None:
    """A certificate that holds and is named in no rule is nobody's."""
    assert check.find(issuer.client(x509.DNSName("other.example")), MOMENT) is None


def test_what_does_not_hold(check: CertificateCheck, issuer: Issuer) -> None:
    """Another CA's, even of the same name, and one that has expired."""
    name = x509.UniformResourceIdentifier(SPIFFE)
    for chain in (Issuer().client(name), Issuer("other").client(name), issuer.client(name, days=-1)):
        with pytest.raises(Rejected) as caught:
            check.find(chain, MOMENT)
        assert "corp.example" not in str(caught.value)


@pytest.mark.parametrize("lives", [5, 600])
def test_when_it_holds(check: CertificateCheck, issuer: Issuer, lives: int) -> None:
    """From its first second to its last, and not a second more, whether it was seen before or not (short-lived SPIFFE
    certificates): nothing waits for an hour to turn."""
    began = NOW.replace(minute=20, second=0, microsecond=0)
    chain = issuer.client(x509.UniformResourceIdentifier(SPIFFE), began=began, seconds=lives)
    first = began.timestamp()
    for moment, holds in ((-1, False), (0, True), (lives, True), (lives + 1, False), (1, True), (-1, False)):
        if holds:
            found = check.find(chain, first + moment)
            assert found and found.team == "agents"
        else:
            with pytest.raises(Rejected):
                check.find(chain, first + moment)


def test_an_issuer_that_ends_first(check: CertificateCheck, issuer: Issuer) -> None:
    """A certificate holds no longer than the CA above it, though it was verified while both did."""
    chain = issuer.client(x509.UniformResourceIdentifier(SPIFFE), days=1000)
    assert check.find(chain, MOMENT)
    with pytest.raises(Rejected):
        check.find(chain, issuer.certificate.not_valid_after_utc.timestamp() + 1)


def test_a_ca_that_is_none(tmp_path: Path) -> None:
    """Rules whose CA cannot be used are no rules."""
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ValueError, match="PEM"):
        CertificateCheck(Certificates(ca=str(tmp_path / "ca.pem"), names=[CertificateIdentity(name="*")]))
