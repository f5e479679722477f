from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh.rules import RulesError
from mitmesh.rules.tree import overlay, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ("# nothing\n", {}),
        ("---\n", {}),
        ("a: 1\nb: 0x10\nc: 012", {"a": 1, "b": 16, "c": "012"}),
        ("a: true\nb: False\nc: yes", {"a": True, "b": False, "c": "yes"}),
        ("a: 2.50\nb: 2026-01-31", {"a": "2.50", "b": "2026-01-31"}),
        ("a:\nb: {c: ~}", {"b": {"c": None}}),
        ("a: [x, 'y', \"z\"]", {"a": ["x", "y", "z"]}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("1: x", {"1": "x"}),
        ("\ufeffa: 1", {"a": 1}),
    ],
)
def test_values(text: str, value: object) -> None:
    """YAML is read as data; numbers with a point and dates keep their digits; an empty section is as if absent."""
    assert read("f.yaml", text.encode()).plain() == value


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a: 1\nb: \xff", "f.yaml:2: is not UTF-8"),
        (b"a: \x00", "f.yaml: holds characters that YAML does not allow"),
        (b"a: 1\na: 2", "f.yaml:2: a: is given twice; keep one"),
        (b"x:\n  a: 1\n  a: 2", "f.yaml:3: x.a: is given twice; keep one"),
        (b"x: [{id: p}, {id: q},\n {id: p}]", "f.yaml:2: x[2].id: the id 'p' is given twice"),
        (b"- a", "f.yaml:1: must be a mapping"),
        (b"text", "f.yaml:1: must be a mapping"),
        (b"a: [", "f.yaml:1: is not YAML here"),
        (b"a: 1\n b: 2", "f.yaml:2: is not YAML here"),
        (b"a: {b: 'sk-secret}", "f.yaml:1: is not YAML here"),
        (b"a:\n  - *.x.com", "f.yaml:2: put patterns that begin with `*` in quotes"),
        (b"a: 1\n---\na: 2", "f.yaml:2: `---` begins a second document"),
        (b"a: !!python/object:os.system x", "f.yaml:1: a: YAML tags"),
        (b"a: !x y", "f.yaml:1: a: YAML tags"),
        (b"? [a, b]\n: 1", "f.yaml:1: a field's name must be a word"),
        (b'a: "\\ud800"', "f.yaml:1: holds half of a surrogate pair"),
        (b"a: &x [*x]", "f.yaml:1: is nested too deep"),
        (b"a: " + b"[" * 50 + b"]" * 50, "f.yaml:1: is nested too deep"),
        (b"a: " + b"[" * 100_000, "f.yaml: is nested too deep"),
        (b"#" * (2**20 + 1), "f.yaml: is larger than 1048576 bytes"),
    ],
)
def test_mistakes(raw: bytes, message: str) -> None:
    """Each mistake names its place and what to do, and quotes no value."""
    with pytest.raises(RulesError) as caught:
        read("f.yaml", raw)
    assert str(caught.value).startswith(message)
    assert "secret" not in str(caught.value)


def test_billion_laughs() -> None:
    """Aliases that multiply are stopped by what they expand to, at once."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    start = time.monotonic()
    with pytest.raises(RulesError, match="more than 50000 entries"):
        read("f.yaml", "\n".join(lines).encode())
    assert time.monotonic() - start < 5


@given(st.binary(max_size=60) | st.text("ab:-[]{}&*!#'\"\n ,|>?~1.", max_size=60).map(str.encode))
@settings(max_examples=300, deadline=None)
def test_any_bytes(raw: bytes) -> None:
    """Any file is a mapping or a RulesError."""
    try:
        tree = read("f.yaml", raw)
    except RulesError as error:
        assert str(error).startswith("f.yaml")
    else:
        assert isinstance(tree.plain(), dict)


def test_overlay() -> None:
    """Mappings merge deep; local list entries come first and replace those of the same id; scalars are replaced."""
    base = read("f.yaml", b"m: {a: 1, b: {c: 2, d: 3}}\nl: [{id: x, v: 1}, {id: y, v: 2}]\ns: [1, 2]\nk: 1")
    local = read("local/f.yaml", b"m: {b: {c: 9}, e: 5}\nl: [{id: z}, {id: x, w: 7}]\ns: [3]\nk: [4]")
    merged = overlay(base, local)
    assert merged.plain() == {
        "m": {"a": 1, "b": {"c": 9, "d": 3}, "e": 5},
        "l": [{"id": "z"}, {"id": "x", "w": 7}, {"id": "y", "v": 2}],
        "s": [3, 1, 2],
        "k": [4],
    }
    assert merged.follow(("l", 2, "v"))[0].where() == "f.yaml:2: l[1].v"
    assert merged.follow(("l", 1, "w"))[0].where() == "local/f.yaml:2: l[1].w"
    assert merged.follow(("l", 1, "nothing", "here"))[1] == ("nothing", "here")
