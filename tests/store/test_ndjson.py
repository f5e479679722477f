"""Lines of NDJSON."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits import texts
from mitmesh.dialects.base import Kind, Part
from mitmesh.store import ndjson
from mitmesh.store.content import ANSWER, REQUEST, Texts
from mitmesh.store.ndjson import Line, append, dollars, render


def line(prompt: str = "hello", cost: int | None = 1, **fields: Any) -> Line:
    request = Texts("id", REQUEST, "now", tuple(texts(("user", prompt))), True, 1)
    answer = Texts("id", ANSWER, "now", (Part(Kind.TEXT, "hi"),), True, 1)
    values: dict[str, Any] = {"namespace": "n", "team": "t", "model": "m", "total_tokens": 3, "status": 200} | fields
    return Line(id="id", timestamp="now", prompt=request, completion=answer, cost=cost, outcome="answered", **values)


@pytest.mark.parametrize(
    ("micro", "text"),
    [(None, "null"), (0, "0"), (1, "0.000001"), (1_500, "0.0015"), (1_000_000, "1"), (-2_500_000, "-2.5")],
)
def test_dollars(micro: int | None, text: str) -> None:
    """Micro-dollars are written as plain decimal dollars; unknown is null."""
    assert dollars(micro) == text


@given(st.integers(-(10**15), 10**15))
def test_dollars_are_exact(micro: int) -> None:
    """No micro-dollar is lost, however large the sum."""
    assert json.loads(dollars(micro), parse_float=Decimal) * 1_000_000 == micro


@given(st.text(), st.integers(0, 10**12))
def test_a_line_is_one_line_of_json(prompt: str, cost: int) -> None:
    """Whatever a prompt holds, a line is one line and gives it back."""
    raw = render(line(prompt, cost))
    assert raw.count(b"\n") == 1 and raw.endswith(b"\n")
    doc = json.loads(raw, parse_float=Decimal)
    assert doc["prompt_text"] == prompt and doc["cost_usd"] * 1_000_000 == cost


def test_lines_are_appended_to_a_private_file(tmp_path: Path) -> None:
    """The file is made with 0600, grows, and is made anew when it was moved away."""
    path = tmp_path / "calls.ndjson"
    append(path, [line(), line()])
    append(path, [line()])
    assert len(path.read_text().splitlines()) == 3 and path.stat().st_mode & 0o777 == 0o600
    path.rename(tmp_path / "calls.ndjson.1")
    append(path, [line()])
    assert len(path.read_text().splitlines()) == 1


def test_a_disk_that_takes_a_part_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line cut short is ended, so that the next one is whole, and the caller is told."""
    path, write = tmp_path / "calls.ndjson", os.write
    with monkeypatch.context() as patch:
        patch.setattr(ndjson.os, "write", lambda fd, data: write(fd, data[:20]))
        with pytest.raises(OSError, match="part"):
            append(path, [line()])
    append(path, [line()])
    cut, whole = path.read_text().splitlines()
    assert len(cut) == 20 and json.loads(whole)["id"] == "id"
