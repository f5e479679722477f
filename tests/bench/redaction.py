"""What redaction costs a call: the stage with the shipped rules and real workers, without a proxy around it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from mitmesh.dialects.base import Event
from mitmesh.redaction.finder import Finder
from mitmesh.rules import load
from mitmesh.stages.redact import Redact
from redactions import exchange

ROOT = Path(__file__).parents[2]
CONVERSATION = 70_000
MESSAGE = 1_000
"""Characters of a conversation that an agent sends on every turn, and of the message a turn adds."""
AGAIN = 5
"""How often the same request is sent again."""
_WORDS = Path(__file__).with_name("load.py").read_text().split()
_VALUES = ("ann{}@example.com", "+49 30 9018{:04}", "call me at 415555{:04} please", "4111 1111 1111 1111")


async def measure(folder: Path, rounds: int, say: Callable[[str], None]) -> dict[str, float]:
    """Milliseconds (and microseconds for an event) of the stage's steps, medians over the rounds."""
    say("redaction")
    rules = load(ROOT / "rules")
    stage = Redact(folder / "redaction", Finder())
    stage.configure(rules)
    await stage.start()
    try:
        await asyncio.sleep(5)  # the second worker starts after the first
        first, again, new = [], [], []
        for seed in range(rounds * 3):
            turns = conversation(seed)
            first.append(await _request(stage, rules, turns))
            again += [await _request(stage, rules, turns) for _ in range(AGAIN)]
            new.append(await _request(stage, rules, [*turns, *conversation(1000 + seed, MESSAGE)]))
        event = await _restoring(stage, rules)
    finally:
        await stage.stop()
    return {
        "first_70KB_ms": median(first) * 1e3,
        "repeated_70KB_ms": median(again) * 1e3,
        "new_1KB_ms": median(new) * 1e3,
        "restored_event_us": event * 1e6,
    }


def conversation(seed: int, characters: int = CONVERSATION) -> list[str]:
    """Messages of about 1 kB, of code, words and numbers, with something personal in one of three."""
    chosen = random.Random(seed)
    turns = []
    for turn in range(max(1, characters // MESSAGE)):
        words = [chosen.choice(_WORDS) for _ in range(MESSAGE // 8)]
        words[0] = str(chosen.random())  # no two are the same
        if turn % 3 == 0:
            words[len(words) // 2] = chosen.choice(_VALUES).format(chosen.randrange(1000, 9999))
        turns.append(" ".join(words)[:MESSAGE].ljust(MESSAGE, "."))
    return turns


def _call(rules: Any, turns: Sequence[str]) -> Any:
    messages = [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]
    return exchange("openai_chat", {"model": "gpt-4o", "stream": True, "messages": messages}, rules_=rules)


async def _request(stage: Redact, rules: Any, turns: Sequence[str]) -> float:
    x = _call(rules, turns)
    began = time.perf_counter()
    await stage.request(x)
    return time.perf_counter() - began


async def _restoring(stage: Redact, rules: Any, events: int = 3000) -> float:
    """Seconds for one event of a stream, one in ten with a placeholder in it, some cut in two."""
    x = _call(rules, ["write to ann@example.com"])
    await stage.request(x)
    transform = stage.stream(x)
    assert transform is not None
    docs = []
    for n in range(events):
        text = ("word ", "<EMA", "IL_1>", "<EMAIL_1>")[n % 10 if n % 10 < 4 else 0]
        docs.append({"id": "c", "choices": [{"index": 0, "delta": {"content": text}}]})
    made = [(Event(b"data: " + (raw := json.dumps(doc).encode()) + b"\n\n", raw), doc) for doc in docs]
    began = time.perf_counter()
    for event, doc in made:
        transform.event(event, doc)
    return (time.perf_counter() - began) / events
