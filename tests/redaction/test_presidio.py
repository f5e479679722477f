from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from presidio_analyzer import LemmaContextAwareEnhancer

from mitmesh.redaction.personal import Kind
from mitmesh.redaction.presidio import Analyzer, Context, Tokens


def number(text: str) -> Iterator[tuple[int, int, float]]:
    """The first 123, doubtfully."""
    if "123" in text:
        yield text.index("123"), text.index("123") + 3, 0.3


ANALYZER = Analyzer([Kind("NUMBER", "number", number, ("lic", "café"))])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("lic 123", True),
        ("LIC: 123", True),
        ("the lic of this is 123", True),
        ("123 is my lic", True),
        ("Café 123", True),
        ("public 123", False),
        ("licence 123", False),
        ("lic" + " word" * 10 + " 123", False),
        ("123", False),
    ],
)
def test_context_is_whole_words_near_by(text: str, found: bool) -> None:
    """A blank pipeline has lemmas, or context would be silently off; `public` is not `lic`."""
    results = ANALYZER.find(text, 0.5)
    assert [(each.rule_id, text[each.start : each.end]) for each in results] == ([("number", "123")] if found else [])
    assert ANALYZER.find(text, 0.2) or "123" not in text


def test_tokens_are_made_only_when_asked_for() -> None:
    """A text in which nothing is found costs no tokenizer."""
    engine = Tokens()
    artifacts = engine.process_text("Two words.", "en")
    assert "tokens" not in vars(artifacts)
    assert artifacts.lemmas == ["two", "words", "."] and artifacts.keywords == {"two", "words"}
    assert artifacts.tokens_indices == [0, 4, 9] and not artifacts.entities
    with pytest.raises(AttributeError):
        _ = artifacts.nothing
    assert next(iter(engine.process_batch(["a b"], "en")))[1].lemmas == ["a", "b"]


@settings(deadline=None)  # the first one loads the tokenizer
@given(st.lists(st.sampled_from(["a", "lic ", "123", ", ", " word", "\n", "é "]), min_size=1, max_size=30).map("".join))
def test_context_as_presidio_has_it(text: str) -> None:
    """What is looked up faster is the same token, and the same context."""
    tokens = Tokens().process_text(text, "en")
    fast, slow = (
        Context(context_matching_mode="whole_word"),
        LemmaContextAwareEnhancer(context_matching_mode="whole_word"),
    )
    for start in [at for at, char in enumerate(text) if not char.isspace()]:
        at = (text[start:], start, tokens.tokens, tokens.tokens_indices)
        assert fast._find_index_of_match_token(*at) == slow._find_index_of_match_token(*at)
    for near in (list(tokens.keywords), [], ["LIC"]):
        wanted = (near, ["word", "Lic"], "whole_word")
        assert fast._find_supportive_word_in_context(*wanted) == slow._find_supportive_word_in_context(*wanted)
