"""Every position of every dialect, and the table of them in docs/redaction.md."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mitmesh.dialects import DIALECTS
from mitmesh.redaction.findings import Finding
from mitmesh.stages.redact import Redact
from redaction.positions import ANSWERS, KNOWN, PLACEHOLDER, POSITIONS, REQUESTS, VALUE
from redactions import Finder, back_json, back_stream, exchange, sent

DOCS = Path(__file__).parents[2] / "docs" / "redaction.md"
BEGIN, END = "<!-- positions: made by tests/redaction/test_positions.py -->", "<!-- end -->"
CELLS = [(dialect, position) for dialect in REQUESTS for position in POSITIONS]


class OneValue(Finder):
    """Finds VALUE where it is said whose name it is."""

    def find_now(self, text: str) -> list[Finding]:
        at = text.find(KNOWN)
        return [Finding(at + len(KNOWN) - len(VALUE), at + len(KNOWN), "PERSON", "r", 1.0)] if at >= 0 else []


@pytest.fixture
async def stage(tmp_path: Path) -> Any:
    stage = Redact(tmp_path, OneValue())
    await stage.start()
    yield stage
    await stage.stop()


def strings(value: Any) -> list[str]:
    """Every string of a document, those of JSON within strings read too."""
    if isinstance(value, str):
        try:
            inner = json.loads(value)
        except ValueError:
            return [value]
        return strings(inner) if isinstance(inner, (dict, list)) else [value]
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in below for text in strings(item)]


async def request_cell(stage: Redact, dialect: str, position: str) -> str:
    """What becomes of the value in this position of a request."""
    doc = REQUESTS[dialect][position]
    if isinstance(doc, str):
        return f"– ({doc})"
    x = exchange(dialect, doc)
    await stage.request(x)
    left = json.loads(sent(x))
    found = strings(left)
    assert strings(doc) == [text.replace(PLACEHOLDER, VALUE) for text in found], "something else changed"
    assert not any(VALUE in text for text in found)
    assert not any(VALUE in text.text or json.dumps(VALUE)[1:-1] in text.text for text in x.call.texts)
    return "replaced"


async def asked(stage: Redact, dialect: str, *, stream: bool) -> Any:
    """A call in which the value was replaced."""
    doc = next(doc for doc in REQUESTS[dialect].values() if not isinstance(doc, str))
    path = "/v1beta/models/m:streamGenerateContent?alt=sse" if dialect == "gemini" and stream else ""
    x = exchange(dialect, {**doc, "stream": True} if stream and dialect != "gemini" else doc, path)
    await stage.request(x)
    return x


async def json_cell(stage: Redact, dialect: str, position: str) -> str:
    """What becomes of the placeholder in this position of a JSON answer."""
    docs, _, why = ANSWERS[dialect]
    if position not in docs:
        return f"– ({why})"
    back = back_json(stage, await asked(stage, dialect, stream=False), docs[position])
    assert strings(back) == [text.replace(PLACEHOLDER, VALUE) for text in strings(docs[position])]
    return "restored"


async def stream_cell(stage: Redact, dialect: str, position: str) -> str:
    """What becomes of it in a stream."""
    _, streams, why = ANSWERS[dialect]
    if position not in streams:
        return f"– ({why})"
    raw = b"".join(b"data: " + json.dumps(doc).encode() + b"\n\n" for doc in streams[position])
    for size in (len(raw), 5):
        back = back_stream(stage, await asked(stage, dialect, stream=True), raw, (size,))
        docs = [json.loads(event[6:]) for event in back.decode().split("\n\n") if event]
        assert len(docs) == len(streams[position])
        texts: dict[str, str] = {}
        for number, doc in enumerate(docs):
            for text in DIALECTS[dialect].event_texts(doc):
                channel = text.channel or f"whole {number} {text.path}"
                texts[channel] = texts.get(channel, "") + text.text
        whole = strings(list(texts.values())) + [text for doc in docs for text in strings(doc.get("response"))]
        assert any(VALUE in text for text in whole)
        assert "PERSON" not in back.decode()
    return "restored"


@pytest.mark.parametrize(("dialect", "position"), CELLS)
async def test_request(stage: Redact, dialect: str, position: str) -> None:
    """The value leaves in no position of a request, and nothing else of it changes."""
    await request_cell(stage, dialect, position)


@pytest.mark.parametrize(("dialect", "position"), CELLS)
async def test_json_answer(stage: Redact, dialect: str, position: str) -> None:
    """The value comes back in every position of a JSON answer, escaped for where it goes."""
    await json_cell(stage, dialect, position)


@pytest.mark.parametrize(("dialect", "position"), CELLS)
async def test_stream(stage: Redact, dialect: str, position: str) -> None:
    """And in every position of a stream, however it is cut, with as many events as came."""
    await stream_cell(stage, dialect, position)


def test_no_empty_cell() -> None:
    """Each dialect has each position, or a reason why not."""
    assert set(REQUESTS) == set(ANSWERS) == set(DIALECTS)
    assert all(set(positions) == set(POSITIONS) for positions in REQUESTS.values())


async def test_docs(stage: Redact) -> None:
    """docs/redaction.md has this table; `WRITE_DOCS=1 pytest` of this file writes it."""
    lines = ["| dialect | position | request | JSON answer | stream |", "| --- | --- | --- | --- | --- |"]
    for dialect, position in CELLS:
        cells = [await make(stage, dialect, position) for make in (request_cell, json_cell, stream_cell)]
        lines.append(f"| {dialect} | {position} | {' | '.join(cells)} |")
    table = "\n".join([BEGIN, *lines, END])
    text = DOCS.read_text()
    before, _, rest = text.partition(BEGIN)
    made = before + table + rest.partition(END)[2]
    if os.environ.get("WRITE_DOCS"):
        DOCS.write_text(made)
    assert text == made
