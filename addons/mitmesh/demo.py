"""The built-in provider of `scripts/run --demo`: answers any call, so that everything can be seen without a key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from mitmesh.dialects.base import Answer, Framing, Kind, Operation, Part, Provenance, Usage
from mitmesh.exchange import Exchange
from mitmesh.tokens import count

PAUSE = 0.03
"""Seconds between two words."""


async def serve(x: Exchange) -> AsyncIterator[bytes]:
    """The answer to a call, in its own dialect, word by word where it asked for a stream."""
    answer = await asyncio.to_thread(_answer, x)
    if x.framing is Framing.NONE:
        yield x.dialect.render(answer)
        return
    for piece in x.dialect.render_stream(answer, framing=x.framing):
        yield piece
        await asyncio.sleep(PAUSE)


def _answer(x: Exchange) -> Answer:
    asked = next((text.text for text in reversed(x.call.texts) if text.provenance is Provenance.USER), "")
    words = (
        f"This is mitmesh's demo provider: nothing left this machine. You asked: {asked[:200]!r} "
        f"The call was understood as {x.operation} in the dialect {x.dialect.name}, and it is in the audit now."
    )
    model = x.call.model or "demo"
    usage = Usage(prompt=sum(count(text.text, model) for text in x.call.texts), completion=count(words, model))
    if x.operation in (Operation.EMBEDDINGS, Operation.COUNT_TOKENS):
        usage.completion = 0
    part = Part(Kind.TEXT, words)
    return Answer(id=f"demo-{x.id}", model=model, parts=[part], finish="stop", usage=usage, complete=True)
