"""Presidio's analyzer over our recognizers: context words, and an operator's models. Runs in the pool's workers.

Its own PatternRecognizers are not used: on a time-out they skip the pattern and go on, which would fail open, and its
spaCy engine downloads a model that is missing.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

import spacy
from presidio_analyzer import (
    AnalysisExplanation,
    AnalyzerEngine,
    EntityRecognizer,
    LemmaContextAwareEnhancer,
    LocalRecognizer,
    RecognizerRegistry,
    RecognizerResult,
)
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

from mitmesh.redaction.findings import Finding
from mitmesh.redaction.personal import Kind

LANGUAGE = "en"
"""Presidio wants one; our patterns and the blank tokenizer serve any."""


class Artifacts(NlpArtifacts):
    """A text in tokens, made when somebody asks for them: most texts have nothing found in them, and no context to
    look at. A blank pipeline has no lemmas, without which context is silently off: they are the words then."""

    def __init__(self, text: str, engine: Tokens) -> None:
        self._text, self._engine = text, engine

    def __getattr__(self, name: str) -> Any:
        if name not in ("tokens", "tokens_indices", "lemmas", "keywords", "entities"):
            raise AttributeError(name)
        self.tokens = self._engine.pipeline(self._text)
        for token in self.tokens:
            if not token.lemma_:
                token.lemma_ = token.lower_
        self.tokens_indices = [token.idx for token in self.tokens]
        self.lemmas = [token.lemma_ for token in self.tokens]
        # All but signs are context; stop words too: `call` is one, and telling.
        # As a set, for it is only asked what is in it: a list made that quadratic.
        self.keywords: Any = {lemma.lower() for lemma in self.lemmas if any(char.isalnum() for char in lemma)}
        self.entities = list(self.tokens.ents)
        return self.__dict__[name]


class Tokens(NlpEngine):
    """A spaCy pipeline as Presidio's NLP engine: blank, or an operator's."""

    def __init__(self, pipeline: Any | None = None) -> None:
        self.pipeline = pipeline or spacy.blank(LANGUAGE)
        self.pipeline.max_length = 10_000_000  # what is given to it is cut before

    def load(self) -> None:
        """It is."""

    def is_loaded(self) -> bool:
        """Always."""
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        """The text in tokens, once they are asked for."""
        return Artifacts(text, self)

    def process_batch(
        self, texts: Any, language: str, batch_size: int = 1, n_process: int = 1, **_: Any
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        """One after the other."""
        return ((text, self.process_text(text, language)) for text in texts)

    def is_stopword(self, word: str, language: str) -> bool:
        """No word is."""
        return False

    def is_punct(self, word: str, language: str) -> bool:
        """Signs are no context."""
        return not any(char.isalnum() for char in word)

    def get_supported_entities(self) -> list[str]:
        """Those of its recognizers, which are asked themselves."""
        return []

    def get_supported_languages(self) -> list[str]:
        """The one."""
        return [LANGUAGE]


class Found(RecognizerResult):
    """A result. The context enhancer copies all of them deeply, which costs more than finding them."""

    def __deepcopy__(self, _: dict[int, Any]) -> Found:
        return copy.copy(self)


class Context(LemmaContextAwareEnhancer):
    """Presidio's own, by whole words, with two searches that are not linear in the text: of dense texts these
    took most of the time."""

    @staticmethod
    def _find_index_of_match_token(word: str, start: int, tokens: Any, tokens_indices: list[int]) -> int:
        at = bisect_right(tokens_indices, start) - 1
        if at >= 0 and (tokens_indices[at] == start or start < tokens_indices[at] + len(tokens[at])):
            return at
        if at + 1 < len(tokens_indices):
            return at + 1
        raise ValueError("a finding lies behind the last token")  # as Presidio's, without the word

    @staticmethod
    def _find_supportive_word_in_context(
        context_list: list[str], recognizer_context_list: list[str], matching_mode: str = "whole_word"
    ) -> str:
        near = {word.lower() for word in context_list}
        return next((word for word in recognizer_context_list if word.lower() in near), "")


class Recognizer(LocalRecognizer):
    """A Kind as Presidio wants it; its name is the rule's id."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        super().__init__(supported_entities=[kind.type], name=kind.rule_id, context=list(kind.context) or None)

    def load(self) -> None:
        """Nothing to load."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts) -> list[RecognizerResult]:
        """What the Kind finds."""
        return [result(self, self.kind.type, *span) for span in self.kind.find(text)]


def result(recognizer: Any, entity: str, start: int, end: int, score: float) -> RecognizerResult:
    """A result as the context enhancer wants it: with an explanation it can write to, and its recognizer's id."""
    return Found(
        entity, start, end, score,
        analysis_explanation=AnalysisExplanation(recognizer=str(recognizer.name), original_score=score),
        recognition_metadata={
            RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: recognizer.id,
            RecognizerResult.RECOGNIZER_NAME_KEY: recognizer.name,
        },
    )  # fmt: skip


class Analyzer:
    """Presidio's engine with our recognizers and whatever the models bring."""

    def __init__(
        self, kinds: Sequence[Kind], pipeline: Any | None = None, more: Sequence[EntityRecognizer] = ()
    ) -> None:
        recognizers = [Recognizer(kind) for kind in kinds] + list(more)
        self._engine = AnalyzerEngine(
            registry=RecognizerRegistry(recognizers=recognizers, supported_languages=[LANGUAGE]),
            nlp_engine=Tokens(pipeline),
            supported_languages=[LANGUAGE],
            context_aware_enhancer=Context(
                context_prefix_count=6, context_suffix_count=4, context_matching_mode="whole_word"
            ),
        )
        self._entities = self._engine.get_supported_entities(LANGUAGE)

    def find(self, text: str, least: float) -> list[Finding]:
        """What is found in one piece of text with at least this score, overlapping ones too."""
        results = self._engine.analyze(text, LANGUAGE, entities=self._entities, score_threshold=least)
        name = RecognizerResult.RECOGNIZER_NAME_KEY
        return [
            Finding(each.start, each.end, each.entity_type, each.recognition_metadata[name], min(each.score, 1.0))
            for each in results
        ]
