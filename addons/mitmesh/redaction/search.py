"""Everything in one text: secrets by pattern, terms by word, the rest by the analyzer. Synchronous, no process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

from mitmesh.redaction.disguise import Plainly
from mitmesh.redaction.findings import Finding, without_overlap
from mitmesh.redaction.modeling import load_models
from mitmesh.redaction.personal import Kind, Span, kinds
from mitmesh.redaction.prefilter import pieces, windows
from mitmesh.redaction.presidio import Analyzer
from mitmesh.redaction.secrets import Pattern, Patterns, term
from mitmesh.rules.pii import Pii, PiiPattern

_SURROGATES = re.compile("[\ud800-\udfff]")


class Searcher:
    """Made once from the rules, then `find`s. Loading takes about two seconds, more with a model."""

    def __init__(self, pii: Pii) -> None:
        self._least = pii.least_score / 100
        self._never = frozenset(pii.never)
        self._patterns = Patterns([rule for rule in pii.patterns if rule.type not in pii.skip])
        self._beyond = Patterns([r for r in pii.patterns if r.type not in pii.skip and not r.regex.isascii()])
        self._terms = [(rule.id, rule.type, re.compile(term(rule))) for rule in pii.terms if rule.type not in pii.skip]
        own = [_with_context(rule) for rule in pii.patterns if rule.context and rule.type not in pii.skip]
        pipeline, more = load_models(pii.models)
        wanted = [kind for kind in kinds(tuple(pii.regions)) if kind.type not in pii.skip]
        self._skip = frozenset(pii.skip)
        # A prefilter knows the shipped kinds alone: what a model or a pattern of yours finds has no anchor.
        self._everywhere = bool(own or pii.models)
        self._analyzer = Analyzer([*wanted, *own], pipeline, more)

    def find(self, text: str) -> list[Finding]:
        """The findings of a text: in order, without overlap."""
        if not text.isascii():
            text = _SURROGATES.sub("\ufffd", text)  # JSON may hold halves of pairs; spaCy takes none
        plainly = Plainly(text)
        found = self._found(plainly.text)
        if plainly.text != text:
            found = [each.at(*plainly.written(each.start, each.end)) for each in found]
            found += self._as_it_stands(text)
        if not found:
            return found
        return without_overlap([each for each in found if self._counts(text, each)])

    def _found(self, text: str) -> list[Finding]:
        """Whatever is found in a text that was made plain, overlapping ones too."""
        found = [*self._patterns.find(text), *self._in_terms(text)]
        for left, right in pieces(0, len(text)) if self._everywhere else windows(text):
            found += (
                each.at(each.start + left, each.end + left)
                for each in self._analyzer.find(text[left:right], self._least)
            )
        return found

    def _as_it_stands(self, text: str) -> list[Finding]:
        """What speaks of letters beyond ASCII speaks of the text as it stands: a mark would part its words."""
        return [*self._beyond.find(text), *self._in_terms(text)]

    def _in_terms(self, text: str) -> Iterator[Finding]:
        for id_, type_, regex in self._terms:
            for match in regex.finditer(text):
                yield Finding(*match.span(), type_, id_, 1.0)

    def _counts(self, text: str, each: Finding) -> bool:
        return (
            each.score >= self._least - 1e-9
            and each.type not in self._skip
            and text[each.start : each.end] not in self._never
        )


def _with_context(rule: PiiPattern) -> Kind:
    """A pattern that needs a word near it, as something the analyzer looks for."""
    pattern = Pattern.of(rule)

    def find(text: str) -> Iterator[Span]:
        return ((each.start, each.end, each.score) for each in pattern.find(text))

    return Kind(rule.type, rule.id, find, tuple(rule.context))


_current: Searcher | None = None


def use(pii: Pii) -> None:
    """Let `find_now` search by these rules."""
    global _current  # one worker, one searcher
    _current = Searcher(pii)


@cache
def _default() -> Searcher:
    return Searcher(Pii())


def find_now(text: str) -> list[Finding]:
    """The findings of one text, here and now, by the rules last given to `use` (none: forms alone, no patterns)."""
    return (_current or _default()).find(text)


def find_all(texts: Sequence[str]) -> list[list[Finding]]:
    """The same for several."""
    return [find_now(text) for text in texts]
