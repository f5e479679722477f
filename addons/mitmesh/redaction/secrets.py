"""Finding secrets by the patterns of rules/pii.yaml: keyword first, then the regex, then entropy and checks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mitmesh.redaction import checks
from mitmesh.redaction.disguise import UNSPACED
from mitmesh.redaction.findings import Finding

if TYPE_CHECKING:
    from mitmesh.rules.pii import PiiPattern, PiiTerm


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
            value = text[start:end]
            if self._holds(text, match, value):
                yield Finding(start, end, self.type, self.id, self.score)

    def _holds(self, text: str, match: re.Match[str], value: str) -> bool:
        if self.entropy and checks.entropy(value) < self.entropy:
            return False
        if self.check == "assigned":
            name = re.match(r"[\w.-]+", match[0])
            return checks.assigned(text[max(0, match.start() - 60) : match.start()], name[0] if name else "", value)
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
    """A regex for the words of a term, whole words in any case; a script without spaces has no whole words."""
    letter = rf"[^\W{UNSPACED}]"
    words = "|".join(re.escape(word) for word in sorted(rule.words, key=len, reverse=True))
    return rf"(?i)(?<!{letter})(?:{words})(?!{letter})"
