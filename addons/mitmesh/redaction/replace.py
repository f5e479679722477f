"""From what was found in a call's texts to what is sent, what is stored, and what may be restored; pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mitmesh.dialects.base import Provenance, Text
from mitmesh.exchange import Mode
from mitmesh.redaction.findings import Finding
from mitmesh.redaction.jsonview import JsonView, View, edited, view_of
from mitmesh.redaction.placeholders import LITERAL, Names, literals
from mitmesh.redaction.places import SHORTEST, places
from mitmesh.redaction.policy import Decision, Policy

MASK = "********"
"""What comes in the place of a masked value; its length tells nothing."""
type Hash = Callable[[str], str]
"""A keyed hash of a value, as hex."""


@dataclass(slots=True, order=True)
class Span:
    """A stretch of one text (as read) that is a value. A `piece` is part of a finding that crossed strings of JSON."""

    start: int
    end: int
    kind: str = field(compare=False)
    value: str = field(compare=False)
    piece: bool = field(default=False, compare=False)


@dataclass(slots=True)
class Redaction:
    """What becomes of one call's texts: by index, only where they change. `table` is what may be restored (name to
    value), `values` all values that were named, sent in clear or not; `seen` counts what was decided where."""

    sent: dict[int, str] = field(default_factory=dict)
    stored: dict[int, str] = field(default_factory=dict)
    table: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    seen: dict[Decision, dict[tuple[str, Provenance], int]] = field(default_factory=dict)

    @property
    def refused(self) -> bool:
        """Does a rule refuse this call, acted on or not?"""
        return any(decision.action == "refuse" for decision in self.seen)


def views_of(texts: Sequence[Text]) -> list[View | None]:
    """A view of each text that does not stand as people read it (JSON within a string); None for the others."""
    return [view_of(text.text, is_json=text.is_json) for text in texts]


def as_read(texts: Sequence[Text], views: Sequence[View | None]) -> list[str]:
    """The texts as people read them: what a finder must see."""
    return [view.text if view else text.text for text, view in zip(texts, views, strict=True)]


def redact(
    texts: Sequence[Text],
    views: Sequence[View | None],
    found: Sequence[Sequence[Finding]],
    policy: Policy,
    names: Names,
    hashed: Hash,
) -> Redaction:
    """Decide on every finding, on every other place of a value that was found, and on what looks like a placeholder.

    Values are numbered by where they were first *found*, in the order of `texts`. (Were it where they first stand, a
    value found only now would rename others that were found before it.)"""
    read = as_read(texts, views)
    spans = [_spans(*each) for each in zip(texts, read, views, found, strict=True)]
    kinds = _name(spans, texts, policy, names)
    _everywhere(read, views, spans, kinds)
    result = Redaction(values={value: names.by_value[value] for value in kinds if value in names.by_value})
    write = _Writer(policy, names, hashed, result)
    for index, own in enumerate(spans):
        if own:
            write.text(index, texts[index], views[index], own)
    return result


def _spans(text: Text, read: str, view: View | None, found: Sequence[Finding]) -> list[Span]:
    """The findings (in order, without overlap) and literals of one text, the same way; of JSON, each within one string.
    Where the two meet, the longer one stays whole, and of a finding nothing is left out. A literal's value is what the
    client wrote, escapes and all: it comes back as its own bytes."""
    spans: list[Span] = []
    for finding in found:
        parts = view.within(finding.start, finding.end) if view else [(finding.start, finding.end)]
        for start, end in parts:
            spans.append(Span(start, end, finding.type, read[start:end], len(parts) > 1))
    for start, end in literals(read):
        value = read[start:end]
        if view and not isinstance(view, JsonView):
            value = "".join(text.text[left:right] for left, right in view.written(start, end))
        _add(spans, Span(start, end, LITERAL, value))
    return spans


def _add(spans: list[Span], literal: Span) -> None:
    """Add a literal, unless it lies in a finding; findings that meet it lose to it what they share."""
    first = bisect_right(spans, literal.start, key=lambda span: span.end)
    last = first
    rest: list[Span] = []
    while last < len(spans) and spans[last].start < literal.end:
        old = spans[last]
        if old.start <= literal.start and literal.end <= old.end:
            return
        if old.start < literal.start:
            rest.append(Span(old.start, literal.start, old.kind, old.value[: literal.start - old.start], True))
        if old.end > literal.end:
            rest.append(Span(literal.end, old.end, old.kind, old.value[literal.end - old.start :], True))
        last += 1
    spans[first:last] = sorted([*rest, literal])


def _name(spans: list[list[Span]], texts: Sequence[Text], policy: Policy, names: Names) -> dict[str, str]:
    """Name the values in order; gives each value's first type, whole findings only."""
    kinds = {value: name.rpartition("_")[0] for value, name in names.by_value.items()}  # of earlier turns (the vault's)
    for own, text in zip(spans, texts, strict=True):
        for span in own:
            if policy.decide(span.kind, text.provenance).action in ("replace", "refuse"):
                names.of(span.kind, span.value)
            if not span.piece:
                kinds.setdefault(span.value, span.kind)
    return kinds


