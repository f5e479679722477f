from __future__ import annotations

from mitmesh.dialects.base import Provenance
from mitmesh.exchange import Mode
from mitmesh.redaction.policy import Decision
from mitmesh.redaction.report import describe

REPLACED = Decision("replace", Mode.ENFORCE, "pii")


def test_types_counts_positions() -> None:
    """A reason has types, counts and positions."""
    places = {("EMAIL", Provenance.USER): 2, ("CARD", Provenance.TOOL_RESULT): 1}
    assert describe(REPLACED, places) == "replaced 2 EMAIL in user, 1 CARD in tool_result"


def test_bounded() -> None:
    """However many types an operator's rules bring, a reason stays short."""
    places = {(f"T{n}", Provenance.USER): 1 for n in range(50)}
    assert describe(REPLACED, places).endswith("and 38 more kinds of places")
