"""Charts as SVG made here: no script, nothing fetched, and no right to run SQL needed to see one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from markupsafe import Markup, escape

WIDTH, HEIGHT, BASE = 1100, 180, 152
MOST_DAYS = 92
_BAR = 'class="bar" viewBox="0 0 100 6" preserveAspectRatio="none"'

type Day = tuple[str, float, float]
"""A day, and its two sums."""


def days(rows: Sequence[Any], first: str = "", today: date | None = None) -> list[Day]:
    """Each day from `first` (or the first row's) to today, those without calls too; at most the last MOST_DAYS."""
    found = {row["day"]: (row["cost_usd"] or 0.0, row["notional_usd"] or 0.0) for row in rows}
    last = today or datetime.now(UTC).date()
    try:
        begin = date.fromisoformat((first or min(found, default="") or last.isoformat())[:10])
    except ValueError:
        begin = last
    count = max(1, min(MOST_DAYS, (last - begin).days + 1))
    span = [(last - timedelta(days=n)).isoformat() for n in reversed(range(count))]
    return [(day, *found.get(day, (0.0, 0.0))) for day in span]


def columns(spent: Sequence[Day]) -> Markup:
    """A column a day: metered at the bottom, notional on top."""
    top = max((metered + notional for _, metered, notional in spent), default=0.0)
    step = WIDTH / max(len(spent), 1)
    width = min(step * 0.7, 48.0)
    parts = [_axis(top)]
    for index, (day, metered, notional) in enumerate(spent):
        x = index * step + (step - width) / 2
        y = float(BASE)
        words = f"{day}: {money(metered)} metered, {money(notional)} notional"
        bars = ""
        for kind, value in (("metered", metered), ("notional", notional)):
            tall = (BASE - 20) * value / top if top else 0.0
            if value:
                y -= max(tall, 1.0)
                bars += (
                    f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(tall, 1):.1f}"/>'
                )
        hit = f'<rect class="hit" x="{index * step:.1f}" y="0" width="{step:.1f}" height="{BASE}"/>'
        parts.append(f"<g><title>{escape(words)}</title>{hit}{bars}</g>")
        if index % max(1, -(-len(spent) // 12)) == 0:
            parts.append(
                f'<text x="{index * step + step / 2:.1f}" y="{BASE + 18}" text-anchor="middle">{day[5:]}</text>'
            )
    return _svg("Spent by day", WIDTH, HEIGHT, parts)


def bar(metered: float, notional: float, most: float) -> Markup:
    """One thin bar: how much of the most this is."""
    scale = 100 / most if most else 0.0
    one, two = metered * scale, notional * scale
    rects = [f'<rect class="metered" width="{one:.2f}" height="6" rx="1"/>'] if metered else []
    if notional:
        rects.append(f'<rect class="notional" x="{one:.2f}" width="{two:.2f}" height="6" rx="1"/>')
    return Markup(f'<svg {_BAR} aria-hidden="true">{"".join(rects)}</svg>')


def timing(own: float | None, first: float | None, total: float | None, most: float) -> Markup:
    """One call's time: ours, the provider's to the first token, and from there to the end."""
    if not total or not most:
        return Markup("")
    mine = min(own or 0.0, total)
    wait = max(min(first if first is not None else total, total) - mine, 0.0)
    rest = max(total - mine - wait, 0.0)
    words = f"{ms(mine)} ours, {ms(wait)} to the first token, {ms(rest)} to the end"
    x, rects = 0.0, ""
    for kind, value in (("own", mine), ("wait", wait), ("rest", rest)):
        width = max(100 * value / most, 0.4 if value else 0.0)
        rects += f'<rect class="{kind}" x="{x:.2f}" width="{width:.2f}" height="6"/>'
        x += width
    return Markup(f'<svg {_BAR} role="img"><title>{escape(words)}</title>{rects}</svg>')


def money(dollars: float | None) -> str:
    """Dollars for people; unknown is a dash."""
    if dollars is None:
        return "–"
    if dollars and abs(dollars) < 0.01:
        return f"${dollars:.4f}"
    return f"${dollars:,.2f}"


def ms(milliseconds: float | None) -> str:
    """A duration for people."""
    if milliseconds is None:
        return "–"
    if milliseconds >= 60_000:
        return f"{milliseconds / 60_000:.1f} min"
    if milliseconds >= 1_000:
        return f"{milliseconds / 1_000:.1f} s"
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def number(value: float | None) -> str:
    """A count for people: 1,234 then 12.3k, 4.5M."""
    if value is None:
        return "–"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):.1f}{letter}"
    return f"{value:,.0f}"


def size(value: float | None) -> str:
    """Bytes for people."""
    if value is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _axis(top: float) -> str:
    lines = f'<line x1="0" x2="{WIDTH}" y1="{BASE}" y2="{BASE}"/>'
    return lines + (f'<text class="top" x="0" y="10">{escape(money(top))}</text>' if top else "")


def _svg(title: str, width: int, height: int, parts: Sequence[str]) -> Markup:
    body = "".join(parts)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {width} {height}" role="img"><title>{escape(title)}</title>{body}</svg>'
    )
