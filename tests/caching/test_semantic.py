"""Answers found by meaning, through the stage, with the shipped model and a real file."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import cached
from cached import chat, redacted
from mitmesh.caching import semantic
from mitmesh.caching.database import set_aside
from mitmesh.caching.embedder import MODEL, Embedder
from mitmesh.dialects.base import Kind, Part
from mitmesh.exchange import Exchange, Identity, Layer, Mode, Origin
from mitmesh.rules import Rules
from mitmesh.rules.cache import Cache as CacheRules
from mitmesh.rules.cache import CacheSemantic
from redactions import exchange

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED, SAME = "How do I reset my password?", "How can I reset my password?"


async def until(holds: Callable[[], Any], seconds: float = 30) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


def ruled(normalise: dict[str, bool] | None = None, **fields: Any) -> Rules:
    on = {"enabled": True, "seconds": 10, **fields}
    return Rules("v", cache=CacheRules.model_validate({"semantic": on, "normalise": normalise or {}}))


class House(cached.House):
    """One with the semantic layer."""

    def __init__(self, folder: Path, rules: Rules | None = None) -> None:
        super().__init__(folder)
        self.rule(rules or ruled())

    async def keep(self, x: Exchange | str, **fields: Any) -> Exchange:
        """A question is answered by the provider, and from now on found."""
        x = self.done(await self.ask(x), **fields)
        await until(lambda: self.learned(x))
        return x

    def learned(self, x: Exchange) -> bool:
        """Is the answer to this call in the index?"""
        running = self.stage.semantic._running
        try:
            with closing(sqlite3.connect(f"file:{self.stage.store.data / 'cache.db'}?mode=ro", uri=True)) as file:
                sql = "select id from entries where exchange = ? and vector is not null"
                row = file.execute(sql, (x.id,)).fetchone()
        except sqlite3.OperationalError:  # a new one is being made
            return False
        return bool(row and running and running.recall._last >= row[0])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    house = House(tmp_path_factory.mktemp("semantic"))
    await house.stage.start()
    yield house
    await house.stage.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def house(shared: House, request: pytest.FixtureRequest) -> House:
    """The one house; what a test asks is its own by a header that nobody knows."""
    shared.rule(ruled())
    await until(lambda: shared.stage.semantic.up)
    return shared


@pytest.fixture
def said(request: pytest.FixtureRequest) -> Callable[..., Exchange]:
    """A call of this test's own."""

    def call(*contents: Any, headers: dict[str, str] | None = None, **fields: Any) -> Exchange:
        return chat(*contents, headers={"x-test": request.node.name, **(headers or {})}, **fields)

    return call


def layer(x: Exchange) -> Layer:
    assert x.cache
    return x.cache.layer


async def test_a_question_that_means_the_same(house: House, said: Callable[..., Exchange]) -> None:
    """Its answer is given, with what it is from, how near and how old; the same again is a hit word for word."""
    first = await house.keep(said(ASKED), words="In the settings.")
    hit = await house.ask(said(SAME))
    assert layer(hit) is Layer.SEMANTIC and hit.cache and hit.cache.source == first.id and hit.cache.saved == 1500
    assert hit.cache.similarity is not None and 0.85 < hit.cache.similarity < 1 and hit.cache.age is not None
    assert hit.reply and hit.reply.answer.text == "In the settings." and hit.reply.origin is Origin.CACHE
    assert (
        f"similarity {hit.cache.similarity:.3f}" in hit.verdicts[-1].reason and hit.verdicts[-1].rule_id == "semantic"
    )
    house.done(hit)
    assert len(house.stage.flights) == 0
    assert layer(await house.ask(said(ASKED))) is Layer.EXACT


@pytest.mark.parametrize(
    ("kept", "asked", "why"),
    [
        ("Delete the staging database of the shop", "Do not delete the staging database of the shop", "negation"),
        ("List the 10 largest cities of France", "List the 20 largest cities of France", "numbers"),
        ("Sort the list of users ascending by name", "Sort the list of users descending by name", "antonyms"),
        ("Translate this page from English to German", "Translate this page from German to English", "direction"),
        ("What does `get_user` return in our client?", "What does `set_user` return in our client?", "code"),
    ],
)  # fmt: skip
async def test_what_only_looks_the_same(
    house: House, said: Callable[..., Exchange], kept: str, asked: str, why: str
) -> None:
    """It is a miss that says what keeps the two apart, in a word."""
    await house.keep(said(kept))
    unlike = house.stage.semantic.counters.unlike
    x = await house.ask(said(asked))
    assert layer(x) is Layer.MISS and x.reply is None and x.cache
    assert x.cache.reason is None or x.cache.reason.startswith("similar, but for: ")
    if x.cache.reason is not None:
        assert house.stage.semantic.counters.unlike == unlike + 1
    house.done(x)