def _everywhere(read: list[str], views: Sequence[View | None], spans: list[list[Span]], kinds: dict[str, str]) -> None:
    """A value found once is a value wherever it stands: add the other places. Longer values first."""
    wanted = [value for value in kinds if len(value) >= SHORTEST and kinds[value] != LITERAL]
    if not wanted:
        return
    gaps = [gap for index, text in enumerate(read) for gap in _between(index, len(text), spans[index])]
    starts = [0]
    for _, left, right in gaps:
        starts.append(starts[-1] + right - left + 1)
    joined = "\0".join([read[index][left:right] for index, left, right in gaps])
    for at, form, value in places(joined, wanted):
        gap = bisect_right(starts, at) - 1
        index, left, _ = gaps[gap]
        _fill(spans[index], views[index], left + at - starts[gap], form, kinds[value], value)


def _between(index: int, length: int, spans: list[Span]) -> Iterator[tuple[int, int, int]]:
    """The stretches of a text in which no value is known and there is room for one."""
    at = 0
    for span in spans:
        if span.start - at >= SHORTEST:
            yield index, at, span.start
        at = max(at, span.end)
    if length - at >= SHORTEST:
        yield index, at, length


def _fill(spans: list[Span], view: View | None, start: int, form: str, kind: str, value: str) -> None:
    """One more place, unless it is known or cannot be edited."""
    end = start + len(form)
    first = bisect_right(spans, start, key=lambda span: span.end)
    if first < len(spans) and spans[first].start < end:
        return
    if view is None or view.within(start, end) == [(start, end)]:
        spans.insert(first, Span(start, end, kind, value))


@dataclass(slots=True)
class _Writer:
    """Writes the texts anew."""

    policy: Policy
    names: Names
    hashed: Hash
    result: Redaction

    def text(self, index: int, text: Text, view: View | None, spans: list[Span]) -> None:
        """One text that has something in it: as it is sent and, where that differs, as it is stored."""
        sent: list[tuple[int, int, str]] = []
        stored: list[tuple[int, int, str]] = []
        for span in spans:
            decision = self.policy.decide(span.kind, text.provenance)
            places = self.result.seen.setdefault(decision, {})
            places[span.kind, text.provenance] = places.get((span.kind, text.provenance), 0) + 1
            if decision.action == "allow":
                continue
            edit = (span.start, span.end, self._instead(span, decision))
            stored.append(edit)
            if decision.mode is Mode.ENFORCE:
                sent.append(edit)
        if sent:
            self.result.sent[index] = edited(text.text, view, sent)
        if len(stored) > len(sent):
            self.result.stored[index] = edited(text.text, view, stored)

    def _instead(self, span: Span, decision: Decision) -> str:
        if decision.action == "mask":
            return MASK
        if decision.action == "hash":
            return f"[{span.kind}:{self.hashed(span.value)}]"
        name = self.names.of(span.kind, span.value)
        if decision.mode is Mode.ENFORCE:
            self.result.table[name] = span.value
        return f"<{name}>"
