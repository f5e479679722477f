"""Credentials of ours, from where the rules say they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mitmesh.redaction.signing import Credentials

if TYPE_CHECKING:
    from mitmesh.rules.pii_return import PiiSigning


def credentials(rule: PiiSigning | None) -> Credentials | None:
    """The AWS key the rules name; None where there is none, or not all of it is to be found."""
    if rule is None:
        return None
    access, secret = secret_of(rule.access_key), secret_of(rule.secret_key)
    token = secret_of(rule.session_token) if rule.session_token else None
    if not access or not secret or (rule.session_token and not token):
        return None
    return Credentials(access, secret, token)


def secret_of(source: str) -> str | None:
    """What an `env:NAME` or `file:PATH` holds; None where there is nothing."""
    kind, _, where = source.partition(":")
    if kind == "env":
        return os.environ.get(where) or None
    path = Path(where)
    return (path.read_text().strip() or None) if path.is_file() else None
