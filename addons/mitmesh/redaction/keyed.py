"""What the name of a member says of its value: `hunter2zz9` is nothing, `{"password": "hunter2zz9"}` is a secret.

A value under a telling name is searched as `password: "hunter2zz9"`, the form in which people would write it, and so
exactly by the rules that hold there. What is searched follows from name and value alone, so that the same value is
remembered, found and numbered alike on every turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mitmesh.dialects.base import Path, Text
from mitmesh.redaction.assigned import NAME_PART
from mitmesh.redaction.findings import Finding
from mitmesh.wire.forms import TextBody
from mitmesh.wire.jsontext import Body

_SECRET = re.compile(
    r"(?i)(?:key|token|secret|passw(?:or)?d|passwort|kennwort|passe|contrase\wa|senha|pass(?:phrase|code)?|pwd|pw|"
    r"cred(?:ential)?s?|auth|login|salt)(?:[_.-]?(?:v?\d{1,2}|base|value|prod(?:uction)?|dev|test|staging|live)){0,2}\Z"
)
_PERSONAL = {
    word: said
    for said, words in {
        "phone": "phone telephone tel mobile cell cellphone mobilephone phonenumber fax whatsapp msisdn telefon handy",
        "ssn": "ssn itin socialsecurity socialsecuritynumber",
        "card": "card cc pan cardnumber creditcard creditcardnumber",
        "ip": "ip ipv4 ipaddress addr",
    }.items()
    for word in words.split()
}
"""Last words of a name, and the word that tells a finder the same."""
_SAID = frozenset(f"{said}: " for said in _PERSONAL.values())
_TAIL = frozenset({"number", "no", "nr", "num", "int", "str", "raw"})
"""Words behind them that say nothing more."""
_OF_ABOVE = frozenset({"value", "default", "const", "enum", "example", "examples"})
"""Names (JSON Schema's too) of members that are the value of what they stand under."""
_LONGEST = 60


def prefix(name: str) -> str:
    """What to put before a value under this name, to have it searched; nothing where the name says nothing."""
    name = name[-_LONGEST:]
    if _SECRET.search(name):
        return f"{name}: "
    parts = [part.lower() for part in NAME_PART.findall(name)]
    while parts and (parts[-1] in _TAIL or parts[-1].isdigit()):
        parts.pop()
    if not parts:
        return ""
    pair = "".join(parts[-2:])
    said = _PERSONAL.get(pair) or _PERSONAL.get(parts[-1])
    return f"{said}: " if said else ""


def name_of(path: Path) -> str:
    """The name under which the value at this path stands: of a list `phones`, each element is a `phone`."""
    plural = False
    for step in reversed(path):
        if isinstance(step, int):
            plural = True
        elif step not in _OF_ABOVE:
            return step[:-1] if plural and step[-1:] == "s" and step[-2:] != "ss" else step
    return ""


class Keyed:
    """The texts of one call in the form in which they are searched. `names_at` are the indices of texts that are names
    of members themselves; `body` is the call's, which may be a form."""

    def __init__(self, texts: Sequence[Text], read: Sequence[str], names_at: Iterable[int], body: Body | None) -> None:
        known: dict[str, str] = {"": ""}  # most texts stand under a few names
        self._read = read
        self._before: dict[int, str] = {}
        names = set(names_at)
        form = body if isinstance(body, TextBody) else None
        for index, text in enumerate(texts):
            name = form.name_of(text.path) if form and len(text.path) == 1 else name_of(text.path)
            if (before := known.get(name)) is None:
                before = known[name] = prefix(name)
            if before and index not in names:
                self._before[index] = before if before in _SAID else before + _quote(read[index])

    @property
    def searched(self) -> list[str]:
        """What a finder must see."""
        own = list(self._read)
        for index, before in self._before.items():
            own[index] = f"{before}{own[index]}{before[-1].strip()}"
        return own

    def found(self, found: Sequence[list[Finding]]) -> list[list[Finding]]:
        """What it found there, as places in the texts themselves. (Its lists are shared: they stay as they are.)"""
        own = list(found)
        for index, before in self._before.items():
            size = len(before)
            last = size + len(self._read[index])
            own[index] = [
                each.at(max(size, each.start) - size, min(each.end, last) - size)
                for each in own[index]
                if size < each.end and each.start < last
            ]
        return own


def _quote(value: str) -> str:
    """A quote to put around a value, so that all of it counts; none where it has each itself, or several lines."""
    return "" if "\n" in value else next((quote for quote in "\"'`" if quote not in value), "")
