"""Count tokens where the provider did not say: tiktoken with shipped vocabularies, never the network.

For OpenAI's models the count of a text is exact. For all others (Claude, Gemini, open models) it is an estimate with
o200k_base; whoever stores it flags it so.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import tiktoken
import tiktoken.load

VOCABULARIES = Path(__file__).parent / "data" / "tiktoken"
"""Where the shipped vocabularies lie, named as tiktoken's cache names them: sha1 of the address."""

SAMPLE = 2_000_000
"""Characters counted at most, in evenly spread chunks; the rest of a longer text is extrapolated."""

_CHUNK = 4_000
"""Characters given to tiktoken at a time. Its time grows faster than the length of one unbroken piece (64,000 times
the same letter takes 10 ms, 4,000 take 0.5), and its regex engine gives up on very long ones (tiktoken 195, 245)."""

_CL100K = re.compile(
    r"(?:.*/)?(?:ft:)?(?:gpt-4(?![\d.o])|gpt-3\.?5|text-embedding-(?:3|ada)|davinci-002|babbage-002)", re.IGNORECASE
)
_lock = threading.Lock()


class VocabularyError(RuntimeError):
    """A shipped vocabulary is missing or not the one tiktoken expects."""


def count(text: str, model: str | None = None) -> int:
    """How many tokens `text` is for `model` (its name, any spelling; unknown and None: o200k_base).

    Special tokens in the text count as the plain text they are; any string is counted, in time linear in its length and
    bounded by `SAMPLE`. Loads a vocabulary on its first use (about 0.3 s), so call `load` before.
    Raises VocabularyError.
    """
    if not text:
        return 0
    encoding = _encoding(encoding_name(model))
    if len(text) <= _CHUNK:
        return len(encoding.encode_ordinary(text))
    step = -(-len(text) // SAMPLE)
    tokens = characters = 0
    for number, chunk in enumerate(_chunks(text)):
        if number % step == 0:
            tokens += len(encoding.encode_ordinary(chunk))
            characters += len(chunk)
    return round(tokens * len(text) / characters)


def encoding_name(model: str | None) -> str:
    """The vocabulary of a model: cl100k_base for GPT-4, GPT-3.5 and OpenAI's embeddings, else o200k_base."""
    return "cl100k_base" if model and _CL100K.match(model[:200]) else "o200k_base"


def load() -> None:
    """Load the vocabularies; takes about half a second, so call it in a thread. Raises VocabularyError."""
    for name in ("o200k_base", "cl100k_base"):
        _encoding(name)


def _chunks(text: str) -> Iterator[str]:
    """The text in pieces of at most `_CHUNK` characters, cut before a space where there is one: tokens begin there."""
    start = 0
    while start < len(text):
        end = start + _CHUNK
        if end < len(text):
            end = max(text.rfind(" ", start + _CHUNK - 200, end), start + _CHUNK - 200)
        yield text[start:end]
        start = end


def _encoding(name: str) -> tiktoken.Encoding:
    with _lock:  # tiktoken's registry is not safe while it fills; once filled this costs 0.1 µs
        return _load(name)


@cache
def _load(name: str) -> tiktoken.Encoding:
    # tiktoken's reader removes a cache file it does not like and downloads another. This one does neither, and it needs
    # no environment variable that our children would inherit.
    tiktoken.load.read_file_cached = _read_shipped
    return tiktoken.get_encoding(name)


def _read_shipped(blobpath: str, expected_hash: str | None = None) -> bytes:
    """In place of `tiktoken.load.read_file_cached`: a shipped file, checked, or VocabularyError."""
    file = VOCABULARIES / hashlib.sha1(blobpath.encode(), usedforsecurity=False).hexdigest()
    name = blobpath.rpartition("/")[2]
    try:
        data = file.read_bytes()
    except OSError as error:
        raise VocabularyError(f"tiktoken vocabulary {name}: {error.strerror}; reinstall mitmesh") from error
    if expected_hash is None or hashlib.sha256(data).hexdigest() != expected_hash:
        raise VocabularyError(f"tiktoken vocabulary {name} is not the one tiktoken expects; reinstall mitmesh")
    return data
