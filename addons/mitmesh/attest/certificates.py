"""Client certificates: verified by us against the CAs of the rules, for mitmproxy asks for one and checks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as OID
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from mitmesh.attest import Rejected
from mitmesh.globs import glob
from mitmesh.rules.identities import CertificateIdentity, Certificates


class CertificateCheck:
    """Who presents a certificate. Raises ValueError and OSError where the CA's file cannot be used."""

    def __init__(self, rule: Certificates) -> None:
        roots = x509.load_pem_x509_certificates(Path(rule.ca).expanduser().read_bytes())
        self._store = Store(roots)
        self._names = [(glob(entry.name), entry) for entry in rule.names]
        self.find = lru_cache(maxsize=1024)(self._find)
        """As `_find`; the same client comes with every connection."""

    def _find(self, chain: tuple[bytes, ...], hour: int) -> CertificateIdentity | None:
        """Who that is, by the client's chain (DER, its own first) and the hour since 1970; None where the rules name
        nobody so. Raises Rejected where the chain does not hold."""
        certificates = [x509.load_der_x509_certificate(each) for each in chain]
        moment = datetime.fromtimestamp(max(hour * 3600, 0), UTC)
        policy = (
            ExtensionPolicy.permit_all()
            .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
            .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _for_clients)
        )
        verifier = (
            PolicyBuilder()
            .store(self._store)
            .time(moment)
            .extension_policies(ee_policy=policy, ca_policy=ExtensionPolicy.webpki_defaults_ca())
            .build_client_verifier()
        )
        try:
            verifier.verify(certificates[0], certificates[1:])
        except VerificationError:
            raise Rejected("the client's certificate is not of a CA that the rules name, or no longer holds") from None
        said = names_of(certificates[0])
        for pattern, entry in self._names:
            if name := next((each for each in said if pattern.fullmatch(each)), None):
                return entry.model_copy(update={"user": name}) if entry.user == "name" else entry
        return None


def _for_clients(policy: Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    """A certificate that says what it is for must say that it is for clients."""
    if usage is not None and not {OID.CLIENT_AUTH, OID.ANY_EXTENDED_KEY_USAGE} & set(usage):
        raise ValueError("not for clients")


def names_of(certificate: x509.Certificate) -> Sequence[str]:
    """The alternative names of a certificate's subject, then its common name."""
    said: list[str] = []
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        for kind in (x509.UniformResourceIdentifier, x509.RFC822Name, x509.DNSName):
            said += names.get_values_for_type(kind)
    except x509.ExtensionNotFound:
        pass
    return [*said, *(str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME))]
