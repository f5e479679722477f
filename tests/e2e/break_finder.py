"""Loaded with `-s` into the mitmdump under test: a finder that fails where a text says BOOM, and quotes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mitmesh.redaction.finder import Finder

_find = Finder.find


async def find(self: Finder, texts: Sequence[str]) -> Any:
    """As the real one, but for BOOM."""
    for text in texts:
        if "BOOM" in text:
            raise ValueError(f"could not search {text}")
    return await _find(self, texts)


Finder.find = find  # type: ignore[method-assign]
