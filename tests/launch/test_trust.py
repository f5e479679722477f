"""Clients are given the machine's certificates, a company's and ours, never ours alone."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import certifi
import pytest

from mitmesh.launch import trust


def pem(text: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    (tmp_path / "ca").mkdir()
    file = tmp_path / "ca" / "ca.pem"
    file.write_text(pem("OURS"))
    return file


@pytest.fixture
def target(ca: Path) -> Path:
    return ca.with_name("bundle.pem")


def test_a_companys_certificates_are_kept(tmp_path: Path, ca: Path, target: Path) -> None:
    """What SSL_CERT_FILE names stands for the machine's own; what other variables name is added, each once."""
    (tmp_path / "all.pem").write_text("# a comment\n" + pem("ONE") + pem("TWO"))
    (tmp_path / "more.pem").write_text(pem("TWO") + pem("THREE"))
    environ = {"SSL_CERT_FILE": str(tmp_path / "all.pem"), "NODE_EXTRA_CA_CERTS": str(tmp_path / "more.pem")}
    assert trust.bundle(ca, target, environ).read_text() == pem("ONE") + pem("TWO") + pem("THREE") + pem("OURS")


def test_it_follows_what_changes(tmp_path: Path, ca: Path, target: Path) -> None:
    """A changed CA or company's file is in the bundle at the next call; an unchanged one is not written again."""
    (tmp_path / "all.pem").write_text(pem("ONE"))
    environ = {"SSL_CERT_FILE": str(tmp_path / "all.pem")}
    before = trust.bundle(ca, target, environ).stat().st_ino
    assert trust.bundle(ca, target, environ).stat().st_ino == before
    ca.write_text(pem("NEW"))
    assert trust.bundle(ca, target, environ).read_text() == pem("ONE") + pem("NEW")
    (tmp_path / "all.pem").write_text(pem("ANOTHER"))
    assert trust.bundle(ca, target, environ).read_text() == pem("ANOTHER") + pem("NEW")


@pytest.mark.parametrize("named", ["ca/bundle.pem", "missing.pem"])
def test_the_bundle_does_not_feed_on_itself(tmp_path: Path, ca: Path, target: Path, named: str) -> None:
    """In a shell that already trusts our bundle, or names a file that is gone, the machine's own is taken."""
    target.write_text(pem("OLD"))
    environ = dict.fromkeys(trust.REPLACING, str(tmp_path / named))
    text = trust.bundle(ca, target, environ).read_text()
    assert "OLD" not in text
    assert text.count("BEGIN CERTIFICATE") > 10
    assert text.endswith(pem("OURS"))


def test_without_any_store_certifi_serves(ca: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without certificates gets Mozilla's."""
    monkeypatch.setattr(trust, "_stores", lambda *_: [Path("none"), Path(certifi.where())])
    assert trust.bundle(ca, target, {}).read_text().count("BEGIN CERTIFICATE") > 10


@pytest.mark.skipif(shutil.which("keytool") is None, reason="Java is not installed")
@pytest.mark.slow
def test_java_reads_its_store(ca: Path, target: Path) -> None:
    """The store for Java holds the bundle's certificates as trusted ones, and follows the bundle."""
    ca.write_text("")
    bundle = trust.bundle(ca, target, {"SSL_CERT_FILE": certifi.where()})
    store = trust.java(bundle)
    listed = subprocess.run(
        ["keytool", "-list", "-keystore", store, "-storepass", trust.JAVA_PASSWORD], capture_output=True, text=True
    )
    assert listed.stdout.count("trustedCertEntry") == bundle.read_text().count("BEGIN CERTIFICATE")
    before = store.stat().st_ino
    assert trust.java(bundle).stat().st_ino == before
    bundle.touch()
    assert trust.java(bundle).stat().st_ino != before
