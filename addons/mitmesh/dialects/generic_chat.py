"""What chats ask for and tell in APIs that are read generically, by the names that these use.

Ollama (`/api/chat`, `/api/generate`; https://docs.ollama.com/api), Cohere's own (`/v1/chat`, `/v2/chat`;
https://docs.cohere.com/reference/chat), Bedrock's Converse and InvokeModel (https://docs.aws.amazon.com/bedrock, "API
reference", "Inference parameters"), Code Assist, which wraps Gemini's documents in `request` and `response`,
llama.cpp's `/completion` (https://github.com/ggml-org/llama.cpp, "tools/server"), TGI's `/generate`
(https://huggingface.co/docs/text-generation-inference), and whatever has `messages` or asks for a stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mitmesh.dialects.base import AnswerText, Framing, Kind, Operation, Path, Provenance, Text, Usage
from mitmesh.dialects.bedrock import streams
from mitmesh.dialects.openai_common import choices as openai_choices
from mitmesh.dialects.openai_common import read_usage
from mitmesh.dialects.openai_texts import is_long_media
from mitmesh.dialects.walk import count, is_name, items, limit, obj, string
from mitmesh.wire.path import normalise

LABELS = frozenset({
    "type", "event_type", "object", "event", "id", "model", "role", "created_at", "status", "p", "o",
    "finish_reason", "done_reason", "stop_reason", "stopReason", "finishReason", "modelVersion",
    "response_id", "responseId", "generation_id", "conversation_id", "message_id", "item_id", "call_id", "tool_call_id",
    "toolUseId", "traceId", "request_id", "system_fingerprint", "service_tier", "obfuscation",
})  # fmt: skip
"""Members of answers whose names say what something is; what they hold is no output where it looks like a name."""

_NO_WORDS = "embed|image|canvas|reel|stability|stable-|rerank"
"""Parts of the names of models at Bedrock whose answers are no words."""
_APIS = {
    "ollama": re.compile(r"/api/(chat|generate)$"),
    "cohere": re.compile(r"/v[12]/(chat|generate)$"),
    "converse": re.compile(r"/model/.+/converse(-stream)?$"),
    "invoke": re.compile(rf"/model/(?!.*({_NO_WORDS})).+/invoke(-with-response-stream)?$"),
    "gemini": re.compile(r":(stream)?generatecontent$"),
    "text": re.compile(r"/(generate|generate_stream|completion|retry_completion)$"),
}
_COUNTS = re.compile(r"/count-?_?tokens$|:counttokens$")
_NO_CHAT = re.compile(r"/(images|audio|videos?|files|uploads|threads)(/(?!runs$)[^/]+)?$")
"""Paths where what looks like a chat is none: media, and OpenAI's threads, which are kept and run later."""
_BOUNDS = (
    "max_tokens", "max_completion_tokens", "max_output_tokens", "maxTokens", "maxOutputTokens", "max_new_tokens",
    "max_gen_len", "max_tokens_to_sample", "maxTokenCount", "num_predict", "n_predict",
)  # fmt: skip
_SETTINGS = ("options", "inferenceConfig", "textGenerationConfig", "generationConfig", "parameters", "config")
"""Members of a request that hold such bounds."""
_PLACES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ollama": (("num_predict",), ("options",)),
    "cohere": (("max_tokens",), ("",)),
    "converse": (("maxTokens",), ("inferenceConfig",)),
    "gemini": (("maxOutputTokens",), ("generationConfig",)),
}
"""Where alone an API looks for its bound: what it does not heed is none."""
_FAMILIES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "nova": _PLACES["converse"],
    "claude-": (("max_tokens_to_sample",), ("",)),
    "titan-t": (("maxTokenCount",), ("textGenerationConfig",)),
    "llama": (("max_gen_len",), ("",)),
    **dict.fromkeys(
        ("mistral", "mixtral", "ministral", "command", "deepseek", "jamba", "qwen", "gpt-oss"), _PLACES["cohere"]
    ),
}
"""The same for models at Bedrock's InvokeModel, by a part of the name. (Of Claude the first ones alone
are read here.)"""
_ROLES = {
    "system": Provenance.SYSTEM,
    "developer": Provenance.SYSTEM,
    "assistant": Provenance.ASSISTANT,
    "model": Provenance.ASSISTANT,
    "tool": Provenance.TOOL_RESULT,
}
_SPOKEN = ("message", "prompt", "inputText", "inputs")
"""Members of a request that hold what the user says, as one text."""
_GROWS = frozenset({
    "text", "content", "thinking", "reasoning", "reasoning_content", "response", "completion", "generation",
    "outputText", "generated_text", "tool_plan", "arguments", "partial_json", "input", "output", "delta", "value", "v",
})  # fmt: skip
"""Members of events that hold the next piece of a text."""
_INDICES = ("index", "contentBlockIndex")
_PROMPT = ("inputTokens", "inputTokenCount", "prompt_eval_count", "prompt_token_count", "inputTextTokenCount",
           "promptTokenCount", "tokens_evaluated", "prompt_tokens", "input_tokens")  # fmt: skip
