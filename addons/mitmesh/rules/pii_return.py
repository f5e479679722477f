"""The shape of rules/pii.yaml, continued: what comes back, and what has to be kept for it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mitmesh.exchange import Mode
from mitmesh.rules.checks import KeySource
from mitmesh.rules.models import _Model


class PiiOutput(_Model):
    """Personal data and secrets in answers that the caller did not send."""

    action: Literal["allow", "mask", "refuse"] = Field(
        default="allow",
        description="allow does not look; mask puts asterisks in their place; refuse ends the answer. Looking takes a "
        "window, so streams come later by it; calls that are not looked at are not delayed.",
    )
    window: int = Field(default=400, ge=50, le=400, description="How far a stream is held back, in characters.")
    mode: Mode | None = Field(
        default=None, description="observe or enforce; default as mesh.yaml says. What is observed is not delayed less."
    )


class PiiVault(_Model):
    """What stands for what, for conversations that the provider keeps: encrypted, in the data folder."""

    days: int = Field(default=30, ge=1, le=366, description="How long after its last call a conversation is known.")
    rows: int = Field(default=100_000, ge=100, description="How many calls are known at most; the oldest go first.")


class PiiSigning(_Model):
    """Credentials to sign a changed body with (AWS Signature Version 4), for Bedrock alone. Without them such calls are
    refused. Give them no more rights than to call models: whoever may reach the proxy can use them for that."""

    access_key: KeySource = Field(description="`env:NAME` or `file:PATH` of the access key's id.")
    secret_key: KeySource = Field(description="`env:NAME` or `file:PATH` of the secret access key.")
    session_token: KeySource | None = Field(default=None, description="`env:NAME` or `file:PATH` of a session token.")
