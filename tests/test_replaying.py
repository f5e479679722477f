"""A cached answer on its way back."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import cast

from audits import answered, exchange
from mitmesh.dialects import DIALECTS
from mitmesh.exchange import Exchange, Origin
from mitmesh.guard import Guard
from mitmesh.house import House
from mitmesh.replaying import replay
from mitmesh.rules import Rules
from mitmesh.stage import Stage


class Masks(Stage):
    """Puts a text in place of the answer's."""

    name = "redact"

    def __init__(self, text: str) -> None:
        self.text = text

    async def replayed(self, x: Exchange) -> None:
        assert x.answer_body
        x.answer_body.set(("choices", 0, "message", "content"), self.text)


async def replayed(text: str) -> Exchange:
    x = exchange(rules_=Rules(), dialect=DIALECTS["openai_chat"])
    answer = answered(exchange(), "secret").answer
    assert answer
    x.reply_with("cache", "exact", answer, Origin.CACHE, "exact hit")
    house = SimpleNamespace(replaying=[Masks(text)], knowing=[], guard=Guard())
    await replay(x, cast(House, house))
    return x


async def test_a_masked_hit_is_given_masked() -> None:
    x = await replayed("<MASKED>")
    assert x.reply and x.reply.shown and not x.refusal
    assert json.loads(x.reply.shown)["choices"][0]["message"]["content"] == "<MASKED>"


async def test_a_masked_hit_that_cannot_be_written_is_refused() -> None:
    """The unmasked bytes would be all there is."""
    x = await replayed("\ud800")
    assert x.refusal and x.refusal.rule_id == "cache.unwritable" and x.refusal.status == 503
    assert x.reply and x.reply.shown is None
