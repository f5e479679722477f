"""What mitmproxy asks of its store is answered by the CA that may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from mitmesh.ca import Names, Signers
from mitmesh.ca.authority import make
from mitmesh.ca.signing import Store
from mitmesh.hostnames import parse_network

HERE = (parse_network("127.0.0.0/8"), parse_network("::1/128"))
NOW = datetime.now(UTC)


def names(entry) -> list[str]:
    found = entry.cert.to_cryptography().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


def test_who_signs(tmp_path: Path) -> None:
    """The old CA signs what it may, the new one what only it may, and after the switch the new one signs all."""
    old, new = make(Names(("a.example",), HERE), NOW), make(Names(("a.example", "b.example"), HERE), NOW)
    store = Store(Signers((old, new), NOW + timedelta(days=1)), tmp_path)
    later = Store(Signers((old, new), NOW - timedelta(days=1)), tmp_path)
    for name, now_by, later_by in (("a.example", old, new), ("x.b.example", new, new)):
        for signing, by in ((store, now_by), (later, later_by)):
            entry = signing.get_cert(name, [x509.DNSName(name)])
            entry.cert.to_cryptography().verify_directly_issued_by(by.signer)
            assert entry.chain_file is not None
            assert x509.load_pem_x509_certificates(entry.chain_file.read_bytes()) == [by.signer]


def test_names_outside_are_left_out(tmp_path: Path) -> None:
    """A name that may not be signed for does not spoil the certificate for one that may."""
    store = Store(Signers((make(Names(("a.example",), HERE), NOW),)), tmp_path)
    mixed = [x509.DNSName("a.example"), x509.DNSName("bank.example")]
    assert names(store.get_cert("a.example", mixed)) == ["a.example"]
    assert names(store.get_cert("bank.example", mixed[::-1])) == ["a.example"]
    alone = store.get_cert("bank.example", mixed[1:])  # never a way to be passed by: the client refuses it
    assert names(alone) == ["bank.example"]
    assert store.get_cert("a.example", mixed) is store.get_cert("a.example", mixed)
