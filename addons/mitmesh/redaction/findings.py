"""What a finder says of a text: where something lies, what it is, and which rule found it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from mitmesh.rules import Rules


class FinderFailed(Exception):
    """The texts could not be searched (an error, a time-out, a dead worker): the call must be refused."""


class TooMuch(FinderFailed):
    """There is more in the texts than can be searched in time; the message says how much, and which rule limits it."""


class Type(StrEnum):
    """The types we know ourselves; an operator's terms and patterns may bring others ([A-Z][A-Z0-9_]*)."""

    EMAIL = "EMAIL"
    PHONE = "PHONE"
    CARD = "CARD"
    IBAN = "IBAN"
    SSN = "SSN"
    IP = "IP"
    DOMAIN = "DOMAIN"
    SECRET = "SECRET"
    PRIVATE_KEY = "PRIVATE_KEY"
    JWT = "JWT"
    CONNECTION_STRING = "CONNECTION_STRING"
    PERSON = "PERSON"
    LOCATION = "LOCATION"
    ORGANIZATION = "ORGANIZATION"


@dataclass(slots=True, frozen=True)
class Finding:
    """One thing found: text[start:end], in characters. `score` is between 0 and 1. `type` is upper snake case and
    becomes the placeholder's name (`<EMAIL_1>`); `rule_id` is what the audit shows."""

    start: int
    end: int
    type: str
    rule_id: str
    score: float

    def at(self, start: int, end: int) -> Finding:
        """The same, found there."""
        return Finding(start, end, self.type, self.rule_id, self.score)


@dataclass(slots=True, frozen=True)
class Health:
    """What /health and the start-up lines say of the finder. `models` are the names of the models loaded beside the
    patterns; `persons` is whether one of them finds people's names, streets and organisations."""

    ready: bool
    persons: bool
    models: tuple[str, ...] = ()
    detail: str = ""


class Finds(Protocol):
    """What the redact stage needs of a finder; tests bring a smaller one."""

    def configure(self, rules: Rules) -> None:
        """Use these rules from the next text on. RulesError where they cannot be used."""

    async def start(self) -> None:
        """Start the workers and wait until they can work; FinderFailed if they cannot."""

    async def stop(self) -> None:
        """End the workers; searches under way raise FinderFailed."""

    async def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        """The findings of each text: in order, without overlap. FinderFailed where any text could not be searched.

        Texts are as people read them: of a JSON document inside a string (tool-call arguments) give the strings in it,
        unescaped, not its source, or `\\nbob@example.com` begins with an n."""

    def remembered(self, texts: Sequence[str]) -> list[list[Finding]] | None:
        """The same at once, where every text was searched before; else None."""

    def health(self) -> Health:
        """How it is now."""


type Plain = tuple[int, int, str, str, float]
"""A Finding on its way between processes."""


def to_plain(found: Sequence[Finding]) -> list[Plain]:
    """For the way out of a worker."""
    return [(each.start, each.end, each.type, each.rule_id, each.score) for each in found]


def from_plain(rows: Sequence[Any], offset: int = 0) -> list[Finding]:
    """As the worker found them, in a text that begins `offset` characters before the one it was given."""
    return [Finding(start + offset, end + offset, *rest) for start, end, *rest in rows]


def without_overlap(found: Sequence[Finding]) -> list[Finding]:
    """Those that stay where findings overlap, in order of place: the higher score wins, then the longer, then the
    earlier. What a loser covers beyond the winner is dropped with it, unless nothing else covers it: then its
    uncovered rest would leak, so the winner grows to cover both."""
    if len(found) < 2:
        return list(found)
    kept: list[Finding] = []
    for each in sorted(found, key=lambda f: (f.start, -f.end)):
        if not kept or each.start >= kept[-1].end:
            kept.append(each)
            continue
        last = kept[-1]
        best = max(last, each, key=lambda f: (f.score, f.end - f.start, -f.start))
        kept[-1] = Finding(last.start, max(last.end, each.end), best.type, best.rule_id, best.score)
    return kept
