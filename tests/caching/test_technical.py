"""Signs of code, spaces and words as what a text is about."""

from __future__ import annotations

import pytest

from mitmesh.caching.technical import named, talks_of_code, talks_of_spaces, talks_of_words


@pytest.mark.parametrize(
    ("text", "code", "spaces", "words"),
    [
        ("Which planets are far away", False, False, False),
        ("Rename colour", True, False, False),
        ("the CSS Property", True, False, False),
        ("What does the regex match", True, True, False),
        ("Indented by tabs", False, True, False),
        ("A synonym of happy", False, False, True),
        ("What does it mean", False, False, True),
    ],
)
def test_what_a_text_speaks_of(text: str, code: bool, spaces: bool, words: bool) -> None:
    assert (talks_of_code(text), talks_of_spaces(text), talks_of_words(text)) == (code, spaces, words)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("What is in the users table", {"users"}),
        ("What does the colour attribute of it do", {"colour"}),
        ("Is the PATH variable set", {"PATH", "set"}),
        ("Read the file named Notes", {"named", "Notes"}),
        ("What does git fetch do", {"fetch"}),
        ("Remove method or not", {"remove"}),
        ("the qzabc function acts", {"qzabc"}),
        ("a service handling variable traffic", {"traffic"}),
        ("a table, a tag", set()),
        ("", set()),
    ],
)
def test_likely_names(text: str, names: set[str]) -> None:
    """The words right beside what bears a name, as written."""
    known = {"the", "a", "of", "or", "in", "is"}
    assert named(text, text.lower().replace(",", "").split(), known) == names
