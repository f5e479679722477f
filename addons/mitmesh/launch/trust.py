"""The certificates a client needs: those it trusts already, and ours."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import certifi

REPLACING = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "CODEX_CA_CERTIFICATE",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "PIP_CERT",
    "DENO_CERT",
)
"""Variables that name a file of certificates, which for most clients *replaces* what they would trust."""
ADDING = "NODE_EXTRA_CA_CERTS"
"""Node's: adds to what it trusts."""
KEYCHAINS = ("/Library/Keychains/System.keychain",)
BLOCK = re.compile(
    rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----.*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----", re.S
)


def bundle(ca: Path, target: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Writes `target`, if it is not so already: the machine's certificates, a company's that the environment names, and
    `ca`; returns it.

    SSL_CERT_FILE and its like replace a client's trust store: with our CA alone every tunnelled host would fail.
    """
    found = dict.fromkeys(block for source in _sources(ca, target, environ) for block in BLOCK.findall(source))
    text = b"\n".join([*found, b""])
    if not target.is_file() or target.read_bytes() != text:
        new = target.with_name(f"{target.name}.{os.getpid()}")
        new.write_bytes(text)
        new.replace(target)
    return target


def _sources(ca: Path, target: Path, environ: Mapping[str, str]) -> Iterator[bytes]:
    yield next(path for path in _stores(target, environ) if path.is_file()).read_bytes()
    for name in (*REPLACING, ADDING):
        path = Path(environ.get(name, ""))
        if path.is_file() and not _ours(path, target):
            yield path.read_bytes()
    if sys.platform == "darwin":  # what a company's management adds is in the keychain, and in no file
        yield subprocess.run(["security", "find-certificate", "-a", "-p", *KEYCHAINS], capture_output=True).stdout
    yield ca.read_bytes()


def _stores(target: Path, environ: Mapping[str, str]) -> list[Path]:
    """Where the machine's certificates may be, the likeliest first; not the bundle we made ourselves."""
    defaults = ssl.get_default_verify_paths()
    usual = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
    named = (environ.get("SSL_CERT_FILE"), defaults.openssl_cafile, *usual, certifi.where())
    return [Path(path) for path in named if path and not _ours(Path(path), target)]


def _ours(path: Path, target: Path) -> bool:
    return path.absolute().parent == target.absolute().parent


def java(bundle: Path) -> Path:
    """Writes the same certificates as a Java trust store beside the bundle, if it is older; returns it."""
    target = bundle.with_suffix(".p12")
    if target.is_file() and target.stat().st_mtime_ns >= bundle.stat().st_mtime_ns:
        return target
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12

    found = enumerate(_certificates(bundle.read_bytes()))
    entries = [pkcs12.PKCS12Certificate(each, str(number).encode()) for number, each in found]
    new = target.with_name(f"{target.name}.{os.getpid()}")
    new.write_bytes(pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(JAVA_PASSWORD.encode())))
    return new.replace(target)


def _certificates(pem: bytes) -> Iterator[Any]:
    """Those that can be read: a store of many years holds some that can not."""
    from cryptography import x509

    for block in BLOCK.findall(pem):
        try:
            with warnings.catch_warnings(action="ignore"):
                yield x509.load_pem_x509_certificate(block)
        except ValueError:
            continue


JAVA_PASSWORD = "changeit"
"""Java's own for a store of certificates, which are no secret."""
