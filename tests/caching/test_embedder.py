"""The shipped model, and another one in a process of its own (its sentence-transformers is a fake here)."""

import asyncio
import os
import shutil
import sys
import threading
import time

import numpy as np
import pytest
import pytest_asyncio

from mitmesh.caching.embedder import CHARACTERS, MODEL, Embedder, Embedding
from mitmesh.caching.meaning import EmbedderError
from mitmesh.caching.process import ProcessEmbedder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder():
    made = Embedder()
    await made.start()
    yield made
    await made.stop()


pytestmark = pytest.mark.asyncio(loop_scope="module")


def cosine(one: Embedding | None, other: Embedding | None) -> float:
    assert one and other
    a, b = (np.frombuffer(each.vector, dtype=np.int8).astype(float) for each in (one, other))
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


async def test_vectors_are_nearer_the_nearer_the_meaning(embedder):
    asked, same, other = [
        await embedder.embed(text)
        for text in ("How do I reset my password?", "How can I reset my password?", "Which cheese goes with wine?")
    ]
    assert len(asked.vector) == 384
    assert cosine(asked, same) > 0.95
    assert cosine(asked, other) < 0.3
    assert embedder.health() == ""


async def test_cosine_alone_would_answer_the_opposite(embedder):
    """Why there is a gate."""
    one, other = [
        await embedder.embed(t) for t in ("Delete the staging database", "Do not delete the staging database")
    ]
    assert cosine(one, other) > 0.85


async def test_a_text_longer_than_the_model_reads_has_no_vector(embedder):
    assert await embedder.embed("word " * 250) is not None
    assert await embedder.embed("word " * 260) is None
    assert await embedder.embed("x " * CHARACTERS) is None
    assert embedder.health() == ""


async def test_a_role_that_says_nothing_cannot_hide_how_long_a_text_is(embedder):
    assert await embedder.embed("You are a senior engineer. " + "word " * 255) is None


async def test_empty_and_odd_texts_do_not_raise(embedder):
    for text in ("", " ", "\x00", "\ud800", "😀" * 50, "## \n", "-" * 500):
        await embedder.embed(text)
    assert cosine(await embedder.embed("still there"), await embedder.embed("still there")) == pytest.approx(1)


async def test_the_queue_is_bounded_and_what_does_not_fit_is_a_miss():
    small = Embedder(waiting=3)
    await small.start()
    found = await asyncio.gather(*(small.embed(f"text number {n}") for n in range(10)))
    assert sum(each is not None for each in found) == 3
    assert await small.embed("room again") is not None
    await small.stop()
    assert await small.embed("stopped") is None
    assert small.health()


async def test_the_event_loop_goes_on_while_it_computes(embedder):
    """Turns of the loop while 20 long texts are embedded; a blocked loop would have about 20."""
    turns, running = 0, asyncio.gather(*(embedder.embed(f"{n} word " * 100) for n in range(20)))
    while not running.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 200


async def test_a_thread_that_hangs_gathers_no_texts(monkeypatch):
    """Those who give up waiting make no room for others that would wait in vain."""
    hung, go_on = Embedder(waiting=3), threading.Event()
    await hung.start()
    monkeypatch.setattr(hung, "_compute", lambda text: go_on.wait(30) and None)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hung.embed("text"), 0.01)
    began = time.monotonic()
    assert await hung.embed("text") is None and time.monotonic() - began < 5
    go_on.set()
    monkeypatch.undo()
    async with asyncio.timeout(30):
        while await hung.embed("text") is None:
            await asyncio.sleep(0.01)
    await hung.stop()


async def test_a_missing_or_damaged_model_is_told_with_what_to_do(tmp_path):
    with pytest.raises(EmbedderError, match="scripts/export-embedder"):
        await Embedder(tmp_path).start()
    shutil.copy(MODEL / "tokenizer.json", tmp_path)
    (tmp_path / "model.int8.onnx").write_bytes(b"damaged")
    broken = Embedder(tmp_path)
    with pytest.raises(EmbedderError, match="cannot be loaded"):
        await broken.start()
    assert await broken.embed("anything") is None


@pytest.mark.parametrize("values", [[0.0] * 384, [float("nan")] * 384, [float("inf")] + [0.0] * 383])
async def test_what_is_no_direction_is_no_vector(values):
    assert Embedding.of(np.array(values)) is None


