"""What people type into the search is never an error."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import browsed
from mitmesh.browse.search import question
from mitmesh.browse.serve import build
from mitmesh.browse.users import Kind, Role, Users


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        (None, '""'),
        ("  ", '""'),
        ("merger", "merger"),
        ("one OR two", "one OR two"),
        ('"a phrase" begin*', '"a phrase" begin*'),
        ('"', '""""'),
        ("AND", '"AND"'),
        ("*", '"*"'),
        ("who: ann@corp.example", '"who:" "ann@corp.example"'),
        ("it's (open", '"it\'s" "(open"'),
        ("a\0b -", '"a" "b" "-"'),
    ],
)
def test_the_question(typed: str | None, asked: str) -> None:
    """SQLite's syntax where it is that; any other sign is searched for as itself."""
    assert question(typed) == asked


@pytest.mark.parametrize(
    ("query", "found"), [("", 0), ("?words=", 0), ("?words=%22", 0), ("?words=AND", 0), ("?words=*", 0),
                         ("?words=merger", 1), ("?words=merger+OR+nothing", 1), ("?words=(the+merger", 1)]
)  # fmt: skip
async def test_the_page(tmp_path: Path, query: str, found: int) -> None:
    """It opens from the menu, before a word is typed, and with any."""
    await asyncio.to_thread(browsed.make, tmp_path, browsed.session(0.1, 1))
    headers = {"host": "127.0.0.1", "authorization": f"Bearer {Users(tmp_path).add('a', Role.AUDITOR, Kind.TOKEN)}"}
    answer = await build(tmp_path).client.get(f"/content/search{query}", headers=headers)
    assert answer.status_code == 200, answer.text[:300]
    assert ("Initech" in answer.text) is bool(found)
