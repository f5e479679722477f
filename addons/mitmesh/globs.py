"""The one kind of pattern in rules and commands: `*` is any text, all else is itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

_VENDOR = re.compile(
    r"(?:[a-z-]{2,8}\.)?(?:ai21|amazon|anthropic|cohere|deepseek|google|luma|meta|minimax|mistral|moonshot(?:ai)?|nvidia|"
    r"openai|qwen|stability|twelvelabs|writer|zai)\.",
    re.IGNORECASE,
)
"""What Bedrock puts before a model's name: a region or none, and who made it."""


@lru_cache(maxsize=1024)
def glob(pattern: str) -> re.Pattern[str]:
    """A pattern in which `*` is any text; letter case aside. Names of models have brackets (`[1m]`), so they are no
    signs here. Use it with `fullmatch`."""
    return re.compile(".*".join(re.escape(piece) for piece in pattern.split("*")), re.IGNORECASE | re.DOTALL)


def is_model(name: str, patterns: Iterable[str]) -> bool:
    """Is this a model that one of the patterns means? Names are taken with what routers and clouds put before them
    (`anthropic/`, `models/`, `us.anthropic.`) or without, and without Ollama's `:latest`."""
    bare = name.removesuffix(":latest").rpartition("/")[2]
    spellings = {name, bare, _VENDOR.sub("", bare, count=1)}
    return any(glob(pattern).fullmatch(each) for pattern in patterns for each in spellings)
