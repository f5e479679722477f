"""One CA: the key that signs, and the certificates from it up to what clients trust."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mitmesh.ca.names import Names, of_certificate
from mitmesh.hostnames import Pattern
from mitmesh.rules import RulesError

type Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

LIFETIME = timedelta(days=730)
ROTATE = "scripts/ca rotate --now"
BACKDATED = timedelta(days=1)
"""A client whose clock is behind must not find it to be from the future."""
OURS = "mitmesh"
"""The organisation in the subjects of the CAs made here."""


class AuthorityError(RulesError):
    """The CA cannot be used, or not with these rules; the message says why and what to do."""


@dataclass(frozen=True)
class Authority:
    """`certificates` go from the one whose key signs to the one that clients trust; they may be the same."""

    key: Key
    certificates: tuple[x509.Certificate, ...]

    @property
    def signer(self) -> x509.Certificate:
        """Whose key signs the hosts' certificates."""
        return self.certificates[0]

    @property
    def anchor(self) -> x509.Certificate:
        """What clients trust."""
        return self.certificates[-1]

    @property
    def expires(self) -> datetime:
        """When the first of its certificates expires."""
        return min(each.not_valid_after_utc for each in self.certificates)

    @property
    def organisation(self) -> str:
        """Who made it, by its own word: "mitmesh" for one of ours."""
        named = self.signer.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        return str(named[0].value) if named else ""

    @cached_property
    def limits(self) -> tuple[Names, ...]:
        """What each of its certificates permits."""
        return tuple(of_certificate(each) for each in self.certificates)

    def permits(self, name: str) -> bool:
        """May it sign for this host name or address?"""
        return all(names.permits(name) for names in self.limits)

    def covers(self, pattern: Pattern) -> bool:
        """May it sign for whatever this pattern matches?"""
        return all(names.covers(pattern) for names in self.limits)

    def pem(self) -> bytes:
        """Key and certificates as mitmproxy reads them. It holds the key: for this machine's owner alone."""
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return key + b"".join(each.public_bytes(Encoding.PEM) for each in self.certificates)


def make(names: Names, now: datetime) -> Authority:
    """A new root and an intermediate below it, both good for these names alone. The root's key is not kept: nothing
    else can ever be signed with it."""
    tag = f"{now:%Y-%m-%d} {secrets.token_hex(3)}"
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = _name(f"mitmesh root {tag}")
    root = _certificate(root_name, root_name, root_key, root_key.public_key(), 1, names, now)
    signer = _certificate(_name(f"mitmesh {tag}"), root_name, root_key, key.public_key(), 0, names, now)
    return Authority(key, (signer, root))


def _name(common: str) -> x509.Name:
    pairs = ((NameOID.ORGANIZATION_NAME, OURS), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in pairs])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePublicKey,
    depth: int,
    names: Names,
    now: datetime,
) -> x509.Certificate:
    """A CA certificate with at most `depth` CAs below it, for TLS servers of these names."""
    usage = dict.fromkeys(
        ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False
    )
    builder = (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - BACKDATED, now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=depth), critical=True)
        .add_extension(
            x509.KeyUsage(**usage, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if constraints := names.extension():
        builder = builder.add_extension(constraints, critical=True)
    return builder.sign(signer, hashes.SHA256())


def read(key: bytes, certificates: bytes, what: str, now: datetime, renew: str = ROTATE) -> Authority:
    """A CA from PEM: its key (unencrypted), and its certificates, the signing one first and each signed by the next.

    `what` names it in errors, `renew` is what to do once it has expired. Raises AuthorityError."""
    try:
        private = load_pem_private_key(key, None)
        found = tuple(x509.load_pem_x509_certificates(certificates))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AuthorityError(f"{what}: must be PEM, the key without a passphrase") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise AuthorityError(f"{what}: the key must be of the kind EC or RSA")
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != found[0].public_key().public_bytes(*form):
        raise AuthorityError(f"{what}: the key is not that of the first certificate")
    for number, certificate in enumerate(found, 1):
        issuer = found[number] if number < len(found) else None
        _check(certificate, issuer, f"{what}: certificate {number}", now, renew)
    return Authority(private, found)


def _check(
    certificate: x509.Certificate, issuer: x509.Certificate | None, what: str, now: datetime, renew: str
) -> None:
    if not _is_ca(certificate):
        raise AuthorityError(f"{what} is no CA's")
    if not certificate.not_valid_before_utc <= now:
        raise AuthorityError(f"{what} is not valid yet: is this machine's clock right?")
    if now >= certificate.not_valid_after_utc:
        raise AuthorityError(f"{what} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; {renew}")
    if issuer is not None:
        try:
            certificate.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise AuthorityError(f"{what} is not signed by the one after it") from None


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
