"""A cached answer on its way back: every stage that judges or changes answers sees it, as it would a provider's."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

from mitmesh import replies
from mitmesh.answering import Unwritable, changed_json, withhold
from mitmesh.dialects.base import Framing, Usage
from mitmesh.exchange import Exchange, Origin
from mitmesh.guard import StageFailed
from mitmesh.house import House
from mitmesh.wire.jsontext import Body

OFF_LOOP = 32 * 1024
"""Bytes of an answer; a larger one is written as a stream in a thread, for that takes more than a millisecond."""


async def replay(x: Exchange, house: House) -> None:
    """Show the stages `x.reply`, and put what they leave of it into `x.reply.shown`; `x.refusal` where one of them
    keeps it from being given.

    They see it whole and as JSON, in whichever form it is given: an output guard judges all of it before the first
    byte leaves. `x.answer` is what the cache holds, still redacted; the restored text goes to the client alone."""
    reply = x.reply
    assert reply is not None
    x.answer = replace(reply.answer, parts=list(reply.answer.parts))
    x.origin, x.status, x.usage, x.cost = Origin.CACHE, 200, Usage(), 0
    x.times.first_token = time.monotonic()
    raw = reply.body or x.dialect.render(reply.answer)
    x.answer_body = Body(raw, json.loads(raw))
    for stage in house.replaying:
        await house.guard.replayed(stage, x)
        if x.refusal:
            return
    try:
        for stage in house.knowing:
            house.guard.answer(stage, x, "response", lambda s=stage: s.response(x))  # type: ignore[misc]
    except StageFailed:
        return
    try:
        changed = changed_json(x)
    except Unwritable:
        withhold(x, "cache.unwritable")
        return
    if changed is not None or reply.shown is None:
        shown = asyncio.to_thread(_shown, x, changed) if len(raw) > OFF_LOOP else None
        reply.shown = await shown if shown else _shown(x, changed)


def _shown(x: Exchange, changed: bytes | None) -> bytes:
    """The answer in the form asked for: `changed` where a stage has left another JSON document than there was."""
    assert x.reply and x.answer_body
    if x.framing is Framing.NONE:
        return x.answer_body.raw if changed is None else changed
    answer = x.reply.answer if changed is None else x.dialect.read_answer(json.loads(changed))
    return replies.shown(x, answer)
