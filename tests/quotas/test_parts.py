"""The parts that need no ledger: estimates, loops, words."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mitmesh import tokens
from mitmesh.dialects.base import Call, Operation, Provenance, Text
from mitmesh.exchange import Exchange, Identity
from mitmesh.quotas import words
from mitmesh.quotas.estimate import MEDIA, Prompts
from mitmesh.quotas.loops import SKETCH, STEPS, Watch, alike, sketched, step
from mitmesh.rules.quotas import Loops


def call(*texts: str, **fields: Any) -> Call:
    found = [Text(("messages", n), Provenance.USER, text, n) for n, text in enumerate(texts)]
    return Call(Operation.CHAT, "gpt-4o", texts=found, **fields)


async def test_a_text_is_counted_once() -> None:
    """Each turn of an agent costs what is new in it."""
    prompts = Prompts()
    size = await prompts.count(call("hello world"))
    assert size == tokens.count("hello world", "gpt-4o") + 6
    assert await prompts.count(call("hello world", "and more")) > size
    assert prompts.counted == 2


async def test_large_texts_are_counted_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop is not stopped for 70 kB of tiktoken, and memory holds no more counts than it may."""
    seen: list[bool] = []
    count = tokens.count

    def noted(text: str, model: str | None = None) -> int:
        seen.append(threading.current_thread() is threading.main_thread())
        return count(text, model)

    monkeypatch.setattr(tokens, "count", noted)
    prompts = Prompts(remembered=2)
    await prompts.count(call("short"))
    await prompts.count(call("word " * 14_000))
    assert seen == [True, False]
    await prompts.count(call("a", "b", "c", "d"))
    assert len(prompts._counts) == 2


async def test_media_counts() -> None:
    """By its size."""
    prompts = Prompts()
    assert await prompts.count(call("x", opaque_bytes=10 * MEDIA)) == await prompts.count(call("x")) + 10


async def test_token_ids_count() -> None:
    """One token each, and not by their bytes beside that."""
    prompts = Prompts()
    ids = call("x", token_ids=6_000, token_bytes=30_000, opaque_bytes=30_000 + MEDIA)
    assert await prompts.count(ids) == await prompts.count(call("x")) + 6_000 + 1


STEP = "pytest says that 3 of 40 tests failed in the parser, at line 512 of the module that reads the header"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        (STEP, True),
        (STEP.upper(), True),
        (STEP.replace("3 of 40", "7 of 41"), True),
        (STEP.replace("header", "footer") + " and then some more happened that was not there before", False),
        ("Write a poem about the sea, with rhymes, and not longer than eight lines", False),
        ("", False),
    ],
)
def test_nearly_the_same(text: str, same: bool) -> None:
    """Case and numbers make no difference; other words do."""
    sketch = sketched(text)
    assert (bool(sketch) and alike(sketched(STEP), sketch) >= 90) is same


def exchange(text: str, **fields: Any) -> Exchange:
    made = {"identity": Identity(), "credential": None, "client": "", **fields}
    return cast(Exchange, SimpleNamespace(call=call("begin", text, session=fields.get("session")), **made))


def test_times_are_of_the_last_minutes_and_of_one_session() -> None:
    """Old times are forgotten; another user with the same session id is another."""
    watch, rules = Watch(), Loops(stop=3, minutes=1)
    assert [watch.times(exchange(STEP, session="s"), rules, now) for now in (0, 10, 20, 75, 200)] == [1, 2, 3, 2, 1]
    assert watch.times(exchange(STEP, session="s", identity=Identity(user="bob")), rules, 201) == 1


def _words(number: int) -> str:
    return " ".join(f"{chr(97 + number % 26)}{chr(97 + number // 26)}{chr(97 + n)}" for n in range(12))


@pytest.mark.parametrize("length", [1, 2, 9, 40])
def test_a_circle_of_many_steps_is_one(length: int) -> None:
    """Nine steps in turn, say: each is known when it comes again, however it goes on between."""
    watch, rules = Watch(), Loops(stop=5)
    rounds = [[watch.times(exchange(_words(n), session="s"), rules, 0) for n in range(length)] for _ in range(5)]
    assert rounds == [[turn] * length for turn in range(1, 6)]


def test_a_step_that_comes_again_is_kept() -> None:
    """Others may come between it, ever new ones: it is the oldest, and not the one that is forgotten."""
    watch, rules = Watch(), Loops(stop=30)
    seen = []
    for number in range(30):
        seen.append(watch.times(exchange(STEP, session="s"), rules, 0))
        for other in range(6):
            watch.times(exchange(_words(number * 6 + other), session="s"), rules, 0)
    assert seen == list(range(1, 31))


def test_memory_is_bounded() -> None:
    """By sessions, by steps, and by what is kept of one."""
    watch, rules = Watch(sessions=5), Loops(stop=3)
    for number in range(50):
        watch.times(exchange(f"{STEP} {'word ' * number}", session=f"s{number}"), rules, 0)
        watch.times(exchange(" ".join(f"w{n}{number}x" for n in range(40)), session="same"), rules, 0)
    assert len(watch._sessions) == 5
    assert max(map(len, watch._sessions.values())) <= STEPS
    small = Watch(steps=100)
    for number in range(400):
        text = " ".join(f"{chr(97 + number % 26)}{chr(97 + number // 26)}{chr(97 + n)}" for n in range(20))
        small.times(exchange(text, session=f"s{number // 40}"), rules, 0)
    assert small._count == sum(map(len, small._sessions.values())) <= 100
    assert len(small._sessions) == 2 and STEPS < 100
    assert len(sketched(" ".join(f"word{chr(97 + n % 26)}{n}x" for n in range(9000)))) <= SKETCH


def test_a_step_is_what_is_new() -> None:
    """The last message, and the call it answers."""
    texts = [
        Text(("a",), Provenance.SYSTEM, "be brief", 0),
        Text(("b",), Provenance.USER, "fix it", 1),
        Text(("c",), Provenance.TOOL_CALL, '{"path":"x"}', 2),
        Text(("d",), Provenance.TOOL_RESULT, "no such file", 3),
    ]
    assert step(Call(Operation.CHAT, texts=texts)) == '{"path":"x"}\nno such file'
    assert step(Call(Operation.CHAT)) == ""


@pytest.mark.parametrize(
    ("unit", "amount", "text"),
    [
        ("tokens", 2_040_000, "2,040,000"),
        ("dollars", 12_500_000, "$12.50"),
        ("dollars", 1, "$0.000001"),
        ("dollars", -1_500_000, "-$1.50"),
        ("dollars", 1_234_000_000, "$1,234.00"),
    ],
)
def test_numbers(unit: str, amount: int, text: str) -> None:
    assert words.number(unit, amount) == text


def test_whose() -> None:
    assert words.whose("") == "everyone"
    assert words.whose("team=a%2Cb,user=ann") == "team 'a,b', user 'ann'"
