"""Charts: what they show, and that text in them is text."""

from __future__ import annotations

from datetime import date
from xml.etree import ElementTree

import pytest

from mitmesh.browse import charts

TODAY = date(2026, 3, 3)


def test_days_without_calls_are_there() -> None:
    """Every day from the first to today, at most MOST_DAYS of them."""
    rows = [{"day": "2026-03-01", "cost_usd": 1.5, "notional_usd": None}]
    assert charts.days(rows, today=TODAY) == [
        ("2026-03-01", 1.5, 0.0),
        ("2026-03-02", 0.0, 0.0),
        ("2026-03-03", 0.0, 0.0),
    ]
    assert len(charts.days([], "2020-01-01", TODAY)) == charts.MOST_DAYS
    assert charts.days([], "", TODAY) == [("2026-03-03", 0.0, 0.0)]
    assert charts.days([{"day": "junk", "cost_usd": 1, "notional_usd": 1}], "", TODAY) == [("2026-03-03", 0.0, 0.0)]


def test_columns_are_as_tall_as_their_sums() -> None:
    """The tallest column fills the chart, metered below notional; it is XML with its numbers in words."""
    svg = charts.columns([("2026-03-01", 3.0, 1.0), ("2026-03-02", 2.0, 0.0), ("2026-03-03", 0.0, 0.0)])
    tree = ElementTree.fromstring(svg)
    bars = [(r.get("class"), float(r.get("height", 0))) for r in tree.iter("rect") if r.get("class") != "hit"]
    assert bars == [("metered", 99.0), ("notional", 33.0), ("metered", 66.0)]
    assert "2026-03-01: $3.00 metered, $1.00 notional" in svg


@pytest.mark.parametrize(
    ("own", "first", "total"), [(1.0, 400.0, 1700.0), (2.0, None, 2.0), (None, 5.0, 4.0), (9.0, 1.0, 5.0)]
)
def test_a_calls_time_adds_up(own: float | None, first: float | None, total: float) -> None:
    """Ours, waiting and the rest are never more than the whole, whatever the clocks said."""
    tree = ElementTree.fromstring(charts.timing(own, first, total, total))
    assert sum(float(r.get("width", 0)) for r in tree.iter("rect")) <= 101.5


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (charts.money(None), "–"), (charts.money(0.0), "$0.00"), (charts.money(0.0072), "$0.0072"),
        (charts.money(1234.5), "$1,234.50"),
        (charts.ms(0.04), "0.0 ms"), (charts.ms(900), "900 ms"), (charts.ms(1500), "1.5 s"),
        (charts.ms(184_000), "3.1 min"),
        (charts.number(1234), "1,234"), (charts.number(12_345), "12.3k"), (charts.number(4.5e6), "4.5M"),
        (charts.number(None), "–"),
        (charts.size(999), "999 B"), (charts.size(1_840_000), "1.8 MB"), (charts.size(None), "–"),
    ],
)  # fmt: skip
def test_for_people(shown: str, text: str) -> None:
    """Numbers as people write them; what is not known is a dash, never 0."""
    assert shown == text
