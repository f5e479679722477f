"""Anthropic's prompt cache: its figures, and the calls in which breakpoints of it may be set."""

from __future__ import annotations

import json
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitmesh.dialects.base import Operation
from mitmesh.exchange import Billing, Mode
from mitmesh.redaction.signing import is_signed

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange

DATA = Path(__file__).parents[1] / "data" / "prompt_cache" / "anthropic.json"
STAGE = "vendor"
"""The stage that sets them, and the name of its rule."""
APIS = frozenset({"anthropic", "vertex", "azure"})
"""What hosts.yaml calls the APIs that take breakpoints from everybody. Bedrock is not among them: nearly all of its
calls are signed, and for some models it refuses a call that has any."""


@cache
def figures() -> dict[str, Any]:
    """Anthropic's figures: `breakpoints` in a call, `seconds` that a beginning is kept, `least_tokens` by model."""
    found: dict[str, Any] = json.loads(DATA.read_text())
    return found


@lru_cache(maxsize=256)
def least_tokens(model: str) -> int | None:
    """Fewest tokens that are cached for this model, however its name is written; None for one not Anthropic's."""
    name, known = model.lower().replace(".", "-"), figures()["least_tokens"]
    fitting = [part for part in known if part in name]
    return int(known[max(fitting, key=len)]) if fitting else None


def may_set(x: Exchange) -> bool:
    """May breakpoints be set in this call? Only where it pays: a plan's price is the same with them."""
    if not x.rules.cache.vendor or x.dialect.name != "anthropic" or x.operation is not Operation.CHAT:
        return False
    if x.provider not in APIS and x.host.api not in APIS:
        return False
    if x.body is None or not isinstance(x.body.doc, dict) or is_signed(x.headers, x.path):
        return False
    billed = x.billing in (Billing.METERED, Billing.UNKNOWN)
    return billed and x.call.model is not None and least_tokens(x.call.model) is not None


def were_set(x: Exchange) -> bool:
    """Did we set breakpoints in this call?"""
    return any(verdict.stage == STAGE and verdict.mode is Mode.ENFORCE for verdict in x.verdicts)
