from __future__ import annotations

from pathlib import Path

import pytest

from mitmesh.rules import Pii, RulesError, load

FOLDER = Path(__file__).parents[2] / "rules"
HOST = "hosts:\n  - id: a\n    match: [a.example]\n    provider: p\n"


def write(folder: Path, text: str) -> Path:
    rules = folder / "rules"
    rules.mkdir(exist_ok=True)
    (rules / "hosts.yaml").write_text(HOST)
    (rules / "pii.yaml").write_text(text)
    return rules


def test_the_file_says_the_defaults(tmp_path: Path) -> None:
    """But for its patterns and the entry for domains, pii.yaml spells out what holds without it."""
    shipped = load(write(tmp_path, (FOLDER / "pii.yaml").read_text())).pii
    assert len(shipped.patterns) > 80
    assert [entry.id for entry in shipped.actions] == ["domains"]
    assert shipped.model_copy(update={"patterns": [], "actions": []}) == Pii()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patterns: [{id: a, regex: '('}]", "regex: must be a regular expression"),
        ("patterns: [{id: a, regex: 'x*'}]", "regex: must not match nothing"),
        ("patterns: [{id: a, regex: x, check: magic}]", "check: must be one of"),
        ("patterns: [{id: a, regex: x, entropy: '99'}]", "entropy"),
        ("patterns: [{id: a, type: lower, regex: x}]", "type"),
        ("patterns: [{id: a, regex: x}, {id: a, regex: y}]", "given twice"),
        ("actions: [{id: a, action: drop}]", "action: must be one of"),
        ("actions: [{id: a, action: mask, provenance: [nobody]}]", "provenance"),
        ("actions: [{id: a, types: [EMAIL, EMAILS], action: mask}]", r"types\[1\]: nothing finds the type 'EMAILS'"),
        ("skip: [PHNE]", r"skip\[0\]: nothing finds the type 'PHNE'"),
        ("terms: [{id: a, words: []}]", "words: must not be empty"),
        ("regions: [usa]", "regions"),
        ("models: [{id: a, kind: torch, name: b}]", "kind: must be one of"),
        ("least_score: 0", "least_score"),
        ("acton: mask", "did you mean action"),
    ],
)
def test_mistakes_name_their_field(tmp_path: Path, text: str, message: str) -> None:
    """A rule that cannot be used is one clear line."""
    with pytest.raises(RulesError, match=r"pii\.yaml:1.*" + message):
        load(write(tmp_path, text))


def test_local_patterns_replace_and_add(tmp_path: Path) -> None:
    """An entry of local/ with a shipped id takes its place, another one comes before the shipped ones."""
    rules = write(tmp_path, "patterns: [{id: a, regex: one}, {id: b, regex: two}]")
    (rules / "local").mkdir()
    (rules / "local" / "pii.yaml").write_text("patterns: [{id: b, regex: three}, {id: c, regex: four}]")
    assert [(each.id, each.regex) for each in load(rules).pii.patterns] == [("b", "three"), ("c", "four"), ("a", "one")]


def test_types_that_others_bring(tmp_path: Path) -> None:
    """Those of patterns, terms and models can be named as ours can."""
    text = (
        "patterns: [{id: a, type: BADGE, regex: x}]\nterms: [{id: b, type: PROJECT, words: [xx]}]\n"
        "models: [{id: c, kind: spacy, name: n, entities: {NORP: GROUP}}]\n"
        "actions: [{id: d, types: [BADGE, PROJECT, GROUP, EMAIL], action: mask}]\nskip: [BADGE]"
    )
    assert len(load(write(tmp_path, text)).pii.actions[0].types) == 4
