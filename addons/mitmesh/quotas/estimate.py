"""How many tokens a prompt will be: counted once per text, remembered, and never for long on the event loop."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from typing import TYPE_CHECKING

from mitmesh import tokens
from mitmesh.dialects.base import Provenance
from mitmesh.dialects.openai_texts import is_long_media

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mitmesh.dialects.base import Call, Text

REMEMBERED = 50_000
"""Texts whose count is remembered, as hash and count alone: an agent sends its history again on every turn."""
AT_ONCE = 1_000
"""Characters that are counted on the event loop: about a tenth of a millisecond."""
PER_MESSAGE = 3
"""Tokens a chat format adds to each message, and once before the answer (OpenAI's cookbook, "How to count tokens")."""
MEDIA = 400
"""Bytes of media, as on the wire, that are taken for a token: an image of 600 kB for 1,500. Settled by real usage."""

_CACHES = (b'"cache_control"', b'"cachePoint"')
_FOR_AN_HOUR = re.compile(rb'"ttl"\s*:\s*"1h"')

type _Key = tuple[int, int, str]


class Prompts:
    """Counts prompts. `remembered` bounds its memory."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._counts: OrderedDict[_Key, int] = OrderedDict()
        self.counted = 0
        """Texts that were not remembered."""

    async def count(self, call: Call) -> int:
        """The tokens of a call's prompt, media included."""
        texts, shown = prompt_texts(call)
        name = tokens.encoding_name(call.model)
        keys = [(hash(text.text), len(text.text), name) for text in texts]
        new = {key: text.text for key, text in zip(keys, texts, strict=True) if key not in self._counts}
        known = {key: self._counts[key] for key in keys if key not in new}
        if new:
            large = sum(map(len, new.values())) > AT_ONCE
            asked = (list(new.values()), call.model)
            counts = await asyncio.to_thread(_count, *asked) if large else _count(*asked)
            known |= zip(new, counts, strict=True)
        self._remember(known, len(new))
        messages = len({text.message for text in texts})
        media = (call.opaque_bytes - call.token_bytes + shown) // MEDIA
        return sum(known[key] for key in keys) + call.token_ids + PER_MESSAGE * (1 + messages) + media

    def _remember(self, known: dict[_Key, int], new: int) -> None:
        self.counted += new
        self._counts |= known
        for key in known:
            self._counts.move_to_end(key)
        while len(self._counts) > self._remembered:
            self._counts.popitem(last=False)


def prompt_texts(call: Call) -> tuple[list[Text], int]:
    """The texts that a prompt is made of, and the length of media beside them. What clients say of themselves is no
    prompt; in a dialect that nobody knows there is nothing else: all of it but media, which are no words."""
    said = [text for text in call.texts if text.provenance is not Provenance.METADATA]
    if said:
        return said, 0
    words = [text for text in call.texts if not is_long_media(text.text)]
    return words, sum(len(text.text) for text in call.texts) - sum(len(text.text) for text in words)


def written(raw: bytes) -> int:
    """For how many seconds a request (its JSON) has the provider keep what it says: what is written to a provider's
    cache costs more than plain input. 0 where it asks for nothing such."""
    if not any(name in raw for name in _CACHES):
        return 0
    return 3600 if _FOR_AN_HOUR.search(raw) else 300


def _count(texts: Sequence[str], model: str | None) -> list[int]:
    return [tokens.count(text, model) for text in texts]
