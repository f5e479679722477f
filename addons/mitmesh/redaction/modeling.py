"""An operator's models for names, streets and organisations: spaCy, GLiNER or transformers. Never downloaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from presidio_analyzer import EntityRecognizer, LocalRecognizer, RecognizerResult

if TYPE_CHECKING:
    from presidio_analyzer.nlp_engine import NlpArtifacts

    from mitmesh.rules.pii import PiiModel


_SPACY_SCORE = 0.85
"""spaCy says no score of its own; this is what Presidio gives its findings."""


class ModelMissing(Exception):
    """A model of the rules cannot be loaded; the message names the rule and what to do."""


def load_models(rules: Sequence[PiiModel]) -> tuple[Any | None, list[EntityRecognizer]]:
    """The spaCy pipeline to tokenize with (None: a blank one) and a recognizer for each model. Raises ModelMissing."""
    pipeline: Any | None = None
    recognizers: list[EntityRecognizer] = []
    for rule in rules:
        if rule.kind == "spacy" and pipeline is None:
            pipeline = _spacy(rule)
            recognizers.append(SpacyNames(rule))
        elif rule.kind == "spacy":
            raise ModelMissing(f"models: {rule.id}: one spaCy model at most")
        elif rule.kind == "gliner":
            recognizers.append(Gliner(rule))
        else:
            recognizers.append(Transformers(rule))
    return pipeline, recognizers


def _spacy(rule: PiiModel) -> Any:
    import spacy

    if not (spacy.util.is_package(rule.name) or Path(rule.name).exists()):
        raise ModelMissing(f"models: {rule.id}: spaCy has no such package or folder; install it beside mitmesh")
    with _loading(rule):
        return spacy.load(rule.name)


@contextmanager
def _loading(rule: PiiModel) -> Iterator[None]:
    """What the libraries say of a model they cannot load, as one line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelMissing(f"models: {rule.id}: cannot be loaded ({type(error).__name__}); is it all there?") from None


class _Names(LocalRecognizer):
    """What the three share: a rule's labels, and results that the analyzer takes."""

    def __init__(self, rule: PiiModel) -> None:
        self.rule = rule
        super().__init__(supported_entities=sorted(set(rule.entities.values())), name=rule.id)

    def load(self) -> None:
        """Loaded when it is made, so that a missing model is known at start."""

    def result(self, label: str, start: int, end: int, score: float) -> list[RecognizerResult]:
        """One result, or none for a label the rule does not name."""
        from mitmesh.redaction.presidio import result

        kind = self.rule.entities.get(label)
        return [result(self, kind, start, end, score)] if kind and start < end else []


class SpacyNames(_Names):
    """The entities that the operator's spaCy pipeline found while it made the tokens."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:
        """Its spans, under our types."""
        return [
            found
            for ent in nlp_artifacts.entities
            for found in self.result(ent.label_, ent.start_char, ent.end_char, _SPACY_SCORE)
        ]


class Gliner(_Names):
    """A GLiNER model: it is asked for the labels that the rule names."""

    def __init__(self, rule: PiiModel) -> None:
        super().__init__(rule)
        try:
            from gliner import GLiNER  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise ModelMissing(f"models: {rule.id}: the gliner package is not installed") from None
        with _loading(rule):
            self.model = GLiNER.from_pretrained(rule.name, local_files_only=True)

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:
        """Its spans, under our types."""
        spans = self.model.predict_entities(text, list(self.rule.entities))
        return [
            found
            for each in spans
            for found in self.result(each["label"], each["start"], each["end"], float(each["score"]))
        ]


class Transformers(_Names):
    """A token-classification model of the transformers library."""

    def __init__(self, rule: PiiModel) -> None:
        super().__init__(rule)
        try:
            from transformers import pipeline  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise ModelMissing(f"models: {rule.id}: the transformers package is not installed") from None
        with _loading(rule):
            self.model = pipeline(
                "token-classification",
                model=rule.name,
                aggregation_strategy="simple",
                model_kwargs={"local_files_only": True},
            )

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:
        """Its spans, under our types."""
        return [
            found
            for each in self.model(text)
            for found in self.result(each["entity_group"], each["start"], each["end"], float(each["score"]))
        ]
