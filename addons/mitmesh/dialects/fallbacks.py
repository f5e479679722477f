"""Models that a request names beside its own, any of which may serve it. Pure.

OpenRouter: `models`, `preset` (https://openrouter.ai/docs, "Model fallbacks", "Presets"). LiteLLM: `fallbacks` and its
kinds, and a list in `model` (https://docs.litellm.ai, "Fallbacks"). Vercel's gateway: `providerOptions.gateway.models`.
A tool may bring a model of its own (OpenAI's image_generation, Anthropic's advisor), and each request of a batch has
one (Anthropic, Gemini). Bodies may name another than their path (Gemini, Azure); OpenAI's realtime API has it in
`session`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mitmesh.dialects.base import Call
from mitmesh.dialects.walk import items, obj, string

MOST = 100
"""Models that one request may name."""
_FIELDS = (
    "models", "fallbacks", "default_fallbacks", "context_window_fallbacks", "content_policy_fallbacks",
    "context_window_fallback_dict",
)  # fmt: skip


class TooManyModels(ValueError):
    """A request names more models than MOST."""


def further(doc: Any, model: str | None) -> tuple[str, ...]:
    """The models that a request's JSON names beside `model`, each once. Raises TooManyModels."""
    if not isinstance(doc, dict):
        return ()
    found: dict[str, None] = {}
    for name in _named(doc, model):
        name = name.removeprefix("models/")  # Gemini's, which its paths and prices are without
        if name != model:
            found[name] = None
            if len(found) > MOST:
                raise TooManyModels
    return tuple(found)


def answered(call: Call, served: str | None) -> str | None:
    """Which of its models a call was answered by, as its answer tells; the name told where it is like none of them."""
    if not call.others or served is None:
        return call.model
    fits = [name for name in call.models if _is(_bare(name), _bare(served))]
    return max(fits, key=lambda name: len(_bare(name)), default=served)


def _named(doc: dict[str, Any], model: str | None) -> Iterator[str]:
    for field in _FIELDS:
        if field in doc:
            yield from _names(doc[field])
    own = string(doc.get("model"))
    if own and own != model and (model is None or _bare(own) != _bare(model)):
        yield own  # not what the path says
    for key in doc:
        if key != "model" and key.lower() == "model":  # servers in Go take it in any case
            yield from _names(doc[key])
    if own and "," in own:
        yield from _names(own)
    if preset := string(doc.get("preset")):
        yield f"@preset/{preset}"  # whatever its owner has put in it
    if options := obj(doc.get("providerOptions")):
        yield from _names(obj(options.get("gateway")).get("models"))
    yield from _of_each(items(doc.get("tools")))
    yield from _of_each((obj(doc.get("batch")), obj(doc.get("session")), *(requests := items(doc.get("requests")))))
    yield from _of_each(obj(request).get("params") for request in requests)


def _of_each(entries: Iterable[Any]) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, dict) and (name := string(entry.get("model"))):
            yield name


def _names(value: Any) -> Iterator[str]:
    """The models in a list of names, of requests that have one, or of such lists by the model they stand in for."""
    todo = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            yield from filter(None, (name.strip() for name in value.split(",")))
        elif isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, dict):
            todo.extend([value["model"]] if "model" in value else value.values())


def _bare(name: str) -> str:
    return name.rpartition("/")[2].lower()


def _is(name: str, served: str) -> bool:
    """Is it that, or the beginning of its full name (`gpt-4o` of `gpt-4o-2024-08-06`)?"""
    return served == name or served.startswith((f"{name}-", f"{name}:", f"{name}@")) or name.startswith(f"{served}:")