async def test_why_the_nearest_was_not_given(house: House, said: Callable[..., Exchange]) -> None:
    """One word and how near it was; none of either text."""
    await house.keep(said("Delete the staging database"))
    x = await house.ask(said("Do not delete the staging database"))
    assert x.cache and x.cache.reason == "similar, but for: negation" and x.cache.similarity
    house.done(x)


@pytest.mark.parametrize(
    "other",
    [
        {"model": "gpt-4o-mini"},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": SAME}]},
        {"messages": [*({"role": r, "content": r} for r in ("user", "assistant")), {"role": "user", "content": SAME}]},
        {"temperature": 0.5},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        {"headers": {"openai-beta": "x=1"}},
        {"nobody_has_heard_of": 1},
        {"team": "blue"},
    ],
    ids=lambda other: next(iter(other)),
)
async def test_all_else_must_be_equal(house: House, said: Callable[..., Exchange], other: dict[str, Any]) -> None:
    """Only the last user turn may match by meaning: another system prompt, history, tenant ... is another call."""
    await house.keep(said(ASKED))
    x = said(SAME, **{name: value for name, value in other.items() if name != "team"})
    x.identity = Identity()
    x.identity.attest("network", team=other.get("team", "red"))
    assert layer(await house.ask(x)) is Layer.MISS
    house.stage.finish(x)
    assert layer(await house.ask(said(SAME))) is Layer.SEMANTIC


async def test_values_behind_placeholders(house: House, said: Callable[..., Exchange]) -> None:
    """They must be equal, wherever in the call they stand: an answer about one person is not another's."""
    asked, same = "How do I write to <EMAIL_1> in our tool?", "How can I write to <EMAIL_1> in our tool?"
    await house.keep(redacted(said(asked), EMAIL_1="ann@example.com"))
    for values, expected in [
        ({"EMAIL_1": "bob@example.com"}, Layer.MISS),
        ({"EMAIL_1": "ann@example.com", "PERSON_1": "Bob"}, Layer.MISS),
        ({"EMAIL_1": "ann@example.com"}, Layer.SEMANTIC),
    ]:
        x = await house.ask(redacted(said(same), **values))
        assert layer(x) is expected
        house.stage.finish(x)


async def test_too_long(house: House, said: Callable[..., Exchange]) -> None:
    """A turn that is longer than the model reads is never matched by meaning; word for word it is."""
    long = "Tell me about the word. " * 60
    before = house.stage.semantic.counters.unasked
    house.done(await house.ask(said(long)))
    x = await house.ask(said(long + "Now."))
    assert layer(x) is Layer.MISS and house.stage.semantic.counters.unasked == before + 2
    house.stage.finish(x)
    assert layer(await house.ask(said(long))) is Layer.EXACT


async def test_too_old_or_too_far(house: House, said: Callable[..., Exchange], monkeypatch: pytest.MonkeyPatch) -> None:
    """Older than the rule lets be given, and less similar than it asks."""
    await house.keep(said(ASKED))
    house.rule(ruled(least_similarity=0.9999))
    x = await house.ask(said(SAME))
    assert layer(x) is Layer.MISS
    house.stage.finish(x)
    house.rule(ruled())
    now = time.time()
    monkeypatch.setattr("mitmesh.stages.cache.time.time", lambda: now + 86_401)
    x = await house.ask(said(SAME))
    assert layer(x) is Layer.MISS
    house.stage.finish(x)


async def test_tool_calls_are_not_given_by_meaning(house: House, said: Callable[..., Exchange]) -> None:
    """An answer that acts is the same call's alone, where it is kept at all."""
    rules = Rules("v", cache=CacheRules.model_validate({"tool_calls": True, "semantic": {"enabled": True}}))
    house.rule(rules)
    call = Part(Kind.TOOL_CALL, "{}", "reset", "c1")
    known = house.stage.store.counters.written
    house.done(await house.ask(said(ASKED)), parts=[call], finish="tool_calls")
    await until(lambda: house.stage.store.counters.written > known)
    await house.keep(said("What is the capital of France?"))
    assert layer(await house.ask(said(ASKED))) is Layer.EXACT
    x = await house.ask(said(SAME))
    assert layer(x) is Layer.MISS
    house.stage.finish(x)


