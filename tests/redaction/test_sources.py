from __future__ import annotations

from pathlib import Path

import pytest

from mitmesh.redaction.signing import Credentials
from mitmesh.redaction.sources import credentials
from mitmesh.rules.pii_return import PiiSigning


def test_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys come from the environment or a file; where one is missing there are none at all."""
    monkeypatch.setenv("AKID", "id")
    (tmp_path / "secret").write_text("s3\n")
    rule = PiiSigning(access_key="env:AKID", secret_key=f"file:{tmp_path / 'secret'}")
    assert credentials(rule) == Credentials("id", "s3")
    assert credentials(rule.model_copy(update={"session_token": "env:NOT_SET"})) is None
    assert credentials(rule.model_copy(update={"secret_key": "env:NOT_SET"})) is None
    assert credentials(None) is None
