"""The registry of dialects."""

from __future__ import annotations

import json

import pytest

from mitmesh.dialects import DIALECTS, get
from mitmesh.dialects.base import Dialect, Refusal

REFUSAL = Refusal(429, "over_budget", "The budget is spent.", "team-daily", "01ARZ3NDEKTSV4RRFFQ69G5FAV", 30)


def test_every_dialect_goes_by_its_name() -> None:
    """The registry holds the six dialects under their own names."""
    assert {"openai_chat", "openai_responses", "openai_embeddings", "anthropic", "gemini", "generic"} == set(DIALECTS)
    for name, dialect in DIALECTS.items():
        assert dialect.name == name
        assert get(name) is dialect


def test_an_unknown_name_is_a_key_error() -> None:
    """There is no default dialect."""
    with pytest.raises(KeyError):
        get("smtp")


def test_native_providers() -> None:
    """A client's credential goes to the provider whose own format it speaks, and generic JSON is nobody's."""
    assert (get("anthropic").native, get("gemini").native, get("generic").native) == ("anthropic", "google", "")


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_every_dialect_writes_every_method(name: str) -> None:
    """No dialect leaves a method of the base unwritten."""
    kind = type(get(name))
    optional = {"ask_usage", "only_usage", "ends", "more", "structured", "keeps", "stop", "cap_output", "choices"}
    for method in [key for key, value in vars(Dialect).items() if callable(value) and key not in optional]:
        if not method.startswith("_"):
            assert getattr(kind, method) is not getattr(Dialect, method), method


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_refusals_are_json_with_the_message(name: str) -> None:
    """Every dialect's refusal is a JSON object that says why and names the exchange."""
    body = get(name).refusal(REFUSAL).decode()
    assert isinstance(json.loads(body), dict)
    assert REFUSAL.message in body
    assert REFUSAL.exchange in body


@pytest.mark.parametrize("name", sorted(DIALECTS))
@pytest.mark.parametrize("doc", [None, 5, "x", [], [1], {}, {"error": 5}, {"error": {"type": []}}, {"choices": [None]}])
def test_reading_an_answer_never_raises(name: str, doc: object) -> None:
    """A malformed answer gives an incomplete Answer, not an exception."""
    dialect = get(name)
    dialect.read_answer(doc)
    dialect.answer_texts(doc)
    dialect.event_texts(doc)
    assert all(isinstance(channel, str) for channel in dialect.ends(doc))
    assert dialect.structured(doc) is False
    assert isinstance(dialect.keeps(doc), bool)
