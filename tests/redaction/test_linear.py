from __future__ import annotations

import re

import pytest
import re2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mitmesh.redaction.linear import Untranslatable, plain, translated
from mitmesh.redaction.prefilter import ANCHOR
from mitmesh.redaction.secrets import term
from mitmesh.rules import PiiTerm
from redactions import shipped_pii

PATTERNS = [
    r"a{3}b", r"x{2,}", r"y{,3}z", r"z{40,400}", "a++b", "(?>ab|a)c", "(?:ab){1,2}?c", "[]a]", "[^]a]", "[a-]",
    r"[\w.+-]", r"[^\W_]", "[[:alpha:]]", "{", "a{,", "a{x}", r"\x41\u0042", r"\.", "(?i)key", "(?i:k)EY",
    "a(?-i:b)", "(?s).", ".",  "(?m)^a$", "a$", "^a", r"\Aa\Z", r"\ba\B",
    r"(?<!\w)a(?!\w)", "(?=a)[ab]", "(?P<name>a)", "a|b|",
    "(?x) a b # c",
    "#&~", r"\t\n\r\f", r"[\t-\r]",
]  # fmt: skip
PIECES = st.text(st.sampled_from("abcABCkeyKEYxyz]-[.+_{,} \n\t#&~Qalph:—😀"), max_size=60)


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_it_finds_all_that_the_pattern_finds(pattern: str, data: st.DataObject) -> None:
    """Where `re` finds something, RE2 does, in texts made of what the pattern takes and of others."""
    text = data.draw(st.one_of(PIECES, st.from_regex(pattern).filter(plain)))
    if re.search(pattern, text):
        assert re2.search(translated(pattern), text)


_LOOKS = re.compile(r"\(\?<?[=!](?:[^()\[\]\\]|\\.|\[[^\]]*\])*\)")
"""The simple ones; texts made for a pattern with them would hardly ever pass."""


@pytest.mark.parametrize("rule", shipped_pii().patterns, ids=lambda rule: rule.id)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_pattern_of_ours(rule: object, data: st.DataObject) -> None:
    """So for what is shipped, alone and among words."""
    pattern = rule.regex  # type: ignore[attr-defined]
    made = data.draw(st.from_regex(_LOOKS.sub("", pattern), alphabet=st.characters(min_codepoint=9, max_codepoint=126)))
    text = data.draw(st.sampled_from(["{}", "so: {}, he said", "\n{}\n"])).format(made)
    if plain(text) and re.search(pattern, text):
        assert re2.search(translated(pattern), text)


ANCHORS = [
    "@", "%40", "4155", "550123", ".", "203.0.113.7", "fe80::1", "DE89", "3704 0044 0532 013000", "://",
    "WWW.",
    "x.com", "website", "b.io", " ", "\n", "—",
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(ANCHORS), max_size=12).map("".join))
def test_the_anchors(text: str) -> None:
    """So for the places where personal data can be."""
    if re.search(ANCHOR, text):
        assert re2.search(translated(ANCHOR), text)


def test_a_term_in_any_case() -> None:
    """A word of the rules is found as it is by `re`: in any case, with signs in it."""
    pattern = translated(term(PiiTerm(id="t", words=["project night*", "Müller"])))
    assert re2.search(pattern, "the PROJECT NIGHT*.") and not re2.search(pattern, "the project")


@pytest.mark.parametrize("pattern", [r"(a)\1", r"(?P<x>a)(?P=x)", "(a)?(?(1)b|c)"])
def test_what_it_cannot_say(pattern: str) -> None:
    """A pattern that refers to what it matched is no matter for RE2."""
    with pytest.raises(Untranslatable, match="RE2 has no groupref"):
        translated(pattern)


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [("a line\n", True), ("it’s — “so” 😀", True), ("é", False), ("\u0660", False), ("\u00a0", False),
     ("\u212a", False), ("a\x0bb", False), ("a\x1cb", False), ("\ud800", False), ("", True), ("中", False)],
)  # fmt: skip
def test_for_which_texts_it_holds(text: str, is_plain: bool) -> None:
    """ASCII, and signs beyond it that nobody takes for a letter, a digit or a space."""
    assert plain(text) is is_plain