async def test_what_the_client_asks(house: House, said: Callable[..., Exchange]) -> None:
    """no-cache: a new answer, which is found by meaning from then on; no-store and off: neither."""
    x = await house.ask(said(ASKED), **{"cache-control": "no-store"})
    house.done(x)
    x = house.done(await house.ask(said(ASKED), **{"cache-control": "no-cache"}), words="New.")
    await until(lambda: house.learned(x))
    for headers in ({"cache-control": "no-cache"}, {"cache-control": "no-store"}, {"x-mesh-cache": "off"}):
        x = await house.ask(said(SAME), **headers)
        assert x.reply is None
        house.stage.finish(x)
    hit = await house.ask(said(SAME))
    assert layer(hit) is Layer.SEMANTIC and hit.reply and hit.reply.answer.text == "New."


async def test_observe(house: House, said: Callable[..., Exchange]) -> None:
    """Only recorded."""
    await house.keep(said(ASKED))
    house.rule(Rules("v", cache=CacheRules.model_validate({"mode": "observe", "semantic": {"enabled": True}})))
    x = await house.ask(said(SAME))
    assert x.reply is None and layer(x) is Layer.MISS and x.verdicts[-1].mode is Mode.OBSERVE
    assert x.verdicts[-1].rule_id == "semantic"
    house.stage.finish(x)


async def test_those_who_wait_for_the_same(house: House, said: Callable[..., Exchange]) -> None:
    """One question at once by three: the first finds it by meaning, the others do not wait for what never comes."""
    await house.keep(said(ASKED))
    async with asyncio.timeout(5):
        found = await asyncio.gather(*(house.ask(said(SAME)) for _ in range(3)))
    assert [layer(x) for x in found] == [Layer.SEMANTIC] * 3
    for x in found:
        house.done(x)
    assert len(house.stage.flights) == 0


async def test_embeddings_are_exact_only(house: House) -> None:
    """Neither by meaning nor normalised: another text is another vector."""

    def call(words: str) -> Exchange:
        x = redacted(exchange("openai_embeddings", {"model": "e", "input": words}))
        x.identity.attest("network", team="red")
        return x

    for words in (ASKED, SAME, f"{ASKED} ", ASKED.replace(" ", "  ")):
        x = await house.ask(call(words))
        assert layer(x) is Layer.MISS and x.notes["cache"].vector is None
        house.stage.finish(x)


# --- normalisation ---

SWITCHES = {
    "unicode": ("Where is the caf\u00e9", "Where is the cafe\u0301"),
    "whitespace": ("Which planets are there?", "Which  planets are there? "),
    "markdown": ("Which fast planets are far away", "Which **fast** planets are *far away*"),
    "politeness": ("List the planets", "Please list the planets"),
    "persona": ("Which planets are there", "You are a senior security engineer. Which planets are there"),
    "dates": ("Which day was 2026-06-13?", "Which day was 13/06/2026?"),
    "thousands": ("Is $1234567 more than 1000?", "Is $1,234,567 more than 1,000?"),
    "spelling": ("Summarize the behavior", "Summarise the behaviour"),
}
ALL = dict.fromkeys(SWITCHES, True)
OFF = dict.fromkeys(SWITCHES, False)


@pytest.mark.parametrize("switch", SWITCHES)
async def test_each_switch(house: House, said: Callable[..., Exchange], switch: str) -> None:
    """Alone it makes two forms one call; off, with all others on, they are two."""
    plain, other = SWITCHES[switch]
    for normalise, expected in (({**OFF, switch: True}, Layer.EXACT), ({**ALL, switch: False}, Layer.MISS)):
        house.rule(ruled(normalise, enabled=False))
        house.done(await house.ask(said(plain)))
        x = await house.ask(said(other))
        assert layer(x) is expected
        house.stage.finish(x)
        assert layer(await house.ask(said(plain))) is Layer.EXACT


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is 13/06/2026 a Friday?", "Is 06/12/2026 a Friday?"),
        ("Is 05/06/2026 a Friday?", "Is 06/05/2026 a Friday?"),
        ("What does snake_case do?", "What does snakecase do?"),
        ("What is a*b*c?", "What is abc?"),
        ("Why does MyClass fail?", "Why does myclass fail?"),
        ("Which analyses were done?", "Which analyzes were done?"),
        ("You are a senior security engineer.", "You are a senior tax lawyer."),
        ("You are a pirate. Which planets are there", "Which planets are there"),
        ("Is 1,5 more than 2?", "Is 15 more than 2?"),
        ('Who wrote "Please be kind"?', 'Who wrote "Be kind"?'),
        ("Run `ls  -l` for me", "Run `ls -l` for me"),
        ("Translate to French: the colour", "Translate to French: the color"),
    ],
)
async def test_what_no_switch_makes_one(house: House, said: Callable[..., Exchange], one: str, other: str) -> None:
    """With all of them on, what means something else is another call."""
    house.rule(ruled(ALL, enabled=False))
    house.done(await house.ask(said(one)))
    x = await house.ask(said(other))
    assert layer(x) is Layer.MISS
    house.stage.finish(x)


