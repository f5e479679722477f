from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction.findings import Finding, from_plain, to_plain, without_overlap

SPANS = st.tuples(st.integers(0, 30), st.integers(1, 10), st.sampled_from(["A", "B"]), st.sampled_from([0.5, 0.7, 0.9]))
FOUND = st.lists(SPANS.map(lambda s: Finding(s[0], s[0] + s[1], s[2], s[2].lower(), s[3])), max_size=12)


@given(FOUND)
def test_no_overlap_and_nothing_uncovered(found: list[Finding]) -> None:
    """The result is in order, without overlap, and covers every character that any finding covered."""
    kept = without_overlap(found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(kept))
    assert {i for f in found for i in range(f.start, f.end)} == {i for f in kept for i in range(f.start, f.end)}


def test_the_surer_one_gives_the_type() -> None:
    """Of two that overlap the higher score names what both cover."""
    assert without_overlap([Finding(0, 5, "A", "a", 0.5), Finding(3, 9, "B", "b", 0.9)]) == [
        Finding(0, 9, "B", "b", 0.9)
    ]


@given(FOUND, st.integers(0, 100))
def test_the_way_between_processes(found: list[Finding], offset: int) -> None:
    """As JSON and back they are the same, moved by the offset."""
    rows = json.loads(json.dumps(to_plain(found)))
    moved = [Finding(f.start + offset, f.end + offset, f.type, f.rule_id, f.score) for f in found]
    assert from_plain(rows, offset) == moved
