"""Client certificates for tests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW = datetime.now(UTC)


CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


class Issuer:
    """A CA that makes certificates for clients."""

    def __init__(self, name: str = "clients") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        key_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        builder = self._builder(self.name, self.key, NOW - timedelta(days=60), NOW + timedelta(days=365))
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
        self.certificate = builder.add_extension(usage, True).add_extension(key_id, False).sign(self.key, SHA256())

    def client(self, *names: x509.GeneralName, **more: Any) -> tuple[bytes, ...]:
        """A client's chain, as it presents it. `days` from now it ends; or from `began` on it holds `seconds`."""
        return (self._made(names, **more)[0].public_bytes(Encoding.DER),)

    def written(self, file: Path, *names: x509.GeneralName, **more: Any) -> Path:
        """The same as a file that a client's TLS library takes: chain and key."""
        certificate, key = self._made(names, **more)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(certificate.public_bytes(Encoding.PEM) + secret)
        return file

    def _made(
        self,
        names: Sequence[x509.GeneralName],
        *,
        days: int = 30,
        usage: Sequence[x509.ObjectIdentifier] = (CLIENT,),
        began: datetime | None = None,
        seconds: int = 0,
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        first = began or NOW - timedelta(days=60)
        last = began + timedelta(seconds=seconds) if began else NOW + timedelta(days=days)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "agent")])
        builder = self._builder(subject, key, first, last)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False
        )
        if usage:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usage), False)
        return builder.sign(self.key, SHA256()), key

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, first: datetime, last: datetime
    ) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(first).not_valid_after(last)