async def test_only_the_last_user_turn_is_normalised(house: House, said: Callable[..., Exchange]) -> None:
    """Not the history, nor the system prompt."""
    house.rule(ruled(ALL, enabled=False))
    house.done(await house.ask(said("Please list the planets", "Mars.", "Why only one?")))
    x = await house.ask(said("List the planets", "Mars.", "Why only one?"))
    assert layer(x) is Layer.MISS
    house.stage.finish(x)
    assert layer(await house.ask(said("Please list the planets", "Mars.", "Why  only one?"))) is Layer.EXACT


async def test_a_switch_makes_answers_new(house: House, said: Callable[..., Exchange]) -> None:
    """What was kept under another idea of the same call is not given under this one."""
    house.rule(ruled(ALL, enabled=False))
    house.done(await house.ask(said("Please list the planets")))
    house.rule(ruled({**ALL, "politeness": False}, enabled=False))
    x = await house.ask(said("List the planets"))
    assert layer(x) is Layer.MISS
    house.stage.finish(x)


async def test_what_is_sent_is_as_it_came(house: House, said: Callable[..., Exchange]) -> None:
    """Normalisation is for comparing: the provider gets the client's own bytes."""
    house.rule(ruled(ALL, enabled=False))
    x = said("Please  summarise **this** ")
    assert x.body
    raw = x.body.raw
    house.done(await house.ask(x))
    assert x.body.render() == raw and not x.body.changed


# --- what fails ---


async def test_off_as_shipped(tmp_path: Path) -> None:
    """No model is loaded, no vector made, nothing found by meaning."""
    house = House(tmp_path, Rules("v"))
    await house.stage.start()
    x = house.done(await house.ask(ASKED))
    assert x.notes["cache"].key.rest is None and layer(await house.ask(SAME)) is Layer.MISS
    assert house.stage.health()["semantic_up"] == 0 and "warning" not in house.stage.health()
    assert house.stage.semantic.counters.failures == 0
    await house.stage.stop()


async def test_its_libraries_are_imported_where_it_is_on() -> None:
    """30 MB of memory and a part of a second that nobody pays for what is off (the model takes 50 MB more)."""
    libraries = {"onnxruntime", "tokenizers", "usearch"}
    code = f"import sys; sys.path[:] = {sys.path}; import mitmesh.engine; print({libraries} & set(sys.modules))"
    run = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await run.communicate()
    assert said.decode().strip() == "set()"


async def test_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts and answers word for word; /health says what to do, failures are counted, and once it is there it is
    used."""
    monkeypatch.setattr(semantic, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(semantic, "embedder_of", lambda _: Embedder(tmp_path / "model"))
    house = House(tmp_path / "data")
    await house.stage.start()
    house.done(await house.ask(ASKED))
    assert layer(await house.ask(ASKED)) is Layer.EXACT
    failures = house.stage.semantic.counters.failures
    x = await house.ask(SAME)
    assert layer(x) is Layer.MISS and house.stage.counters()["semantic_failures"] > failures
    house.stage.finish(x)
    assert "scripts/export-embedder" in house.stage.health()["warning"] and house.stage.health()["semantic_up"] == 0
    (tmp_path / "model").symlink_to(MODEL)
    await until(lambda: house.stage.semantic.up)
    assert "warning" not in house.stage.health()
    await house.keep("Which planets are there?")
    await house.stage.stop()


async def test_one_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call waits as long as the rule says, the next ones not at all; it is counted, and told until it is over."""
    house = House(tmp_path, ruled(seconds=0.5))
    await house.stage.start()
    running = house.stage.semantic._running
    assert running
    embedder, hung = running.embedder, asyncio.Event()

    class Hangs:
        health, stop = embedder.health, embedder.stop

        async def embed(self, text: str) -> Any:
            await hung.wait()
            return await embedder.embed(text)

    running.embedder = Hangs()  # type: ignore[assignment]
    monkeypatch.setattr(semantic, "PAUSE_SECONDS", 60)
    began = time.monotonic()
    x = await house.ask(ASKED)
    assert 0.5 <= time.monotonic() - began < 5 and layer(x) is Layer.MISS
    house.done(x)
    began = time.monotonic()
    house.done(await house.ask("Which planets are there?"))
    assert time.monotonic() - began < 0.4
    assert "waited in vain" in house.stage.health()["warning"] and house.stage.semantic.counters.failures == 2
    hung.set()
    house.rule(ruled(seconds=10))
    house.stage.semantic._pause = 0
    await house.keep("What is the capital of France?")
    assert "warning" not in house.stage.health()
    await house.stage.stop()


