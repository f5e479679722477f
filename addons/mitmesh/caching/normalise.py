"""One canonical text for what differs in form alone: layer 1 of the cache compares what comes out of here."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 32_768
"""Characters; a longer text is compared as it is."""


@dataclass(frozen=True, slots=True)
class Normalise:
    """Which differences do not count. All of them outside code and quotes only."""

    unicode: bool = True
    whitespace: bool = True
    markdown: bool = True
    politeness: bool = True
    persona: bool = True
    dates: bool = True
    thousands: bool = True
    spelling: bool = True


def normalise(text: str, rules: Normalise) -> str:
    """The text of the last user turn as its canonical text. Idempotent, never raises, never empty where `text` is not."""
    return text