_OUTPUT = ("outputTokens", "outputTokenCount", "eval_count", "generation_token_count", "totalOutputTextTokenCount",
           "candidatesTokenCount", "tokens_predicted", "completion_tokens", "output_tokens")  # fmt: skip
_READ = ("cacheReadInputTokens", "cacheReadInputTokenCount", "cache_read_input_tokens")
_WRITTEN = ("cacheWriteInputTokens", "cacheWriteInputTokenCount", "cache_creation_input_tokens")


def operation(doc: Any, path: str) -> Operation:
    """What a request asks for."""
    bare = _bare(path)
    if doc is None:
        return Operation.MODELS if re.search(r"/models$", bare) else Operation.OTHER
    if _COUNTS.search(bare):
        return Operation.COUNT_TOKENS
    fields = obj(doc)
    asks = fields.get("stream") is True or isinstance(fields.get("messages"), list)
    return Operation.CHAT if _api(bare) or (asks and not _NO_CHAT.search(bare)) else Operation.OTHER


def framing(doc: Any, path: str) -> Framing:
    """How the answer will be cut: Ollama streams unless it is told not to, Bedrock and Gemini go by the path."""
    bare, wanted = _bare(path), obj(doc).get("stream")
    if (api := _api(bare)) == "ollama":
        return Framing.NONE if wanted is False else Framing.NDJSON
    if streams(path):
        return Framing.AWS
    if api == "gemini" and ":stream" in bare:
        return Framing.SSE if "alt=sse" in path else Framing.JSON_ARRAY
    return Framing.SSE if wanted is True or bare.endswith("/generate_stream") else Framing.NONE


def bound(doc: Any, path: str) -> int | None:
    """The most output tokens that a chat may have by what it says itself, where the API heeds it."""
    fields = obj(doc)
    fields = obj(fields.get("request")) or fields
    names, settings = _place(_bare(path)) or (_BOUNDS, ("", *_SETTINGS))
    places = [obj(fields.get(each)) if each else fields for each in settings]
    return max((found for place in places for name in names if (found := limit(place.get(name)))), default=None)


def cap(doc: Any, path: str, most: int) -> tuple[Path, Any] | None:
    """The value to set so that an answer has at most so many tokens; None where the API's name for it is not known."""
    fields, bare = obj(doc), _bare(path)
    at: Path = ()
    if _api(bare) == "gemini" and "request" in fields:
        fields, at = obj(fields["request"]), ("request",)
    if (place := _place(bare)) is None or not fields:
        return None
    (name,), (settings,) = place
    if not settings:
        return (*at, name), most
    if fields.get(settings) is None:
        return (*at, settings), {name: most}
    return ((*at, settings, name), most) if isinstance(fields[settings], dict) else None


def is_ollama(path: str) -> bool:
    """Is Ollama's own API at this path?"""
    return _api(_bare(path)) == "ollama"


def choices(doc: Any) -> int:
    """How many answers it asks for at once."""
    return max(openai_choices(doc), limit(obj(doc).get("num_generations")) or 1)


