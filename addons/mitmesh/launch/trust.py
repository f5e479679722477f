"""The certificates a client needs: those it trusts already, and ours."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import certifi


def bundle(ca: Path, target: Path) -> Path:
    """Writes `target`: the machine's certificates and `ca`; returns it.

    SSL_CERT_FILE and its like replace a client's trust store: with our CA alone every tunnelled host would fail.
    """
    system = next(path for path in _stores(target) if path.is_file()).read_bytes()
    new = target.with_suffix(".new")
    new.write_bytes(system.rstrip() + b"\n" + ca.read_bytes())
    return new.replace(target)


def _stores(ours: Path) -> list[Path]:
    """Where the machine's certificates may be, the likeliest first; not the bundle we made ourselves."""
    defaults = ssl.get_default_verify_paths()
    usual = ("/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem")
    named = (os.environ.get("SSL_CERT_FILE"), defaults.cafile, *usual, certifi.where())
    return [Path(path) for path in named if path and Path(path) != ours]
