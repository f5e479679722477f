"""Client certificates: verified by us against the CAs of the rules, for mitmproxy asks for one and checks nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID as OID
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store, VerificationError

from mitmesh.attest import Rejected
from mitmesh.globs import glob
from mitmesh.rules.identities import CertificateIdentity, Certificates

REMEMBERED = 1024
"""Chains that were verified before: the same client comes with every call."""


@dataclass(slots=True, frozen=True)
class _Held:
    """Whose a chain is that held, and between which moments (seconds since 1970) all of its certificates do."""

    who: CertificateIdentity | None
    first: float
    last: float


class CertificateCheck:
    """Who presents a certificate. Raises ValueError and OSError where the CA's file cannot be used."""

    def __init__(self, rule: Certificates) -> None:
        roots = x509.load_pem_x509_certificates(Path(rule.ca).expanduser().read_bytes())
        self._store = Store(roots)
        self._names = [(glob(entry.name), entry) for entry in rule.names]
        self._known: OrderedDict[tuple[bytes, ...], _Held] = OrderedDict()

    def find(self, chain: tuple[bytes, ...], now: float) -> CertificateIdentity | None:
        """Who that is, by the client's chain (DER, its own first) at this moment (seconds since 1970); None where the
        rules name nobody so. Raises Rejected where the chain does not hold, at this very moment."""
        held = self._known.get(chain)
        if held is None or not held.first <= now <= held.last:
            self._known.pop(chain, None)
            held = self._known[chain] = self._verified(chain, now)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(chain)
        return held.who

    def _verified(self, chain: tuple[bytes, ...], now: float) -> _Held:
        certificates = [x509.load_der_x509_certificate(each) for each in chain]
        policy = (
            ExtensionPolicy.permit_all()
            .may_be_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
            .may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _for_clients)
        )
        verifier = (
            PolicyBuilder()
            .store(self._store)
            .time(datetime.fromtimestamp(now, UTC))
            .extension_policies(ee_policy=policy, ca_policy=ExtensionPolicy.webpki_defaults_ca())
            .build_client_verifier()
        )
        try:
            path = verifier.verify(certificates[0], certificates[1:]).chain
        except VerificationError:
            raise Rejected("the client's certificate is not of a CA that the rules name, or no longer holds") from None
        first = max(each.not_valid_before_utc for each in path).timestamp()
        last = min(each.not_valid_after_utc for each in path).timestamp()
        return _Held(self._who(names_of(certificates[0])), first, last)

    def _who(self, said: Sequence[str]) -> CertificateIdentity | None:
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
