"""What was charged in advance for answers that are made later, until their real usage is seen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mitmesh.quotas import plan
from mitmesh.quotas.ledger import Want
from mitmesh.quotas.streams import Held

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange
    from mitmesh.quotas.books import Books

REMEMBERED = 10_000
"""Answers that are waited for, the latest; what was charged for others stays."""


@dataclass(slots=True, frozen=True)
class _Due:
    books: Books
    held: Held
    wants: Sequence[Want]
    charged: Mapping[str, int]


class Later:
    """Answers that are waited for, by their id at the provider."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._most = remembered
        self._due: OrderedDict[tuple[str, str], _Due] = OrderedDict()

    def wait(self, x: Exchange, held: Held) -> None:
        """A background call was settled as reserved: remember what for."""
        if x.answer is None or not x.answer.id or x.times.sent is None:
            return
        charged = plan.spent(x, held.found, held.need, held.tariff)
        wants = [replace(want, sunk=0, rest=0, binding=False) for want in held.asked if charged.get(want.key.text)]
        self._due[x.provider, x.answer.id] = _Due(held.books, held, wants, charged)
        while len(self._due) > self._most:
            self._due.popitem(last=False)

    def see(self, x: Exchange) -> None:
        """An answer was fetched: where it is one that is waited for, and says what it used, set the count right."""
        if x.answer is None or not x.answer.id or not x.usage or x.usage.estimated:
            return
        due = self._due.pop((x.provider, x.answer.id), None)
        if due is None:
            return
        used = plan.spent(x, due.held.found, due.held.need, due.held.tariff)
        by = {
            match.key.text: used.get(match.key.text, 0) - due.charged.get(match.key.text, 0)
            for match in due.held.found
            if match.measures
        }
        due.books.correct(f"{x.id}:later", due.wants, by)
