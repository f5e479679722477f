"""mitmproxy's certificate store, with our CAs in the place of its own.

mitmproxy makes and loads a CA from `confdir` before any script is loaded. So its store is replaced by this one before a
socket is opened, and again whenever mitmproxy has made itself another; what lies in `confdir` signs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from mitmproxy.certs import Cert, CertStore, CertStoreEntry, dummy_crl

from mitmesh.ca.authority import Authority

if TYPE_CHECKING:
    from mitmesh.ca.files import Signers


class Store(CertStore):
    """Signs with whichever CA may sign for a host; names that it may not sign for are left out."""

    def __init__(self, signers: Signers, folder: Path) -> None:
        self._signers = signers
        self._stores = {id(each): _store(each, folder, n) for n, each in enumerate(signers.authorities)}
        first = self._stores[id(signers.authorities[0])]
        super().__init__(
            first.default_privatekey, first.default_ca, first.default_chain_file, first.default_crl, first.dhparams
        )

    def get_cert(
        self,
        commonname: str | None,
        sans: Iterable[x509.GeneralName],
        organization: str | None = None,
        crl_url: str | None = None,
    ) -> CertStoreEntry:
        """A certificate for the first of `sans` and what else of them may be signed for with it.

        Where nobody may, the client gets one that it will refuse."""
        names = list(sans)
        able = self._signers.at(datetime.now(UTC))
        by = next((each for each in able if names and each.permits(str(names[0].value))), able[0])
        kept = [name for name in names if by.permits(str(name.value))] or names
        return self._stores[id(by)].get_cert(str(kept[0].value) if kept else commonname, kept, organization, crl_url)


def _store(authority: Authority, folder: Path, number: int) -> CertStore:
    """mitmproxy's own store for one CA. What goes with a host's certificate is read from a file: all but the root."""
    sent = [each for each in authority.certificates if each.issuer != each.subject]
    chain = folder / f"chain{number}.pem" if sent else None
    if chain:
        chain.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in sent))
    dhparams = CertStore.load_dhparam(folder / "mitmproxy-dhparam.pem")
    key: Any = authority.key  # annotated as RSA there; any key that OpenSSL takes will do
    return CertStore(key, Cert(authority.signer), chain, dummy_crl(key, authority.signer), dhparams)
