from __future__ import annotations

import random
import string

import pytest

from mitmesh.redaction.randomness import drawn, entropy
from quality.__main__ import NEVER
from quality.measure import never


def test_entropy() -> None:
    """Bits per character: none for one character, one for two that alternate, eight for all bytes."""
    assert entropy("") == entropy("aaaa") == 0
    assert entropy("abab") == 1
    assert entropy("".join(map(chr, range(256)))) == 8


@pytest.mark.parametrize(
    ("characters", "size"),
    [(string.ascii_letters, 16), (string.ascii_letters + string.digits, 12), (string.ascii_lowercase, 32),
     (string.ascii_uppercase + string.digits, 20), (string.ascii_letters + string.digits + "+/", 40),
     ("0123456789abcdef", 40)],
)  # fmt: skip
def test_what_was_drawn(characters: str, size: int) -> None:
    """Of 1,000 values drawn at random at most 30 do not look so."""
    chosen = random.Random(5)
    assert sum(not drawn("".join(chosen.choices(characters, k=size))) for _ in range(1_000)) <= 30


@pytest.mark.parametrize(
    "value",
    ["", "a1b2c3", "getUserName", "AbstractSingletonProxyFactoryBean",
     "internationalization", "your-api-key-here", "changeme_please", "self._private_key_pkcs8_pem", "sha256WithRSA",
     "src/app/components/index.tsx", "Donaudampfschifffahrtsgesellschaft", "s3_disable_express_session_auth",
     "claude-3-5-sonnet-20241022", "gpt-4o-mini-2024-07-18", "text-embedding-3-small", "oauth2_refresh_retries",
     "anticonstitutionnellement", "createdAtTimestamp", "MAX_RETRY_COUNT_PER_HOST", "1234567890123456"],
)  # fmt: skip
def test_what_people_write(value: str) -> None:
    """Words, in names and paths too, however long."""
    assert not drawn(value)


def test_words_of_texts() -> None:
    """Of the words of what is never flagged hardly one looks drawn."""
    words = {word for text in never(NEVER) for word in text.split() if word.isalpha()}
    assert len(words) > 100 and {word for word in words if drawn(word)} <= {"TheQuickBrownFoxJumpsOverTheLazyDog"}