def attribute(texts: list[Text], doc: Any) -> None:
    """Say of a chat's texts who wrote them, and in which message, as far as its roles tell; of others that they are
    documents. What looks like media, and names of models and the like, stay metadata: no prompt is made of them."""
    fields = obj(doc)
    fields = obj(fields.get("request")) or fields
    wraps = 1 if fields is not doc else 0
    for text in texts:
        path = text.path[wraps:]
        if is_long_media(text.text):
            continue
        if len(path) > 2 and path[0] in ("messages", "contents", "chat_history") and isinstance(path[1], int):
            if path[2] == "role":
                continue
            said = items(fields.get(str(path[0])))[path[1]]
            role = (string(obj(said).get("role")) or "").lower()
            text.provenance, text.message = _ROLES.get(role, Provenance.USER), path[1] + 2
        elif path and path[0] in ("system", "systemInstruction", "preamble"):
            text.provenance, text.message = Provenance.SYSTEM, 0
        elif len(path) == 1 and path[0] in _SPOKEN:
            text.provenance, text.message = Provenance.USER, 1_000_000
        elif path and path[0] in ("tools", "toolConfig"):
            text.provenance, text.message = Provenance.TOOL_DEFINITION, 1
        elif not (path and path[-1] in LABELS and is_name(text.text)):
            text.provenance = Provenance.DOCUMENT  # whatever it is, the model may read it


def position(doc: Any, path: Path, text: str) -> AnswerText:
    """A string of a stream's event. Where streams say a text piece by piece it goes on with what stood at the same
    place, in the same block or choice."""
    names = [step for step in path if isinstance(step, str)]
    if not names or names[-1] not in _GROWS:
        return AnswerText(path, "", Kind.TEXT, text)
    choice = obj(next(iter(items(obj(doc).get("choices"))), None))
    index = next((each.get(name) for each in (obj(doc), choice) for name in _INDICES if name in each), 0)
    inner = names[-1] in ("arguments", "partial_json") or names[-2:] == ["toolUse", "input"]
    return AnswerText(path, f"{count(index)}.{'.'.join(map(str, path))}", Kind.TEXT, text, is_json=inner)


def usage(doc: Any) -> Usage | None:
    """What an answer or event says of tokens; None where that is nothing."""
    said: Usage | None = None
    for place in _usages(obj(doc)):
        if found := _usage(place):
            said = latest(found, said)
    return said


def latest(said: Usage, before: Usage | None) -> Usage:
    """Usage with what was said before: streams tell the prompt at the beginning and the output at the end, or both as
    they grow."""
    if before is None:
        return said
    names = ("prompt", "completion", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning")
    return Usage(**{name: max(getattr(said, name), getattr(before, name)) for name in names})


def _usages(doc: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Where documents speak of tokens."""
    for whole in (doc, obj(doc.get("response")), obj(doc.get("message")), obj(doc.get("delta"))):
        if whole:
            for place in (whole, *(obj(whole.get(name)) for name in ("usage", "meta", "usageMetadata"))):
                # Cohere's: what is billed, else what was counted.
                yield obj(place.get("billed_units")) or obj(place.get("tokens")) or place
    yield obj(doc.get("amazon-bedrock-invocationMetrics"))


def _usage(said: Mapping[str, Any]) -> Usage | None:
    if not any(name in said for name in (*_PROMPT, *_OUTPUT)):
        return None
    if ("prompt_tokens" in said or "input_tokens" in said) and not any(name in said for name in (*_READ, *_WRITTEN)):
        return read_usage({name: _whole(value) for name, value in said.items()})
    read, written = _first(said, _READ), _first(said, _WRITTEN)
    apart = 0 if "promptTokenCount" in said else read + written  # Gemini's prompt has them in it
    results = sum(count(obj(each).get("tokenCount")) for each in items(said.get("results")))  # Titan's
    thought = _first(said, ("thoughtsTokenCount",))
    return Usage(
        prompt=_first(said, _PROMPT) + _first(said, ("toolUsePromptTokenCount",)) + apart,
        completion=(_first(said, _OUTPUT) or results) + thought,
        cache_read=read or _first(said, ("cachedContentTokenCount",)),
        cache_write_5m=written,
        reasoning=thought,
    )


def _first(said: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return next((found for name in names if (found := count(_whole(said.get(name))))), 0)


def _whole(value: Any) -> Any:
    """A number as a whole one: Cohere writes 12.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _place(bare: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Names of the bound, and the members that hold it, of the API at a path; None where it is not known."""
    api = _api(bare)
    if api == "invoke":
        return next((place for family, place in _FAMILIES.items() if family in bare), None)
    return _PLACES.get(api or "")


def _api(bare: str) -> str | None:
    return next((name for name, path in _APIS.items() if path.search(bare)), None)


def _bare(path: str) -> str:
    return normalise(path) or ""
