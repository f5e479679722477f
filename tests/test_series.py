"""Labels and series that callers cannot grow at will."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter

from mitmesh.series import Bounded, Series


def test_bounded() -> None:
    """A label's values stop at the maximum, known ones stay; absent and absurd ones have names of their own."""
    label = Bounded(2)
    assert [label(each) for each in ("a", "b", "c", "a", "", None)] == ["a", "b", "other", "a", "none", "none"]
    assert Bounded(2)("x" * 101) == "other"


def test_series() -> None:
    """The same labels are the same child, and what is counted is in the metric."""
    registry = CollectorRegistry()
    series = Series(Counter("calls", "Calls.", ["kind"], registry=registry))
    assert series("a") is series("a")
    series("a").inc()
    series("b").inc(2)
    assert registry.get_sample_value("calls_total", {"kind": "b"}) == 2
