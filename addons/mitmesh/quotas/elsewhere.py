"""Calls whose work is not in their answer: batches that run for hours, and what costs nothing at all. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from mitmesh import tokens
from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Call, DialectError, Operation
from mitmesh.dialects.openai_common import is_true
from mitmesh.dialects.walk import items, obj
from mitmesh.paths import is_about_data
from mitmesh.quotas.estimate import MEDIA, PER_MESSAGE

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange

_BATCH = re.compile(
    r"/(messages/batches|batches|batch/jobs|batchPredictionJobs|model-invocation-job)$"
    r"|:(batchGenerateContent|asyncBatchEmbedContent)$"
)
_MODEL = re.compile(r"/models/([^/:]+):\w+$")


@dataclass(slots=True, frozen=True)
class Batch:
    """What a batch asks for: tokens of its prompts, of its outputs at most, and the models. `None` for all where its
    requests lie in a file."""

    prompt: int
    output: int
    models: frozenset[str | None]


def is_batch(x: Exchange) -> bool:
    """Does this call begin a batch?"""
    if x.method != "POST" or x.operation is not Operation.OTHER:
        return False
    return _BATCH.search(_bare(x.path)) is not None


def is_free(x: Exchange) -> bool:
    """Is it about files, cancelling, telemetry: what uses no tokens and costs no dollars, whatever is in its body?"""
    if x.operation is not Operation.OTHER and not x.path.partition("?")[0].rstrip("/").endswith("/cancel"):
        return False
    return is_about_data(x.path, x.provider)


def is_background(x: Exchange) -> bool:
    """Does it ask for an answer that is made later (OpenAI's Responses)?"""
    return x.operation is Operation.CHAT and x.body is not None and is_true(obj(x.body.doc).get("background"))


def measured(doc: Any, path: str, cap: int) -> Batch | None:
    """A batch by its body: Anthropic's, Gemini's. `cap` is for requests that name no bound. None where its requests are
    not in it. Takes time in proportion to the texts: not for the event loop."""
    found = list(_requests(doc, _bare(path)))
    if not found:
        return None
    prompt = output = 0
    for call, choices in found:
        prompt += (
            sum(tokens.count(text.text, call.model) for text in call.texts) + call.opaque_bytes // MEDIA + PER_MESSAGE
        )
        output += (cap if call.max_tokens is None else call.max_tokens) * choices
    return Batch(prompt, output, frozenset(call.model for call, _ in found))


def _bare(path: str) -> str:
    return re.sub(r"/+", "/", unquote(path.partition("?")[0])).rstrip("/")


def _requests(doc: Any, path: str) -> Iterator[tuple[Call, int]]:
    if path.endswith("/messages/batches"):
        for each in items(obj(doc).get("requests")):
            yield _read("anthropic", obj(each).get("params"), "/v1/messages")
    elif named := _MODEL.search(path):
        verb = "embedContent" if "Embed" in path else "generateContent"
        batch = obj(_one(doc, "batch"))
        listed = obj(_one(_one(batch, "input_config", "inputConfig"), "requests"))
        for each in items(listed.get("requests")):
            yield _read("gemini", obj(each).get("request"), f"/v1beta/models/{named[1]}:{verb}")


def _read(dialect: str, doc: Any, path: str) -> tuple[Call, int]:
    """One request of a batch; one that its API would not take as well as can be."""
    try:
        call = DIALECTS[dialect].read(doc, path, {})
    except DialectError:
        call = DIALECTS["generic"].read(doc, path, {})
    return call, DIALECTS[dialect].choices(doc) if call.operation is not Operation.EMBEDDINGS else 0


def _one(fields: Any, *names: str) -> Any:
    return next((obj(fields)[name] for name in names if name in obj(fields)), None)
