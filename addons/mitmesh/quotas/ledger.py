"""What a ledger is: it holds reservations, and says at once whether one more fits."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

ALL = "*"
"""In a grant's place of a subject: each of the limit's subjects gets it."""

DEFERRED = 7 * 86_400
"""Seconds for which it is remembered what an answer that is made later was charged."""
REFUSED = "calls under a limit are refused until it can"
"""What becomes of calls while a ledger cannot be asked."""


class LedgerAway(Exception):
    """The ledger cannot be asked now; the message says why. Nothing may pass on its account."""


@dataclass(slots=True, frozen=True)
class Key:
    """What is counted: a limit, in what unit and window it counts (a change of these begins a new count), for whom."""

    limit: str
    kind: str
    subject: str

    @property
    def unit(self) -> str:
        """In which unit: the limit's, or `unpriced` for tokens in a limit in dollars."""
        return self.kind.partition("/")[0]

    @property
    def text(self) -> str:
        """As it is stored."""
        return f"{self.limit}\x1f{self.kind}\x1f{self.subject}"

    @classmethod
    def of(cls, text: str) -> Key:
        """The key that is stored so."""
        return cls(*text.split("\x1f", 2))


@dataclass(slots=True)  # not frozen, which costs three times as much to make
class Want:
    """What a call would take of one count, in its smallest unit: `sunk` is spent once the call is sent (the prompt),
    `rest` may be (the output). `most` is the hard stop without grants; `binding` false only tells, and takes anyway.

    `slot`, `first`, `last` and `expires` are of the count's window (see windows.Window)."""

    key: Key
    slot: int
    first: int
    last: int
    expires: int
    most: int
    sunk: int
    rest: int
    binding: bool = True


@dataclass(slots=True)  # the same
class Standing:
    """How a count stood before the call: used, reserved by other calls, and granted beyond the limit for a time.
    `over`: the call does not fit; what takes nothing always does. `leaves`, of a rolling window in which it does not:
    the slot that has to leave the window for it to fit, or the last there is."""

    used: int
    reserved: int
    granted: int
    over: bool
    leaves: int | None = None


@dataclass(slots=True, frozen=True)
class Grant:
    """More of a limit for a while. `subject` is one of the limit's, or ALL. `unit` is the limit's when it was granted:
    it is for what is counted in that alone. (Empty: of a version that did not keep it.)"""

    id: str
    limit: str
    subject: str
    amount: int
    expires: int
    reason: str
    by: str
    unit: str = ""


@dataclass(slots=True, frozen=True)
class Count:
    """What a ledger knows of one key and slot."""

    key: Key
    slot: int
    used: int
    reserved: int


class Ledger(Protocol):
    """Counts that several processes share. Every method raises LedgerAway where it cannot know, and then nothing of
    it is done that would let more through. All clocks are whole seconds since 1970; leases are in seconds."""

    meanwhile: str
    """What becomes of calls under a limit while it cannot be asked, for the log."""

    def reserve(self, call: str, wants: Sequence[Want], lease: int) -> Awaitable[list[Standing]]:
        """Take all of it, or, where a binding one does not fit, nothing. A call that holds something already gets it
        on top. The standings are in the order of `wants`; it was refused if any binding one is `over`.

        Where it returns a future, that is done before what is asked next, even if nobody waits for it any more."""

    async def settle(self, call: str, spent: Mapping[str, int]) -> None:
        """End a call's reservations: what it spent, by the key's text, is used, what is not named is given back."""

    async def beat(self, calls: Sequence[str], lease: int) -> list[str]:
        """These calls run. Returns those that hold nothing any more, because their lease had ended."""

    def holds(self, call: str) -> bool:
        """Is this call's reservation kept here, whatever becomes of its lease?"""

    async def counts(self) -> list[Count]:
        """Everything counted, at most 10,000."""

    async def grants(self) -> list[Grant]:
        """The grants that hold now."""

    async def grant(self, grant: Grant) -> None:
        """Put a grant in force."""

    async def revoke(self, grant: str) -> bool:
        """End a grant; False where there is none of that id."""

    async def defer(self, answer: str, told: str) -> None:
        """Keep for DEFERRED what is told of an answer that is made later, by a name for it."""

    async def due(self, answer: str) -> str | None:
        """What was told of it, once; None where nothing was."""

    async def close(self) -> None:
        """Let go of files and connections."""


def refused(wants: Sequence[Want], standings: Sequence[Standing]) -> bool:
    """Was nothing taken?"""
    return any(want.binding and standing.over for want, standing in zip(wants, standings, strict=True))
