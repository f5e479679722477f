from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import spacy

from mitmesh.redaction.finder import Finder
from mitmesh.redaction.modeling import ModelMissing, load_models
from mitmesh.redaction.search import Searcher
from mitmesh.rules import Pii, PiiModel, PiiPattern, Rules

TEXT = "Please tell Ada Lovelace of Byron Street that x@example.com is wrong. " * 100


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spaCy model on disk that knows one person and one street."""
    nlp = spacy.blank("en")
    ruler: Any = nlp.add_pipe("entity_ruler")
    ruler.add_patterns([{"label": "PERSON", "pattern": "Ada Lovelace"}, {"label": "FAC", "pattern": "Byron Street"}])
    path = tmp_path_factory.mktemp("models") / "names"
    nlp.to_disk(path)
    return path


def said(searcher: Searcher, text: str) -> list[tuple[str, str, str]]:
    return [(str(each.type), text[each.start : each.end], each.rule_id) for each in searcher.find(text)]


def rule(kind: str, name: str, **entities: str) -> Pii:
    return Pii.model_validate({"models": [{"id": "names", "kind": kind, "name": name, "entities": entities}]})


def test_spacy(folder: Path) -> None:
    """The labels that the rule names are found in all of a long text, beside what has a form; others are not."""
    found = said(Searcher(rule("spacy", str(folder), PERSON="PERSON")), TEXT)
    assert found.count(("PERSON", "Ada Lovelace", "names")) == 100
    assert found.count(("EMAIL", "x@example.com", "email")) == 100
    assert len(found) == 200


def stand_in(found: list[tuple[str, str, float]], score: str) -> Any:
    """What a model library answers for a text: each word given, under its label."""

    def predict(text: str, *_: Any, **__: Any) -> list[dict[str, Any]]:
        return [
            {score: label, "start": text.index(word), "end": text.index(word) + len(word), "score": sure}
            for word, label, sure in found
            if word in text
        ]

    return predict


def test_gliner(monkeypatch: pytest.MonkeyPatch) -> None:
    """GLiNER is asked for the rule's labels, from the disk alone."""
    asked: list[Any] = []

    class GLiNER:
        def predict_entities(self, text: str, labels: list[str]) -> list[dict[str, Any]]:
            asked.append(labels)
            return list(stand_in([("Ada", "person", 0.9), ("Byron", "person", 0.2)], "label")(text))

        @classmethod
        def from_pretrained(cls, name: str, local_files_only: bool) -> GLiNER:
            asked.append((name, local_files_only))
            return cls()

    module = ModuleType("gliner")
    module.GLiNER = GLiNER  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gliner", module)
    searcher = Searcher(rule("gliner", "local/model", person="PERSON"))
    assert said(searcher, "Ada met Byron") == [("PERSON", "Ada", "names")]
    assert asked == [("local/model", True), ["person"]]


def test_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token-classification pipeline, from the disk alone; a label the rule does not name is left."""
    made: list[Any] = []

    def pipeline(task: str, **options: Any) -> Any:
        made.append((task, options))
        return stand_in([("Ada", "PER", 0.9), ("London", "LOC", 0.9)], "entity_group")

    module = ModuleType("transformers")
    module.pipeline = pipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    assert said(Searcher(rule("transformers", "m", PER="PERSON")), "Ada in London") == [("PERSON", "Ada", "names")]
    ((task, options),) = made
    assert task == "token-classification" and options["model_kwargs"] == {"local_files_only": True}


@pytest.mark.parametrize("kind", ["spacy", "gliner", "transformers"])
def test_a_model_that_is_missing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is downloaded: it is said which rule, and what to do."""
    for name in ("gliner", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]
    with pytest.raises(ModelMissing, match=r"models: names: .*install"):
        load_models(rule(kind, "no_such_model", PERSON="PERSON").models)


def test_a_model_that_is_broken(tmp_path: Path) -> None:
    """A folder that is no model is one line too."""
    with pytest.raises(ModelMissing, match="cannot be loaded"):
        load_models(rule("spacy", str(tmp_path), PERSON="PERSON").models)


def test_one_spacy_model_at_most(folder: Path) -> None:
    """A second tokenizer would never be used."""
    model = PiiModel(id="a", kind="spacy", name=str(folder))
    with pytest.raises(ModelMissing, match="at most"):
        load_models([model, model.model_copy(update={"id": "b"})])


@pytest.mark.slow
async def test_in_the_pool(folder: Path) -> None:
    """With a model in the workers health says that names are found, and by what."""
    pii = rule("spacy", str(folder), PERSON="PERSON")
    pii = pii.model_copy(update={"patterns": [PiiPattern(id="x", regex="never-there")]})
    finder = Finder()
    finder.configure(Rules(pii=pii))
    await finder.start()
    try:
        health = finder.health()
        assert health.persons and health.models == (str(folder),)
        (found,) = await finder.find(["Ada Lovelace"])
        assert [each.type for each in found] == ["PERSON"]
    finally:
        await finder.stop()
