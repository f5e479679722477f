"""What is not strictly JSON is refused; what is edited changes nowhere else."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.wire.jsontext import LOCATE_LIMIT, BadJSON, BadPath, Body, parse

ok = settings(max_examples=200, deadline=None)

REFUSED: dict[str, tuple[bytes, str, int | None]] = {
    "nothing": (b"", "expecting value", 0),
    "no JSON": (b"hello", "expecting value", 0),
    "two documents": (b"{} {}", "extra data", 3),
    "cut": (b'{"a": "b', "unterminated string starting", 6),
    "offsets are bytes": ('{"ü😀": x}'.encode(), "expecting value", 11),
    "trailing comma": (b'{"a": 1,}', "", None),
    "single quotes": (b"{'a': 1}", "", 1),
    "bare control character": (b'["a\nb"]', "invalid control character", 3),
    "unknown escape": (b'["\\x"]', "invalid \\escape", 2),
    "NUL behind": (b"{}\0\0\0\0", "extra data", 2),
    "NaN": (b'{"a": [1, NaN]}', "NaN or Infinity", 10),
    "Infinity": (b"Infinity", "NaN or Infinity", 0),
    "-Infinity": (b'{"a":-Infinity}', "NaN or Infinity", 5),
    "infinite by exponent": (b'{"a": 1, "b": -1e999}', "number out of range", 14),
    "huge integer": (b"[0, " + b"9" * 5000 + b"]", "integer with too many digits", 4),
    "duplicate key": (b'{"a": {"b": 1}, "b": {"c": 1, "c": 2}}', "duplicate key", 30),
    "duplicate key, spelt otherwise": (b'{"a": 1, "\\u0061": 2}', "duplicate key", 9),
    "duplicate key before rubbish": (b'[{"a": 1, "a": 2}, ]]]:', "duplicate key", 10),
    "UTF-8 that is none": (b'["\xff"]', "invalid UTF-8", 2),
    "raw surrogate": (b'["\xed\xa0\x80"]', "invalid UTF-8", 2),
    "overlong": (b'["\xc0\xaf"]', "invalid UTF-8", 2),
    "byte order mark": (b"\xef\xbb\xbf{}", "byte order mark", 0),
    "UTF-16 with mark": ("{}".encode("utf-16"), "UTF-16", 0),
    "UTF-16 without": ("{}".encode("utf-16-be"), "UTF-16", 0),
    "UTF-32": ("{}".encode("utf-32-le"), "UTF-16 or UTF-32", 0),
    "lone high surrogate": (b'["\\ud83d"]', "lone surrogate", 2),
    "lone low surrogate": (b'["ab\\uDE00"]', "lone surrogate", 4),
    "two high surrogates": (b'["\\ud83d\\ud83d\\ude00"]', "lone surrogate", 2),
    "surrogate in a key": (b'{"\\uD83Dx": 1}', "lone surrogate", 2),
    "surrogate behind an escaped backslash": (b'["\\\\\\ud800"]', "lone surrogate", 4),
    "201 deep": (b"[" * 201 + b"]" * 201, "nested too deeply", 200),
    "201 deep, mixed": (b'[{"a":' * 101 + b"1" + b"}]" * 101, "nested too deeply", 600),
    "far too deep": (b"[" * 100_000, "nested too deeply", 200),
    "far too deep, objects": (b'{"a":' * 20_000, "nested too deeply", 1000),
}


@pytest.mark.parametrize(("body", "what", "offset"), REFUSED.values(), ids=REFUSED)
def test_what_parsers_read_differently_is_refused(body: bytes, what: str, offset: int | None) -> None:
    """Each is a BadJSON that says what is wrong and at which byte."""
    with pytest.raises(BadJSON) as caught:
        parse(body)
    assert what in str(caught.value)
    if offset is not None:
        assert caught.value.offset == offset
        assert str(caught.value).endswith(f"at byte {offset}")


TAKEN = {
    "200 deep": b"[" * 200 + b"]" * 200,
    "brackets in strings are no depth": json.dumps(["[{" * 5000]).encode(),
    "surrogate pairs": b'["\\ud83d\\ude00\\uD83D\\uDE00 \\ud7ff \\ue000"]',
    "an escaped backslash, then u": b'["\\\\ud83d", "\\\\\\\\uDE00"]',
    "same key in two objects": b'[{"a": 1}, {"a": {"a": 1}}]',
    "4300 digits": b"1" * 4300,
    "small numbers": b"[1e-999, 1.5E+3, -0]",
    "white space": b" \t\r\n{ } \n",
    "a scalar": b'"text"',
}


@pytest.mark.parametrize("body", TAKEN.values(), ids=TAKEN)
def test_strict_json_is_read_as_python_reads_it(body: bytes) -> None:
    """Whatever is strictly JSON gives what the standard library gives."""
    assert parse(body) == json.loads(body)


def test_depth_is_a_parameter() -> None:
    """The limit is the deepest that passes, in a body of any size."""
    assert parse(b"[[" + b" " * 1000 + b"]]", depth=2) == [[]]
    with pytest.raises(BadJSON):
        parse(b"[[[" + b" " * 1000 + b"]]]", depth=2)
    with pytest.raises(BadJSON):
        parse(b"[[[]]]", depth=2)


def test_the_content_is_not_in_the_message() -> None:
    """A body may hold secrets; errors do not."""
    for body in (b'{"hunter2": 1, "hunter2": 2}', b"hunter2", b'["hunter2\x01"]', b'["\\hunter2"]', b'{"hunter2" 1}'):
        with pytest.raises(BadJSON) as caught:
            parse(body)
        assert "hunter" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_fault_in_a_large_body_is_refused_without_its_place() -> None:
    """Looking for a place takes time that a refusal is not worth."""
    with pytest.raises(BadJSON) as caught:
        parse(b'{"a": 1, "a": "' + b"x" * LOCATE_LIMIT + b'"}')
    assert str(caught.value) == "duplicate key"
    assert caught.value.offset is None


@ok
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ud8DC0aeE+-.19tnN \n', max_size=60).map(str.encode))
def test_no_bytes_crash_the_parser(body: bytes) -> None:
    """Any bytes give a document in plain UTF-8 text or BadJSON."""
    try:
        json.dumps(parse(body), ensure_ascii=False, allow_nan=False).encode()
    except BadJSON:
        pass


# --- edits ---

texts = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\/\n\t[]{}:, é😀\u2028'), max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda below: st.lists(below, max_size=4) | st.dictionaries(texts, below, max_size=4), max_leaves=12
)


def written(value: Any, pick: random.Random) -> str:
    """`value` as JSON in any of the ways it can be spelt: white space, escapes, number forms."""

    def space() -> str:
        return "".join(pick.choice(" \t\r\n") for _ in range(pick.choice([0, 0, 1, 3])))

    def joined(items: list[str], ends: str) -> str:
        return ends[0] + space() + ",".join(space() + item + space() for item in items) + ends[1]

    def string(text: str) -> str:
        dumped = json.dumps(text, ensure_ascii=pick.random() < 0.5)
        return re.sub(r"^\"([A-Za-z/])", lambda m: f'"\\u{ord(m[1]):04x}', dumped) if pick.random() < 0.3 else dumped

    if isinstance(value, dict):
        pairs = [f"{string(key)}{space()}:{space()}{written(item, pick)}" for key, item in value.items()]
        return joined(pairs, "{}")
    if isinstance(value, list):
        return joined([written(item, pick) for item in value], "[]")
    if isinstance(value, str):
        return string(value)
    if isinstance(value, float):
        return pick.choice([repr(value), f"{value!r}".replace("e", "E"), f"{value:.17e}"])
    return json.dumps(value)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every path that can be set: each value, and a new member in each object."""
    found = [path]
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += paths(item, (*path, key))
    if isinstance(value, dict):
        found.append((*path, "new"))
    return found


