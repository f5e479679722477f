"""Words that a person types, as a question that SQLite's full-text search takes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from datasette import hookimpl

from mitmesh.browse.access import Site

NOTHING = '""'
"""Finds nothing, and is no error."""


def question(words: str | None) -> str:
    """The words as they are where they are FTS5's syntax; else each as itself, all of them wanted."""
    words = (words or "").replace("\0", " ").strip()
    if not words:
        return NOTHING
    return words if _is_syntax(words) else " ".join(f'"{word.replace('"', '""')}"' for word in words.split())


def _is_syntax(words: str) -> bool:
    """SQLite alone knows; it is asked with an empty table that has the columns of the real one."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.execute("create virtual table messages_fts using fts5(text)")
        try:
            conn.execute("select 1 from messages_fts where messages_fts match ?", [words]).fetchall()
        except sqlite3.Error:
            return False
    return True


@hookimpl  # type: ignore[untyped-decorator]
def prepare_connection(conn: sqlite3.Connection, datasette: Any) -> None:
    """`search_words(text)` in SQL."""
    if isinstance(datasette, Site):
        conn.create_function("search_words", 1, question, deterministic=True)
