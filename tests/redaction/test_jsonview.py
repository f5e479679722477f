from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitmesh.redaction.jsonview import JsonView

texts = st.text(alphabet=st.sampled_from('ab@"\\/\n\té🦊{}[]:,<1'), max_size=8)
documents = st.recursive(
    st.none() | st.integers() | texts,
    lambda below: st.lists(below, max_size=3) | st.dictionaries(texts, below, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        (r'{"a": "b\u0040c"}', '{"a": "b@c"}'),
        (r'{"a": "x\nbob"}', '{"a": "x\nbob"}'),
        (r'{"a": "\ud83e\udd8a!"}', '{"a": "🦊!"}'),
        ('{"a": 1, "b', '{"a": 1, "b'),
        (r'{"a": "\q"}', r'{"a": "\q"}'),
    ],
)
def test_as_read(raw: str, read: str) -> None:
    """Strings are read without their escapes; what is no JSON is read as it stands."""
    assert JsonView(raw).text == read


def test_edit_keeps_the_rest() -> None:
    """An edit in one string leaves every other byte, escapes and spacing included."""
    view = JsonView(r'{ "a":"\u0041 bob\u0040x.de \n",  "b" : "\/"}')
    at = view.text.index("bob@x.de")
    assert view.within(at, at + 8) == [(at, at + 8)]
    assert view.edited([(at, at + 8, "<E_1>")]) == r'{ "a":"\u0041 <E_1> \n",  "b" : "\/"}'


def test_number_becomes_a_string() -> None:
    """A number that must go is replaced whole, by a string."""
    view = JsonView('{"card": 4111111111111111}')
    at = view.text.index("4111")
    assert view.within(at, at + 5) == [(at, at + 16)]
    assert json.loads(view.edited([(at, at + 16, "<CARD_1>")])) == {"card": "<CARD_1>"}


def test_finding_across_strings() -> None:
    """A finding that crosses strings is cut at their quotes."""
    view = JsonView('["Ann", "Lee"]')
    assert view.within(2, 12) == [(2, 5), (9, 12)]


def test_edit_between_two_backslashes() -> None:
    """A path or a domain in JSON within JSON has four for each of them, and a finding may stand behind them."""
    raw = json.dumps({"a": r'{"b": "C:\\"}, ' + "\\\\bob"})
    view = JsonView(raw)
    for start in range(len(view.text)):
        for end in range(start + 1, len(view.text) + 1):
            json.loads(view.edited([(a, b, "<X_1>") for a, b in view.within(start, end)]))


@given(documents, st.booleans(), st.data())
def test_any_edit_is_valid(doc: Any, ascii_: bool, data: st.DataObject) -> None:
    """Whatever span is edited, the document stays valid JSON, and without edits it stays as it is."""
    raw = json.dumps(doc, ensure_ascii=ascii_)
    view = JsonView(raw)
    assert view.edited([]) == raw
    start = data.draw(st.integers(0, len(view.text)))
    end = data.draw(st.integers(start, len(view.text)))
    parts = view.within(start, end)
    json.loads(view.edited([(a, b, "<X_1>") for a, b in parts]))
