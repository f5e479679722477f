"""docs/tables.md: the tables and views of the audit's files, read from files that the migrations make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlite_utils import Database, Migrations
from sqlite_utils.db import Table

from mitmesh.reference.markdown import page, table
from mitmesh.store import migrations


def tables_markdown() -> str:
    """The page."""
    sets = [found for found in vars(migrations).values() if isinstance(found, Migrations)]
    return page(
        "Tables",
        "SQLite files in `mesh_data` (by default `~/.mitmesh`). Times are UTC in ISO 8601, money is micro-dollars, "
        "sizes are bytes, durations milliseconds; what is not known is NULL. The files are written by mitmesh alone: "
        "read them with Datasette, or with `sqlite3 -readonly`.",
        *(part for found in sets for part in _file(found)),
    )


def _file(found: Migrations) -> Iterator[str]:
    """What is there in the end, under the words of the migration that made it as what it is."""
    db = Database(memory=True)
    yield f"## {found.name.partition('.')[2]}.db"
    about: dict[tuple[str, type], str] = {}
    for migration in found.pending(db):
        found.apply(db, stop_before=_after(found, migration.name))
        for each in (*db.tables, *db.views):
            about.setdefault((each.name, type(each)), " ".join((migration.fn.__doc__ or "").split()))
    left = {(each.name, type(each)): each for each in (*db.tables, *db.views) if not _hidden(each.name)}
    for key, words in about.items():
        if key in left:
            yield f"### {key[0]}\n\n{words}\n\n{_columns(left[key])}"


def _after(found: Migrations, name: str) -> list[str]:
    names = [migration.name for migration in found._migrations]
    return names[names.index(name) + 1 :][:1]


def _hidden(name: str) -> bool:
    return name.startswith(("_", "sqlite_")) or "_fts" in name


def _columns(each: Any) -> str:
    keys = set(each.pks) if isinstance(each, Table) else set()
    rows = [(f"`{column.name}`", column.type or "–", "key" if column.name in keys else "") for column in each.columns]
    return table(("column", "type", ""), rows)
