"""Token counts: exact for OpenAI's models, bounded in time for any text, and never from the network."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path

import pytest
import tiktoken
import tiktoken.load
from hypothesis import given, settings
from hypothesis import strategies as st

from mitmesh import tokens


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a socket fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the vocabularies in place of the shipped ones, with nothing loaded yet."""
    copy = tmp_path / "tiktoken"
    shutil.copytree(tokens.VOCABULARIES, copy)
    monkeypatch.setattr(tokens, "VOCABULARIES", copy)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    tokens._load.cache_clear()
    return copy


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("chatgpt-4o-latest", "o200k_base"),
        ("gpt-4.1-mini", "o200k_base"),
        ("gpt-4.5-preview", "o200k_base"),
        ("gpt-5", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("ft:gpt-4o-2024-08-06:org::id", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("GPT-4-turbo", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("openai/gpt-4", "cl100k_base"),
        ("ft:gpt-3.5-turbo-0125:org::id", "cl100k_base"),
        ("gpt-35-turbo", "cl100k_base"),
        ("text-embedding-3-large", "cl100k_base"),
        ("text-embedding-ada-002", "cl100k_base"),
        ("claude-sonnet-4-5", "o200k_base"),
        ("gemini-2.5-pro", "o200k_base"),
        ("llama3", "o200k_base"),
        ("", "o200k_base"),
        (None, "o200k_base"),
        ("/" * 100_000, "o200k_base"),
    ],
)
def test_vocabulary(model: str | None, name: str) -> None:
    """The vocabulary follows the model, and what is unknown gets the newest."""
    assert tokens.encoding_name(model) == name


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "gpt-3.5-turbo", "gpt-5", "o1", "text-embedding-3-small"])
def test_vocabulary_agrees_with_tiktoken(model: str) -> None:
    """Where tiktoken has an opinion, ours is the same."""
    assert tokens.encoding_name(model) == tiktoken.encoding_name_for_model(model)


@pytest.mark.parametrize(
    ("text", "model", "number"),
    [
        ("", "gpt-4o", 0),
        ("hello world", "gpt-4o", 2),
        ("tiktoken is great!", "gpt-4", 6),  # OpenAI's cookbook, "How to count tokens"
        ("antidisestablishmentarianism", "gpt-4", 6),
        ("antidisestablishmentarianism", "gpt-4o", 6),
        ("お誕生日おめでとう", "gpt-4", 9),
        ("お誕生日おめでとう", "gpt-4o", 8),
    ],
)
def test_count(text: str, model: str, number: int) -> None:
    """Counts are those OpenAI publishes."""
    assert tokens.count(text, model) == number


def test_special_tokens_are_text() -> None:
    """A special token in a text is counted as what was typed, not as the control token, and does not raise."""
    assert tokens.count("<|endoftext|>", "gpt-4o") > 1


def test_long_prose_is_exact() -> None:
    """Cutting a long text into chunks does not change the count of ordinary prose and code."""
    text = "The quick brown fox jumps over it; def f(x): return x + 1\n" * 1500
    assert tokens.count(text, "gpt-4o") == len(tokens._encoding("o200k_base").encode_ordinary(text))


@pytest.mark.parametrize("unit", ["a", " ", "\n", "!", "漢", "0", "👍", "aA", "a "])
def test_pathological_texts_are_counted_in_bounded_time(unit: str) -> None:
    """A megabyte of one repeated character takes a moment, not minutes, and is counted about right."""
    start = time.monotonic()
    number = tokens.count(unit * (1_000_000 // len(unit)), "gpt-4o")
    assert time.monotonic() - start < 5
    few = tokens.count(unit * (3_000 // len(unit)), "gpt-4o")
    assert number == pytest.approx(few * 1_000_000 / 3_000, rel=0.15)


def test_huge_texts_are_sampled() -> None:
    """Above the sample's size the count is extrapolated, within a percent for an even text."""
    unit = "one two three four five\n"
    assert tokens.count(unit * 400_000, "gpt-4o") == pytest.approx(6 * 400_000, rel=0.01)


@given(st.text(st.characters(codec=None), max_size=60), st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_any_text_is_counted(text: str, times: int) -> None:
    """No string raises, lone surrogates included; a text that is not empty has tokens."""
    assert (tokens.count(text * times, "gpt-4o") > 0) is bool(text)


@given(st.text(max_size=9_000))
@settings(max_examples=60, deadline=None)
def test_chunks_are_the_text(text: str) -> None:
    """Chunks joined are the text, and none is too long."""
    chunks = list(tokens._chunks(text * 3))
    assert "".join(chunks) == text * 3
    assert all(0 < len(chunk) <= tokens._CHUNK for chunk in chunks)


@pytest.mark.usefixtures("unloaded")
def test_loading_uses_no_network_and_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh load works with no network, wherever tiktoken's own cache variables point."""
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    monkeypatch.setenv("DATA_GYM_CACHE_DIR", "")
    tokens.load()
    assert tokens.count("hello world", "gpt-4") == 2


@pytest.mark.parametrize("damage", ["truncate", "change", "remove"])
def test_a_damaged_vocabulary_is_a_clear_error(unloaded: Path, damage: str) -> None:
    """A damaged file is one error that names the vocabulary; it is neither removed nor downloaded again."""
    file = unloaded / "fb374d419588a4632f3f557e76b4b70aebbca790"
    data = file.read_bytes()
    match damage:
        case "truncate":
            file.write_bytes(data[:-100])
        case "change":
            file.write_bytes(b"x" + data[1:])
        case "remove":
            file.unlink()
    with pytest.raises(tokens.VocabularyError, match=r"o200k_base\.tiktoken"):
        tokens.count("hello", "gpt-4o")
    assert file.exists() is (damage != "remove")


def test_tiktoken_still_reads_through_the_function_we_replace() -> None:
    """tiktoken loads by `read_file_cached` of its load module; if that changes, ours must too."""
    assert "read_file_cached" in tiktoken.load.load_tiktoken_bpe.__code__.co_names
