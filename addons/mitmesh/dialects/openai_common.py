"""What OpenAI's three dialects share: claims in headers, calls without a body, usage, errors."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from mitmesh.dialects.base import Answer, Call, DialectError, Framing, Operation, Refusal, Usage
from mitmesh.dialects.in_path import model_in
from mitmesh.dialects.openai_texts import is_identifier
from mitmesh.dialects.walk import count, encode, limit, obj, string

_CLAIM_LENGTH = 256
_TRUE = frozenset({"true", "1", "yes", "on", "t", "y"})

LENGTH = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "incomplete"})
"""Words of any dialect, in lower case, for an answer that ran out of its token limit."""
FILTERED = frozenset({"content_filter", "refusal", "safety", "prohibited_content", "blocklist", "recitation"})
"""Words of any dialect, in lower case, for an answer that was withheld."""


def require(doc: Any) -> dict[str, Any]:
    """The document, if it is a JSON object. Raises DialectError where it is not."""
    if not isinstance(doc, dict):
        raise DialectError("the body must be a JSON object")
    return doc


def model_of(doc: dict[str, Any], path: str) -> str | None:
    """The model a request names: in its path (Azure, which then does not heed the body's), or in its body. Raises
    DialectError where the body's is no string."""
    model = doc.get("model")
    if model is not None and not isinstance(model, str):
        raise DialectError("model: must be a string")
    return model_in(path) or model or None


def is_true(value: Any) -> bool:
    """Is a flag set? As liberal as the most liberal server (vLLM takes "true")."""
    return value is True or (isinstance(value, str) and value.lower() in _TRUE) or (type(value) is int and value == 1)


def bare_call(path: str, headers: Mapping[str, str]) -> Call:
    """A call without a body: a list of models, or an answer the provider keeps (`/v1/responses/{id}`), polled."""
    url = urlsplit(path)
    steps = [step for step in url.path.split("/") if step]
    if "models" in steps[-2:]:
        return claim(Call(Operation.MODELS), {}, headers)
    call = Call(Operation.OTHER, stream=is_true(parse_qs(url.query).get("stream", [""])[0]))
    if "responses" in steps[:-1]:
        call.history_at_provider = _claimed(steps[steps.index("responses") + 1])
    return claim(call, {}, headers)


def claim(call: Call, doc: dict[str, Any], headers: Mapping[str, str]) -> Call:
    """Set session and account as the client (Codex, or a body's cache key) claims them."""
    get = headers.get
    call.session = _claimed(
        get("session_id")
        or get("session-id")
        or get("x-session-id")
        or string(doc.get("session_id"))
        or string(doc.get("prompt_cache_key"))
    )
    call.account = _claimed(get("chatgpt-account-id") or get("openai-organization"))
    return call


def _claimed(value: str | None) -> str | None:
    return value[:_CLAIM_LENGTH] if value else None


def tokens_limit(doc: dict[str, Any], *names: str) -> int | None:
    """The largest of the fields `names` that are a positive number of tokens: the server says which one holds."""
    return max((value for name in names if (value := limit(doc.get(name))) is not None), default=None)


def choices(doc: Any) -> int:
    """How many answers a chat or completions request asks for at once."""
    each = max(limit(obj(doc).get(name)) or 1 for name in ("n", "best_of"))
    prompts = obj(doc).get("prompt")  # of completions: a text, a list of them, or of tokens, or of lists of tokens
    if not isinstance(prompts, list):
        return each
    return each * max(1, sum(isinstance(prompt, (str, list)) for prompt in prompts))


def framing(call: Call) -> Framing:
    """SSE if the call streams, one document if not."""
    return Framing.SSE if call.stream else Framing.NONE


def read_usage(value: Any) -> Usage | None:
    """Usage in any of the spellings that OpenAI (both APIs), DeepSeek, Mistral, OpenRouter and xAI use; None where
    there is none."""
    if not isinstance(value, dict) or not ("prompt_tokens" in value or "input_tokens" in value):
        return None
    prompt = count(value.get("prompt_tokens")) or count(value.get("input_tokens"))
    completion = count(value.get("completion_tokens")) or count(value.get("output_tokens"))
    into = obj(value.get("prompt_tokens_details")) or obj(value.get("input_tokens_details"))
    out = obj(value.get("completion_tokens_details")) or obj(value.get("output_tokens_details"))
    cached = into.get("cached_tokens") or value.get("prompt_cache_hit_tokens") or value.get("num_cached_tokens")
    reasoning = count(out.get("reasoning_tokens"))
    if reasoning and count(value.get("total_tokens")) == prompt + completion + reasoning:
        completion += reasoning  # xAI leaves reasoning out of completion_tokens, but not out of the total
    return Usage(
        prompt=prompt,
        completion=completion,
        cache_read=count(cached or value.get("cached_tokens")),
        cache_write_5m=count(into.get("cache_write_tokens")),
        reasoning=reasoning,
    )


def error_word(error: Any) -> str:
    """The type or code of an error object, `error` where it gives none; never its message."""
    for name in ("type", "code"):
        word = obj(error).get(name)
        if isinstance(word, int):
            return str(word)[:20]
        if isinstance(word, str) and is_identifier(word) and word != "error":
            return word
    return "error"


def error_body(refusal: Refusal) -> dict[str, Any]:
    """OpenAI's error object."""
    return {
        "message": refusal.message,
        "type": refusal.type,
        "param": None,
        "code": refusal.code,
        "mesh_id": refusal.exchange,
    }


def refusal_body(refusal: Refusal) -> bytes:
    """OpenAI's error envelope."""
    return encode({"error": error_body(refusal)})


def answer_id(answer: Answer, prefix: str) -> str:
    """The answer's id, or a new one."""
    return answer.id or new_id(prefix)


def new_id(prefix: str) -> str:
    """A random id such as the provider would give."""
    return prefix + secrets.token_hex(12)
