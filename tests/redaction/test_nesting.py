from __future__ import annotations

import json
import re

import pytest

from mitmesh.redaction.nesting import Nesting
from mitmesh.redaction.placeholders import Table

KEY = '-----BEGIN\n"key"\\\n'
TABLE = Table({"KEY_1": KEY})


def nested(depth: int) -> str:
    """A document that lies in so many others, with a placeholder at its bottom."""
    text = json.dumps({"a": ["\\", '"', {"k": "<KEY_1>"}], "b": "<KEY_1>"})
    for _ in range(depth):
        text = json.dumps({"say": "x [", "file": f" {text}", "n": [1]})
    return text


def innermost(text: str, depth: int) -> dict[str, object]:
    doc: dict[str, object] = json.loads(text)
    for _ in range(depth):
        doc = json.loads(str(doc["file"]))
    return doc


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_a_value_is_escaped_as_often_as_it_lies_in_strings(depth: int, size: int) -> None:
    """However the text is cut, each document in it stays valid and has the value."""
    nesting, out = Nesting(), ""
    for piece in re.split("(<KEY_1>)", nested(depth)):  # a stream gives placeholders whole
        step = len(piece) if piece == "<KEY_1>" else size
        out += "".join(TABLE.restore(piece[at : at + step], nesting) for at in range(0, len(piece), step))
    doc = innermost(out, depth)
    assert doc == {"a": ["\\", '"', {"k": KEY}], "b": KEY}


def test_quotes_in_words_are_no_document() -> None:
    """What a string quotes without being JSON is not escaped twice."""
    said = json.dumps({"text": 'he said "<KEY_1>"'})
    assert json.loads(TABLE.restore(said, Nesting())) == {"text": f'he said "{KEY}"'}
