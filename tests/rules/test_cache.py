"""rules/cache.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from mitmesh.rules import RulesError, load

HOST = "hosts:\n  - id: a\n    match: [a.example]\n    provider: p\n"


def loaded(folder: Path, text: str) -> object:
    folder.joinpath("hosts.yaml").write_text(HOST)
    folder.joinpath("cache.yaml").write_text(text)
    return load(folder).cache


def test_numbers_with_a_point(tmp_path: Path) -> None:
    """And whole ones; YAML gives the former as text."""
    rules = loaded(tmp_path, "most_temperature: 0.7\nsemantic:\n  least_similarity: 0.9\n  seconds: 1\n")
    assert rules.most_temperature == 0.7  # type: ignore[attr-defined]
    assert (rules.semantic.least_similarity, rules.semantic.seconds) == (0.9, 1.0)  # type: ignore[attr-defined]


def test_as_shipped(tmp_path: Path) -> None:
    """Nothing is found by meaning; of normalisation only what changes nothing a model answers to."""
    rules = loaded(tmp_path, (Path(__file__).parents[2] / "rules" / "cache.yaml").read_text())
    assert not rules.semantic.enabled  # type: ignore[attr-defined]
    on = {name for name, value in rules.normalise if value}  # type: ignore[attr-defined]
    assert on == {"unicode", "whitespace"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("exact: false\nsemantic:\n  enabled: true\n", "`semantic.enabled` needs `exact: true`"),
        ("semantic:\n  least_similarity: 1.5\n", "cache.yaml:2: semantic.least_similarity"),
        ("semantic:\n  least_similarity: high\n", "cache.yaml:2: semantic.least_similarity"),
        ("semantic:\n  seconds: .nan\n", "cache.yaml:2: semantic.seconds"),
        ("semantic:\n  enabled: true\n  model: other\n", "least_similarity"),
        ("semantic: true\n", "cache.yaml:1: semantic"),
        ("normalise:\n  spaces: true\n", "cache.yaml:2: normalise.spaces"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, said: str) -> None:
    """Each names its line and field."""
    with pytest.raises(RulesError, match=said):
        loaded(tmp_path, text)
