"""What the audit says of findings: types, counts and positions, never values."""

from __future__ import annotations

from collections.abc import Mapping

from mitmesh.dialects.base import Provenance
from mitmesh.redaction.policy import Decision

_WORDS = {
    "replace": "replaced",
    "mask": "masked",
    "hash": "hashed",
    "refuse": "found",
    "allow": "left",
}
_MOST = 12
"""Kinds of places that are listed."""


def describe(decision: Decision, places: Mapping[tuple[str, Provenance], int]) -> str:
    """For example `replaced 2 EMAIL in user, 1 CARD in tool_result`."""
    listed = [f"{count} {kind} in {provenance}" for (kind, provenance), count in places.items()]
    if len(listed) > _MOST:
        listed = [*listed[:_MOST], f"and {len(listed) - _MOST} more kinds of places"]
    return f"{_WORDS[decision.action]} {', '.join(listed)}"
