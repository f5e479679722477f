"""Client certificates: whose they are, and that only the CAs of the rules can say so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mitmesh.attest import Rejected
from mitmesh.attest.certificates import CertificateCheck
from mitmesh.rules.identities import CertificateIdentity, Certificates

NOW = datetime.now(UTC)
HOUR = int(NOW.timestamp()) // 3600
SPIFFE = "spiffe://corp.example/ns/ci/sa/agent"


class Issuer:
    """A CA that makes certificates for clients."""

    def __init__(self, name: str = "clients") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        key_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        builder = self._builder(self.name, self.key, 365).add_extension(x509.BasicConstraints(True, None), True)
        self.certificate = builder.add_extension(usage, True).add_extension(key_id, False).sign(self.key, SHA256())

    def client(self, *names: x509.GeneralName, days: int = 30, usage: bool = True) -> tuple[bytes, ...]:
        """A client's chain, as it presents it."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent")]), key, days)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
        )
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
        return (builder.sign(self.key, SHA256()).public_bytes(Encoding.DER),)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(NOW - timedelta(days=60))
        return builder.not_valid_after(NOW + timedelta(days=days))


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
    found = check.find(issuer.client(name), HOUR)
    assert found and (found.team, found.user) == (team, user)


def test_nobody(check: CertificateCheck, issuer: Issuer) -> None:
    """A certificate that holds and is named in no rule is nobody's."""
    assert check.find(issuer.client(x509.DNSName("other.example")), HOUR) is None


def test_what_does_not_hold(check: CertificateCheck, issuer: Issuer) -> None:
    """Another CA's, even of the same name, and one that has expired."""
    name = x509.UniformResourceIdentifier(SPIFFE)
    for chain in (Issuer().client(name), Issuer("other").client(name), issuer.client(name, days=-1)):
        with pytest.raises(Rejected) as caught:
            check.find(chain, HOUR)
        assert "corp.example" not in str(caught.value)


def test_a_ca_that_is_none(tmp_path: Path) -> None:
    """Rules whose CA cannot be used are no rules."""
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ValueError, match="PEM"):
        CertificateCheck(Certificates(ca=str(tmp_path / "ca.pem"), names=[CertificateIdentity(name="*")]))