def put(doc: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """The same edit on a parsed document."""
    if not path:
        return value
    parent = doc
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return doc


def same(one: Any, other: Any) -> bool:
    """Equal, and 1 is not 1.0 or True."""
    return repr(one) == repr(other)


@ok
@given(values, st.randoms(use_true_random=False), st.data())
def test_an_edited_body_says_what_the_edited_document_says(
    value: Any, pick: random.Random, data: st.DataObject
) -> None:
    """Any edits, in any order, one upon the other: the bytes parse to the document edited likewise."""
    raw = written(value, pick).encode()
    expected, body = parse(raw), Body(raw, parse(raw))
    assert same(expected, value)
    for _ in range(data.draw(st.integers(0, 5))):
        path, new = data.draw(st.sampled_from(paths(expected))), data.draw(values)
        expected = put(expected, path, copy.deepcopy(new))
        body.set(path, new)
    assert same(body.doc, expected)
    assert same(parse(body.render()), expected)
    assert body.changed or body.render() is raw


@ok
@given(values, st.randoms(use_true_random=False), st.data())
def test_all_bytes_around_an_edit_stay(value: Any, pick: random.Random, data: st.DataObject) -> None:
    """Replacing one value leaves what is before and behind it byte for byte."""
    mark = '"<here>"'
    path = data.draw(st.sampled_from([path for path in paths(value) if not path or path[-1] != "new"]))
    old, new = data.draw(values), data.draw(values)
    before, _, behind = written(put(copy.deepcopy(value), path, "<here>"), random.Random(1)).partition(mark)
    raw = (before + written(old, pick) + behind).encode()
    body = Body(raw, parse(raw))
    body.set(path, new)
    if isinstance(old, str) and isinstance(new, str) and old == new:
        assert body.render() == raw
    elif path:
        assert body.render() == (before + json.dumps(new, ensure_ascii=False, separators=(",", ":")) + behind).encode()


TABLE: list[tuple[str, list[tuple[tuple[str | int, ...], Any]], str]] = [
    ('{ "a" : 1.0, "b":[ 1 ,2] }', [(("b", 1), "x")], '{ "a" : 1.0, "b":[ 1 ,"x"] }'),
    ('{ "a": 1 }', [(("b",), 2)], '{ "a": 1,"b":2 }'),
    ('{"a": [1] } \n', [(("b",), 2), (("a", 0), 0), (("c",), 3)], '{"a": [0],"b":2,"c":3 } \n'),
    ("{ }", [(("a",), 1), (("b",), 2)], '{"a":1,"b":2 }'),
    ('{"a":{}}', [(("a", "b"), {}), (("a", "b", "c"), "é")], '{"a":{"b":{"c":"é"}}}'),
    ('{"a":[1, 2]}', [(("a", 0), 5), (("a",), [7]), (("a", 0), 8)], '{"a":[8]}'),
    ('{"a":{"stream":true }}', [(("a", "o"), {"i": True})], '{"a":{"stream":true,"o":{"i":true} }}'),
    ('{"\\u0061": "\\u00e9", "x": "\\/"}', [(("a",), "\n")], '{"\\u0061": "\\n", "x": "\\/"}'),
    (" [1] ", [((), {"all": "new"})], '{"all":"new"}'),
    ('"\\u0041" ', [((), "A")], '"\\u0041" '),
    ('["a"]', [((0,), "a")], '["a"]'),
    ("[1]", [((0,), True)], "[true]"),
]


@pytest.mark.parametrize(("raw", "edits", "expected"), TABLE)
def test_edits_by_example(raw: str, edits: list[tuple[tuple[str | int, ...], Any]], expected: str) -> None:
    """What a person would expect to see."""
    body = Body(raw.encode(), parse(raw.encode()))
    for path, value in edits:
        body.set(path, value)
    assert body.render().decode() == expected
    assert body.changed == (raw != expected)


@pytest.mark.parametrize("path", [("x", "y"), ("a", 0), ("l", 1), ("l", -1), ("l", "0"), ("s", 0), ("l", 0, "z"), (0,)])
def test_a_place_that_is_not_there_cannot_be_set(path: tuple[str | int, ...]) -> None:
    """Only an object's last key may be new, and nothing changes when a set fails."""
    raw = b'{"a": {}, "l": [1], "s": "text"}'
    body = Body(raw, parse(raw))
    with pytest.raises(BadPath):
        body.set(path, "new")
    assert not body.changed
    assert body.render() is raw
    assert body.doc == parse(raw)


@pytest.mark.parametrize("value", [float("nan"), "\ud800", {"a": ["\udfff"]}])
def test_what_json_cannot_say_is_not_rendered(value: Any) -> None:
    """A value from us is held to the same rules as one from a client."""
    body = Body(b'{"a": 1}', {"a": 1})
    body.set(("a",), value)
    with pytest.raises(ValueError, match=r"lone surrogate|not JSON compliant"):
        body.render()


@pytest.mark.parametrize("piece", [b"[],", b"{},", b"1,", b'"a",'])
def test_too_many_values(piece: bytes) -> None:
    """A body of millions of tiny values is refused before it is parsed, for it would take gigabytes."""
    with pytest.raises(BadJSON, match="more than 200,000 values"):
        parse(b"[" + piece * 250_000 + b"1]")


def test_commas_in_text_are_no_values() -> None:
    """However long a text is, and whatever stands in it, it is one value."""
    body = b'["' + b'a, [b], {c} \\" ' * 300_000 + b'"]'
    assert len(parse(body)) == 1
