"""Anthropic's prompt cache as its documentation describes it, for the fake provider."""

from __future__ import annotations

import json
from typing import Any

LEAST, MOST, LOOK_BACK = 1024, 4, 20
"""Tokens below which nothing is kept, breakpoints of a call, blocks before one where a kept beginning is found."""


class Refused(ValueError):
    """The API's own error."""


class PromptCache:
    """What was written stays."""

    def __init__(self) -> None:
        self._kept: set[str] = set()

    def usage(self, doc: Any) -> dict[str, int] | None:
        """Tokens of the prompt as the API counts them; None where the call has no breakpoint. Raises Refused."""
        blocks = list(_blocks(doc))
        marks = [n for n, block in enumerate(blocks) if block.get("cache_control")]
        if len(marks) > MOST:
            raise Refused(f"A maximum of 4 blocks with cache_control may be provided. Found {len(marks)}.")
        if not marks:
            return None
        said = [json.dumps({**block, "cache_control": None}, sort_keys=True) for block in blocks]
        upto = ["".join(said[: n + 1]) for n in range(len(said))]
        near = {m for mark in marks for m in range(max(0, mark - LOOK_BACK), mark + 1)}
        read = max((_tokens(upto[n]) for n in near if upto[n] in self._kept), default=0)
        written = [upto[mark] for mark in marks if _tokens(upto[mark]) >= LEAST]
        self._kept |= set(written)
        made = max(0, max(map(_tokens, written), default=0) - read)
        return {
            "input_tokens": _tokens(upto[-1]) - read - made,
            "cache_creation_input_tokens": made,
            "cache_read_input_tokens": read,
        }


def _tokens(text: str) -> int:
    return len(text) // 4


def _blocks(doc: Any) -> Any:
    """In the cache's order; a text is the block that it stands for, and bears its role."""
    yield from doc.get("tools") or ()
    for role, content in [("system", doc.get("system") or ()), *((m["role"], m["content"]) for m in doc["messages"])]:
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        for block in content:
            yield {"role": role, **block}
