"""Finding secrets by the patterns of rules/pii.yaml: keyword first, then the regex, then entropy and checks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitmesh.redaction import checks, values
from mitmesh.redaction.assigned import JUDGED, assigned
from mitmesh.redaction.disguise import UNSPACED
from mitmesh.redaction.findings import Finding
from mitmesh.redaction.randomness import entropy

if TYPE_CHECKING:
    from mitmesh.rules.pii import PiiPattern, PiiTerm

_NAME = re.compile(r"[\w.-]+")
_BEFORE = 61
"""Characters before a name that may belong to it, and one more."""
_PARAMETER = re.compile(r"[?&][\w.-]*\Z")


@dataclass(slots=True, frozen=True)
class Pattern:
    """A PiiPattern made ready."""

    id: str
    type: str
    regex: re.Pattern[str]
    keywords: tuple[str, ...]
    entropy: float
    check: str | None
    score: float
    context: tuple[str, ...]
    valued: bool

    @classmethod
    def of(cls, rule: PiiPattern) -> Pattern:
        """The rule, compiled."""
        regex = re.compile(rule.regex)
        return cls(
            rule.id, rule.type, regex, tuple(word.lower() for word in rule.keywords), float(rule.entropy or 0),
            rule.check, rule.score / 100, tuple(rule.context), "value" in regex.groupindex,
        )  # fmt: skip

    def find(self, text: str) -> Iterator[Finding]:
        """Every match that holds."""
        for match in self.regex.finditer(text):
            start, end = match.span("value") if self.valued and match["value"] is not None else match.span()
            if self.check == "assigned":
                end = self._assigned(text, match, start)
                holds = end > start
            else:
                if self.check == "password" and values.quoted(text, start):
                    end = max(end, values.end_of(text, start))
                holds = self._holds(text[start:end])
            if holds:
                yield Finding(start, end, self.type, self.id, self.score)

    def _assigned(self, text: str, match: re.Match[str], start: int) -> int:
        """The end of the value that begins at `start`, where it is a secret given its value; else `start`. The name is
        the group `name`, else what the match begins with."""
        at = match.start("name") if "name" in self.regex.groupindex else match.start()
        name = _NAME.match(text, at, start)
        before = text[max(0, at - _BEFORE) : at]
        parameter = _PARAMETER.search(before) is not None
        value = text[start : values.end_of(text, start, parameter=parameter, most=JUDGED)]
        if assigned(before, name[0] if name else "", value, values.quoted(text, start)):
            return values.end_of(text, start, parameter=parameter)
        return start

    def _holds(self, value: str) -> bool:
        if self.entropy and entropy(value) < self.entropy:
            return False
        if self.check == "password":
            return checks.password(value)
        if self.check == "jwt":
            return checks.jwt(value)
        if self.check == "encoded":
            return checks.encoded(value)
        if self.check == "luhn":
            return checks.luhn(re.sub(r"\D", "", value))
        if self.check == "mixed":
            return checks.mixed(value) and not checks.placeholder(value)
        return self.type != "SECRET" or not checks.placeholder(value)


class Patterns:
    """All patterns of the rules. One whose keywords are not in the text costs a look for each keyword, no more."""

    def __init__(self, rules: Sequence[PiiPattern]) -> None:
        self._all = [Pattern.of(rule) for rule in rules if not rule.context]
        self._always = {index for index, pattern in enumerate(self._all) if not pattern.keywords}
        self._by_word: dict[str, set[int]] = {}
        for index, pattern in enumerate(self._all):
            for word in pattern.keywords:
                self._by_word.setdefault(word, set()).add(index)
        self._words = list(self._by_word)

    def find(self, text: str) -> list[Finding]:
        """Every secret in the text, overlapping ones too."""
        low = text.lower()
        words = [word for word in self._words if word in low]
        if not words and not self._always:
            return []
        wanted = self._always.union(*(self._by_word[word] for word in words))
        return [found for index in sorted(wanted) for found in self._all[index].find(text)]


def term(rule: PiiTerm) -> str:
    """A regex for the words of a term: whole words in any case, with any white space between them. A script without
    spaces has no whole words."""
    letter = rf"[^\W{UNSPACED}]"
    words = "|".join(r"\s+".join(map(re.escape, word.split())) for word in sorted(rule.words, key=len, reverse=True))
    return rf"(?i)(?<!{letter})(?:{words})(?!{letter})"
