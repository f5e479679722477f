"""What is done with a finding: by its type, who wrote the text, and who calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitmesh.dialects.base import Provenance
from mitmesh.exchange import Mode
from mitmesh.redaction.placeholders import LITERAL

if TYPE_CHECKING:
    from mitmesh.exchange import Identity
    from mitmesh.rules import Rules
    from mitmesh.rules.pii import Pii, PiiAction

DEFAULT = "pii"
"""The id of what is done where no entry of `actions` holds."""


@dataclass(slots=True, frozen=True)
class Decision:
    """One line of the policy: `action` is replace, mask, hash, refuse or allow."""

    action: str
    mode: Mode
    rule_id: str


class Policy:
    """The policy for one call."""

    __slots__ = ("_default", "_known", "_rules", "enforces")

    def __init__(self, rules: Rules, identity: Identity, provider: str) -> None:
        pii: Pii = rules.pii
        mode = rules.mode(identity.team)
        self._rules = [rule for rule in pii.actions if _holds(rule, identity, provider)]
        self._default = Decision(pii.action, mode, DEFAULT)
        self._known: dict[tuple[str, Provenance], Decision] = {}
        self.enforces = Mode.ENFORCE in (mode, *(rule.mode for rule in self._rules))
        """Can anything of this call be changed?"""

    def decide(self, kind: str, provenance: Provenance) -> Decision:
        """What is done with findings of this type in texts of this provenance; the first rule that holds decides."""
        key = (kind, provenance)
        if (known := self._known.get(key)) is None:
            known = self._known[key] = self._find(kind, provenance)
        return known

    def _find(self, kind: str, provenance: Provenance) -> Decision:
        if kind == LITERAL:  # or the client's words would be taken for a placeholder of ours
            return Decision("replace", Mode.ENFORCE if self.enforces else Mode.OBSERVE, DEFAULT)
        for rule in self._rules:
            if (not rule.types or kind in rule.types) and (not rule.provenance or provenance in rule.provenance):
                return Decision(rule.action, rule.mode or self._default.mode, rule.id)
        return self._default


def _holds(rule: PiiAction, identity: Identity, provider: str) -> bool:
    return (
        rule.team in (None, identity.team)
        and rule.user in (None, identity.user)
        and rule.tool in (None, identity.tool)
        and rule.provider in (None, provider)
    )
