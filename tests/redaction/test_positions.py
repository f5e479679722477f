"""Every position of every dialect, and the table of them in docs/redaction.md."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from mitmesh.dialects import DIALECTS
from mitmesh.exchange import Exchange
from mitmesh.redaction.findings import Finding
from mitmesh.stages.redact import Redact
from redaction.positions import ANSWERS, BODIES, KNOWN, NUMBER, POSITIONS, REQUESTS, VALUE, Sent
from redactions import PATHS, Finder, back_json, back_stream, exchange, sent

DOCS = Path(__file__).parents[2] / "docs" / "redaction.md"
BEGIN, END = "<!-- positions: made by tests/redaction/test_positions.py -->", "<!-- end -->"
CELLS = [(dialect, position) for dialect, cells in REQUESTS.items() for position in cells]


class OneValue(Finder):
    """Finds VALUE where it is said whose name it is, and NUMBER anywhere."""

    def find_now(self, text: str) -> list[Finding]:
        for known, value, kind in ((KNOWN, VALUE, "PERSON"), (str(NUMBER), str(NUMBER), "CARD")):
            if (at := text.find(known)) >= 0:
                return [Finding(at + len(known) - len(value), at + len(known), kind, "r", 1.0)]
        return []


@pytest.fixture
async def stage(tmp_path: Path) -> Any:
    stage = Redact(tmp_path, OneValue())
    await stage.start()
    yield stage
    await stage.stop()


def strings(value: Any) -> list[str]:
    """Every string, name of a member and long number of a document, those of JSON within strings too."""
    if isinstance(value, str):
        try:
            inner = json.loads(value)
        except ValueError:
            return [value]
        return strings(inner) if isinstance(inner, (dict, list)) else [value]
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (key, *strings(item))]
    return [text for item in value for text in strings(item)] if isinstance(value, list) else [str(value)]


def restored(text: str) -> str:
    """The text with the values of all cells in their placeholders' places."""
    return text.replace("<PERSON_1>", VALUE).replace("<CARD_1>", str(NUMBER))


def plain(text: str) -> str:
    """A form, upload, line of JSON or URL without its encoding."""
    return unquote_plus(text).replace('\\"', '"')


def call(dialect: str, position: str, *, stream: bool = False) -> Exchange | None:
    """The call of a cell; None where the API has none."""
    cell = REQUESTS[dialect][position]
    if isinstance(cell, str):
        return None
    if not isinstance(cell, Sent):
        cell = Sent(cell)
    body, path = cell.body, cell.path if cell.path.startswith("/") else PATHS[dialect] + cell.path
    if stream and dialect == "gemini":
        path = "/v1beta/models/m:streamGenerateContent?alt=sse"
    elif stream and isinstance(body, dict):
        body = {**body, "stream": True}
    return exchange(dialect, body.encode() if isinstance(body, str) else body, path, content_type=cell.kind)


async def request_cell(stage: Redact, dialect: str, position: str) -> str:
    """What becomes of the value in this position of a request."""
    x = call(dialect, position)
    if x is None or x.body is None:
        return f"– ({REQUESTS[dialect][position]})"
    path, before = x.path, x.body.raw
    await stage.request(x)
    left = sent(x)
    if position in BODIES:
        assert restored(plain(left.decode())) == plain(before.decode()), "something else changed"
        assert VALUE not in plain(left.decode()) and "<PERSON_1>" in plain(left.decode())
    else:
        found = strings(json.loads(left))
        assert strings(json.loads(before)) == [restored(text) for text in found], "something else changed"
        assert not any(VALUE in text or str(NUMBER) in text for text in found)
    assert restored(plain(x.path)) == plain(path) and VALUE not in plain(x.path)
    assert not any(VALUE in text.text or json.dumps(VALUE)[1:-1] in text.text for text in x.call.texts)
    assert VALUE not in (x.call.model or "")
    return "replaced"


async def asked(stage: Redact, dialect: str, position: str, *, stream: bool) -> Any:
    """A call in which the value was replaced: that of the same position, or where there is none another."""
    for name in (position, *REQUESTS[dialect]):
        if x := call(dialect, name, stream=stream):
            await stage.request(x)
            return x
    raise AssertionError(dialect)


async def json_cell(stage: Redact, dialect: str, position: str) -> str:
    """What becomes of the placeholder in this position of a JSON answer."""
    docs, _, why = ANSWERS[dialect]
    if position not in docs:
        return f"– ({why})"
    back = back_json(stage, await asked(stage, dialect, position, stream=False), docs[position])
    assert strings(back) == [restored(text) for text in strings(docs[position])]
    return "restored"


async def stream_cell(stage: Redact, dialect: str, position: str) -> str:
    """What becomes of it in a stream."""
    _, streams, why = ANSWERS[dialect]
    if position not in streams:
        return f"– ({why})"
    raw = b"".join(b"data: " + json.dumps(doc).encode() + b"\n\n" for doc in streams[position])
    for size in (len(raw), 5):
        back = back_stream(stage, await asked(stage, dialect, position, stream=True), raw, (size,))
        docs = [json.loads(event[6:]) for event in back.decode().split("\n\n") if event]
        assert len(docs) == len(streams[position])
        texts: dict[str, str] = {}
        for number, doc in enumerate(docs):
            for text in DIALECTS[dialect].event_texts(doc):
                channel = text.channel or f"whole {number} {text.path}"
                texts[channel] = texts.get(channel, "") + text.text
        whole = strings(list(texts.values())) + strings(docs)
        assert any(VALUE in text or str(NUMBER) in text for text in whole)
        assert "PERSON" not in back.decode() and "CARD" not in back.decode()
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
    assert all(set(positions) - set(BODIES) == set(POSITIONS) for positions in REQUESTS.values())
    assert set(BODIES) <= set(REQUESTS["generic"])


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