async def test_a_fault_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layer ends, says so without quoting, and begins anew with the next edit of its rules; calls go on."""
    house = House(tmp_path)
    await house.stage.start()
    running = house.stage.semantic._running
    assert running
    monkeypatch.setattr(running.recall, "refresh", lambda: {}["a text of somebody"])
    house.done(await house.ask(ASKED))
    await until(lambda: not house.stage.semantic.up)
    said = house.stage.health()["warning"]
    assert "KeyError" in said and "somebody" not in said
    assert layer(await house.ask(ASKED)) is Layer.EXACT
    house.rule(ruled(most_entries=50))
    await until(lambda: house.stage.semantic.up and house.stage.semantic.entries == 1)
    await house.stage.stop()


async def test_switched_on_and_off_while_it_runs(tmp_path: Path) -> None:
    """By an edit of the rules; what was kept before with a vector is found again."""
    house = House(tmp_path)
    await house.stage.start()
    await house.keep(ASKED)
    await until(lambda: house.stage.semantic.entries == 1)
    house.rule(ruled(enabled=False))
    await until(lambda: house.stage.semantic.entries == 0)
    x = await house.ask(SAME)
    assert layer(x) is Layer.MISS and house.stage.health()["semantic_up"] == 0
    house.stage.finish(x)
    house.rule(ruled())
    house.rule(ruled(most_entries=50))
    await until(lambda: house.stage.semantic.entries == 1)
    assert layer(await house.ask(SAME)) is Layer.SEMANTIC
    await house.stage.stop()


async def test_restart_and_another_worker(tmp_path: Path) -> None:
    """What one keeps is found by the next and by the one beside it; what one clears, by nobody."""
    one, two = House(tmp_path), House(tmp_path)
    await one.stage.start()
    await one.keep(ASKED)
    await one.stage.stop()
    one = House(tmp_path)
    await one.stage.start()
    await two.stage.start()
    for house in (one, two):
        await until(lambda: house.stage.semantic.entries == 1)  # noqa: B023
        assert layer(await house.ask(SAME)) is Layer.SEMANTIC
    await two.keep("How do I change my address?")
    await until(lambda: one.stage.semantic.entries == two.stage.semantic.entries == 2)
    assert layer(await one.ask("How can I change my address?")) is Layer.SEMANTIC
    file = two.stage.store._files["read"]
    await asyncio.wrap_future(two.stage.store._reader.submit(file.clear, "1", ()))
    x = await one.ask("How can I change my address?")
    assert layer(x) is Layer.MISS
    one.stage.finish(x)
    await until(lambda: one.stage.semantic.entries == two.stage.semantic.entries == 0)
    for house in (one, two):
        await house.stage.stop()


async def test_a_file_that_is_set_aside(tmp_path: Path) -> None:
    """Another worker saw damage and began a new file, whose numbers begin anew: the index begins with it."""
    house = House(tmp_path)
    await house.stage.start()
    await house.keep(ASKED)
    set_aside(tmp_path)
    x = house.done(await house.ask("Which planets are there?"))
    await until(lambda: house.learned(x))
    assert house.stage.semantic.entries == 1
    x = await house.ask(SAME)
    assert layer(x) is Layer.MISS
    house.stage.finish(x)
    await house.keep("How do I change my address?")
    assert layer(await house.ask("How can I change my address?")) is Layer.SEMANTIC
    await house.stage.stop()


async def test_a_model_of_ones_own_says_how_similar() -> None:
    """What was learned of the shipped model says nothing of another."""
    with pytest.raises(ValueError, match="least_similarity"):
        CacheSemantic(enabled=True, model="other")
    assert CacheSemantic(enabled=True, model="other", least_similarity=0.9).python == "python3"
