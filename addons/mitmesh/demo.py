"""The built-in provider of `scripts/run --demo`: answers any call, so that everything can be seen without a key."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

from mitmesh.dialects.base import Answer, Framing, Kind, Operation, Part, Provenance, Usage
from mitmesh.exchange import Exchange
from mitmesh.tokens import count

PAUSE = 0.03
"""Seconds between two words."""
MODEL = "mitmesh-demo"
DIMENSIONS = 8
"""Numbers in a demo embedding, which mean nothing but are the same for the same text."""

_MODELS = re.compile(r"[^?]*/models(/[^/?:]+)?/?(\?|$)").match


async def serve(x: Exchange) -> AsyncIterator[bytes]:
    """The answer to a call, in its own dialect, word by word where it asked for a stream."""
    operation = Operation.MODELS if _MODELS(x.path) and x.method == "GET" else x.operation
    if other := _OTHERS.get(operation):
        yield json.dumps(await asyncio.to_thread(other, x)).encode()
        return
    answer = await asyncio.to_thread(_answer, x)
    if x.framing is Framing.NONE:
        yield x.dialect.render(answer)
        return
    for n, piece in enumerate(x.dialect.render_stream(answer, framing=x.framing)):
        await asyncio.sleep(PAUSE if n else 0)
        yield piece


def _answer(x: Exchange) -> Answer:
    asked = next((text.text for text in reversed(x.call.texts) if text.provenance is Provenance.USER), "")
    words = (
        f"This is mitmesh's demo provider: nothing left this machine. You asked: {asked[:200]!r} "
        f"The call was understood as {x.operation} in the dialect {x.dialect.name}, and it is in the audit now."
    )
    model = x.call.model or MODEL
    usage = Usage(prompt=_prompt(x), completion=count(words, model))
    part = Part(Kind.TEXT, words)
    return Answer(id=f"demo-{x.id}", model=model, parts=[part], finish="stop", usage=usage, complete=True)


def _prompt(x: Exchange) -> int:
    return sum(count(text.text, x.call.model) for text in x.call.texts)


def _models(x: Exchange) -> dict[str, Any]:
    """The list of models, or the one whose name ends the path."""
    _, _, name = x.path.partition("?")[0].rstrip("/").partition("/models/")
    name = name or MODEL
    if x.provider == "google":
        one: dict[str, Any] = {"name": f"models/{name}", "displayName": name, "version": "1"}
        rest: dict[str, Any] = {"models": [one]}
    elif x.provider == "anthropic":
        one = {"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}
        rest = {"data": [one], "has_more": False, "first_id": name, "last_id": name}
    else:
        one = {"id": name, "object": "model", "created": 0, "owned_by": "mitmesh"}
        rest = {"object": "list", "data": [one]}
    return rest if name == MODEL else one


def _counted(x: Exchange) -> dict[str, Any]:
    """How many tokens the request has."""
    return {"totalTokens": _prompt(x)} if x.provider == "google" else {"input_tokens": _prompt(x)}


def _embeddings(x: Exchange) -> dict[str, Any]:
    """A vector for each input."""
    doc = x.body.doc if x.body else {}
    if x.provider == "google":
        asked = doc.get("requests")
        vectors = [{"values": _vector(one)} for one in (asked if isinstance(asked, list) else [doc])]
        return {"embeddings": vectors} if isinstance(asked, list) else {"embedding": vectors[0]}
    given = doc.get("input")
    if not isinstance(given, list) or all(isinstance(token, int) for token in given):
        given = [given]
    data = [{"object": "embedding", "index": n, "embedding": _vector(one)} for n, one in enumerate(given)]
    usage = {"prompt_tokens": _prompt(x), "total_tokens": _prompt(x)}
    return {"object": "list", "data": data, "model": x.call.model or MODEL, "usage": usage}


def _vector(given: Any) -> list[float]:
    digest = hashlib.sha256(json.dumps(given).encode()).digest()
    return [round(byte / 127.5 - 1, 4) for byte in digest[:DIMENSIONS]]


_OTHERS = {Operation.MODELS: _models, Operation.COUNT_TOKENS: _counted, Operation.EMBEDDINGS: _embeddings}
"""What is answered with something else than words."""
