"""Markdown for the reference pages."""

from __future__ import annotations

from collections.abc import Iterable

MADE = "Made from the code by `python -m mitmesh.reference`; a test keeps it true."


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table with this head; `|` in a cell is escaped."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def page(title: str, *parts: str) -> str:
    """A page: title, where it comes from, and its parts."""
    return "\n\n".join([f"# {title}", MADE, *(part.strip() for part in parts)]) + "\n"