FAKE = """
import time
class Tokenizer:
    def __call__(self, text): return {"input_ids": text.split()}
class SentenceTransformer:
    max_seq_length = 8
    tokenizer = Tokenizer()
    def __init__(self, model, device):
        if model == "slow to load": time.sleep(1)
        elif model != "mine": raise ValueError(model)
        print("a library that talks")
    def encode(self, text, show_progress_bar):
        if text == "die": raise SystemExit(3)
        if text == "hang": time.sleep(60)
        if text == "pause": time.sleep(0.5)
        return [float(len(text)), 1.0, 0.0]
"""


@pytest.fixture
def python(tmp_path):
    """An interpreter that has (a fake) sentence-transformers."""
    (tmp_path / "sentence_transformers.py").write_text(FAKE)
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    return str(wrapper)


async def test_another_model_answers_from_its_own_process(python):
    other = ProcessEmbedder(python, "mine")
    await other.start()
    one, two = await asyncio.gather(other.embed("four"), other.embed("longer text"))
    assert one == Embedding.of(np.array([4.0, 1.0, 0.0]))
    assert two == Embedding.of(np.array([11.0, 1.0, 0.0]))
    assert await other.embed("one word more than the model is made for would") is None
    assert other.health() == ""
    await other.stop()
    assert await other.embed("four") is None


async def until_embeds(other):
    async with asyncio.timeout(60):
        while (found := await other.embed("four")) is None:
            await asyncio.sleep(0.01)
    return found


async def test_a_process_that_ends_is_started_again(python, monkeypatch):
    monkeypatch.setattr("mitmesh.caching.process.AGAIN_SECONDS", 0.1)
    monkeypatch.setattr("mitmesh.caching.process.SECONDS", 0.5)  # a start takes longer than a text may
    other = ProcessEmbedder(python, "slow to load")
    await other.start()
    assert await other.embed("die") is None
    assert "started again" in other.health()
    began = time.monotonic()
    assert await other.embed("four") is None and time.monotonic() - began < 0.3  # nobody waits for that
    assert await until_embeds(other) == Embedding.of(np.array([4.0, 1.0, 0.0]))
    assert other.health() == ""
    await other.stop()


async def test_a_process_that_cannot_be_started_again_is_tried_again(python, monkeypatch):
    monkeypatch.setattr("mitmesh.caching.process.AGAIN_SECONDS", 0.05)
    other = ProcessEmbedder(python, "mine")
    await other.start()
    other._python = "/nowhere/python"
    await other.embed("die")
    async with asyncio.timeout(30):
        while "cannot be started again" not in other.health():
            await asyncio.sleep(0.01)
    other._python = python
    assert await until_embeds(other)
    await other.stop()


async def test_who_gives_up_waiting_ends_nobody_elses(python):
    other = ProcessEmbedder(python, "mine", waiting=2)
    await other.start()
    first, second = (asyncio.ensure_future(other.embed(text)) for text in ("pause", "the second"))
    await asyncio.sleep(0.05)
    second.cancel()
    assert await other.embed("one too many") is None
    assert await first is not None and other.health() == ""
    await other.stop()


async def test_a_process_that_hangs_is_ended(python, monkeypatch):
    monkeypatch.setattr("mitmesh.caching.process.SECONDS", 1.0)
    other = ProcessEmbedder(python, "mine")
    await other.start()
    began = time.monotonic()
    assert await other.embed("hang") is None
    assert time.monotonic() - began < 30
    await other.stop()


async def test_an_answer_nobody_waits_for_any_more_is_not_the_next_ones(python):
    other = ProcessEmbedder(python, "mine")
    await other.start()
    given_up = asyncio.ensure_future(other.embed("the first text"))
    await asyncio.sleep(0.01)
    given_up.cancel()
    assert await other.embed("four") == Embedding.of(np.array([4.0, 1.0, 0.0]))
    await other.stop()


async def test_a_python_without_the_model_is_told(python, tmp_path):
    with pytest.raises(EmbedderError, match="sentence-transformers"):
        await ProcessEmbedder(python, "another").start()
    with pytest.raises(EmbedderError, match="no embedder by"):
        await ProcessEmbedder(str(tmp_path / "none"), "mine").start()


async def test_the_process_is_not_given_the_proxys_secrets(python, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "not for it")
    other = ProcessEmbedder(python, "mine")
    await other.start()
    assert other._process is not None
    with open(f"/proc/{other._process.pid}/environ", "rb") as file:
        environ = file.read()
    assert b"OPENAI_API_KEY" not in environ
    assert b"OMP_NUM_THREADS=1" in environ and b"HF_HUB_OFFLINE=1" in environ
    pid = other._process.pid
    await other.stop()
    assert not os.path.exists(f"/proc/{pid}")
