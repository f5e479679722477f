"""The splicer by itself; that it does what Body asks is tested in test_jsontext.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from mitmesh.wire.splice import Edit, Edits, splice


def calls_made(work: Callable[[], object]) -> int:
    """Function calls, C ones included: time that does not depend on the machine."""
    calls = 0

    def count(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def test_many_edits_take_one_pass() -> None:
    """Ten times the edits are about ten times the work, not a hundred times."""

    def steps(count: int) -> int:
        text = json.dumps([{"text": "x"}] * count)
        edits: Edits = {index: {"text": Edit.REPLACE} for index in range(count)}
        return calls_made(lambda: splice(text, [{"text": "y"}] * count, edits))

    assert steps(1000) < 12 * steps(100)


def test_what_lies_behind_the_last_edit_is_not_read() -> None:
    """A new member at the root, or an edit near the beginning, costs the same in a long body as in a short one."""

    def steps(count: int) -> int:
        doc = {"model": "m", **{f"k{number}": number for number in range(count)}, "new": 1}
        text = json.dumps({key: value for key, value in doc.items() if key != "new"})
        return calls_made(lambda: splice(text, doc, {"model": Edit.REPLACE, "new": Edit.INSERT}))

    assert steps(1000) == steps(10)


def test_values_come_from_the_document() -> None:
    """A value is written as the document has it when it is spliced, compact and in UTF-8."""
    text = '{"a" : {"b": [1, 2]} }'
    assert splice(text, {"a": {"b": [1, {"é": 2}]}}, {"a": {"b": {1: Edit.REPLACE}}}) == '{"a" : {"b": [1, {"é":2}]} }'
    assert splice(text, {"a": {"b": [], "c": 3}}, {"a": {"c": Edit.INSERT}}) == '{"a" : {"b": [1, 2],"c":3} }'
