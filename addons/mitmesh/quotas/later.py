"""What was charged in advance for answers that are made later, until somebody fetches them with their real usage.

The ledger keeps it, so that any worker that sees the answer sets the count right, after a restart too.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

from mitmesh.quotas import plan
from mitmesh.quotas.ledger import Key, LedgerAway, Want

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange
    from mitmesh.quotas.books import Books
    from mitmesh.quotas.streams import Held

_PLACE = ("slot", "first", "last", "expires")


def wait(x: Exchange, held: Held) -> None:
    """A background call was settled as reserved: remember what for, in the background. Where the ledger is away, what
    was charged stays."""
    if x.answer is None or not x.answer.id or x.times.sent is None:
        return
    charged = plan.spent(x, held.found, held.need, held.tariff)
    told = [
        {"key": want.key.text, "unit": match.unit, "charged": charged[want.key.text]}
        | {name: getattr(want, name) for name in _PLACE}
        for match, want in zip(held.found, held.asked, strict=True)
        if match.measures and charged.get(want.key.text)
    ]
    if told:
        held.books.keep(_defer(held.books, _name(x.provider, x.answer.id), json.dumps(told)))


def see(x: Exchange, books: Books) -> None:
    """An answer was fetched: where it is one that is waited for, and says what it used, set the count right, in the
    background."""
    if x.answer and x.answer.id and x.usage and not x.usage.estimated:
        used = {"tokens": x.usage.total, "dollars": x.cost}
        books.keep(_correct(books, f"{x.id}:later", _name(x.provider, x.answer.id), used))


def _name(provider: str, answer: str) -> str:
    return sha256(f"{provider}\0{answer}".encode("utf-8", "surrogatepass")).hexdigest()


async def _defer(books: Books, name: str, told: str) -> None:
    try:
        await books.ledger.defer(name, told)
    except LedgerAway:
        books.lost += 1


async def _correct(books: Books, call: str, name: str, used: dict[str, int | None]) -> None:
    try:
        told = await books.ledger.due(name)
    except LedgerAway:
        return  # it is set right when the answer is fetched again
    wants, by = [], {}
    for each in json.loads(told) if told else ():
        if (amount := used[each["unit"]]) is not None:
            slot, first, last, expires = (each[name] for name in _PLACE)
            wants.append(Want(Key.of(each["key"]), slot, first, last, expires, 0, 0, 0, binding=False))
            by[each["key"]] = amount - each["charged"]
    if wants:
        books.correct(call, wants, by)
