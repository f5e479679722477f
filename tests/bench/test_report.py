"""Figures out of samples."""

import json

import pytest

from bench import report
from bench.runner import CONNECTIONS, QUICK, SIZES, Cell, Results, Sample


def cell(bare: list[float], suite: list[float], other: str = "bare") -> Cell:
    """Samples whose every figure is the number given."""

    def samples(figures: list[float]) -> list[Sample]:
        return [Sample(each, each, each, each, each, calls=1) for each in figures]

    return Cell({other: samples(bare), "suite": samples(suite)})


def results(suite: float, growth: int) -> Results:
    calls = {(size, connections): cell([100], [suite]) for size in SIZES for connections in CONNECTIONS}
    stream = cell([100], [suite], "streaming")
    memory = {name: [50_000_000, 50_000_000 + growth] for name in ("bare", "suite")}
    redaction = {name: suite / 100 for _, name, *_ in report.TARGETS[5:10]}
    quota, semantic = (
        {name: suite / 1000 for _, name, *_ in some} for some in (report.TARGETS[10:12], report.TARGETS[15:])
    )
    cache = {"hit_rps_200B": 110 / suite, "miss_200B_ms": suite / 1000, "miss_70KB_ms": suite / 1000}
    cache |= dict.fromkeys(("hit_rps_70KB", "answering_rps_200B", "answering_rps_70KB"), 1.16)
    return Results(calls, stream, stream, stream, memory, redaction, quota, cache, semantic)


def test_stages_have_targets_of_their_own() -> None:
    """Each figure of redaction, quota and look-ups is judged, and stands in the JSON."""
    slow = results(100, 0)
    slow.cache = dict.fromkeys(slow.cache, 1000.0) | {"hit_rps_200B": 1.09}
    for name in ("redaction", "quota", "semantic"):
        setattr(slow, name, dict.fromkeys(getattr(slow, name), 1000.0))
    found = report.document(slow, QUICK)
    assert [target["reached"] for target in found["targets"]][5:] == [False] * 14
    assert found["cache"] == slow.cache
    assert found["redaction"] == slow.redaction and found["quota"] == slow.quota
    assert found["semantic"] == slow.semantic


def test_rounds_are_compared_with_each_other() -> None:
    """A machine that gets slower half way slows both: ratios and differences are those of a round, then the median."""
    uneven = cell([100, 100, 50, 50, 10], [90, 90, 45, 45, 30])
    assert uneven.ratio("rps") == pytest.approx(0.9)
    assert uneven.added("p50") == -5
    assert uneven.figure("bare", "rps") == 50


def test_cpu_time_is_summed_over_rounds() -> None:
    """It comes in steps, so each round weighs by its calls."""
    samples = [Sample(1, 1, 1, 1, cpu=10, calls=1), Sample(1, 1, 1, 1, cpu=20, calls=3)]
    assert Cell({"bare": samples}).cpu("bare") == 17.5


@pytest.mark.parametrize(
    ("suite", "growth", "reached"),
    [
        (100.0, 0, [True, True, True, True, True]),
        (84.0, 10_100_000, [False, True, True, True, False]),
        (59.0, 10_000_000, [False, False, True, True, True]),
        (101.0, 0, [True, True, False, True, True]),
        (102.1, 0, [True, True, False, False, True]),
    ],
)
def test_targets(suite: float, growth: int, reached: list[bool]) -> None:
    """Each target is reached or not by its own figure."""
    found = report.document(results(suite, growth), QUICK)
    assert [target["reached"] for target in found["targets"]] == reached + [True] * 7 + [suite <= 100] + [True] * 6
    assert json.loads(json.dumps(found)) == found
    assert report.table(found).count("NOT reached") == reached.count(False) + (suite > 100)
