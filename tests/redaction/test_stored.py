from __future__ import annotations

import asyncio

import pytest

from mitmesh.dialects.base import Answer, Kind, Part
from mitmesh.redaction.findings import FinderFailed, Finding
from mitmesh.redaction.stored import WITHHELD, Withheld, searched_answer, spoken, stored_answer
from redactions import Finder

ANSWER = Answer(
    parts=[
        Part(Kind.TEXT, "ask eve@example.com"),
        Part(Kind.OPAQUE),
        Part(Kind.TOOL_CALL, r'{"to": "ann\u0040example.com"}'),
        Part(Kind.TEXT, "nothing"),
    ]
)


def test_named_or_by_type() -> None:
    """A value of the request has its name, another its type; what has none stays out of the result."""
    parts = spoken(ANSWER)
    found = [Finder().find_now(part.read) for part in parts]
    assert stored_answer(parts, found, {"ann@example.com": "EMAIL_4"}) == {0: "ask <EMAIL>", 2: '{"to": "<EMAIL_4>"}'}


def test_values_not_found() -> None:
    """A value of the request is taken out also where nothing was found."""
    parts = spoken(Answer(parts=[Part(Kind.TEXT, "Ann Lee is Ann Lee")]))
    assert stored_answer(parts, [[Finding(0, 7, "PERSON", "r", 1.0)]], {"Ann Lee": "PERSON_1"}) == {
        0: "<PERSON_1> is <PERSON_1>"
    }


async def test_searched() -> None:
    """From a thread the finder of the event loop is asked; where it fails, that is told."""
    loop = asyncio.get_running_loop()
    parts = spoken(ANSWER)
    assert (await asyncio.to_thread(searched_answer, parts, {}, Finder(), loop))[0] == "ask <EMAIL>"
    with pytest.raises(FinderFailed):
        await asyncio.to_thread(searched_answer, parts, {}, Finder(fails=FinderFailed("died")), loop)


def test_withheld() -> None:
    """A mapping in which every text is missing, and which is not empty."""
    assert Withheld() and Withheld().get(("messages", 0), "secret") == WITHHELD
