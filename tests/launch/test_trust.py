"""Clients are given the machine's certificates and ours, never ours alone."""

import certifi
import pytest

from mitmesh.launch import trust


@pytest.fixture
def ca(tmp_path):
    file = tmp_path / "ca.pem"
    file.write_text("OURS\n")
    return file


def test_a_corporate_bundle_is_kept(tmp_path, ca, monkeypatch):
    """What SSL_CERT_FILE names is taken first, with ours after it."""
    (tmp_path / "corporate.pem").write_text("CORPORATE\n\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "corporate.pem"))
    assert trust.bundle(ca, tmp_path / "bundle.pem").read_text() == "CORPORATE\nOURS\n"


@pytest.mark.parametrize("named", ["bundle.pem", "missing.pem"])
def test_the_bundle_does_not_feed_on_itself(tmp_path, ca, monkeypatch, named):
    """In a shell that already trusts our bundle, or names a file that is gone, the machine's own is taken."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / named))
    (tmp_path / "bundle.pem").write_text("OLD\n")
    text = trust.bundle(ca, tmp_path / "bundle.pem").read_text()
    assert "OLD" not in text
    assert text.count("BEGIN CERTIFICATE") > 10
    assert text.endswith("OURS\n")


def test_without_any_store_certifi_serves(tmp_path, ca, monkeypatch):
    """A machine without certificates gets Mozilla's."""
    monkeypatch.setattr(trust, "_stores", lambda ours: [tmp_path / "none", trust.Path(certifi.where())])
    assert "BEGIN CERTIFICATE" in trust.bundle(ca, tmp_path / "bundle.pem").read_text()
