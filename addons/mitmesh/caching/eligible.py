"""Which calls and which answers may be kept at all; pure.

What is listed as harmless is harmless; all that is not known well is not kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mitmesh.dialects.base import Kind, Operation
from mitmesh.dialects.gemini_parts import camel
from mitmesh.dialects.walk import items, obj
from mitmesh.exchange import Inspected, Origin, Outcome
from mitmesh.redaction.placeholders import values_of

if TYPE_CHECKING:
    from mitmesh.dialects.base import Answer
    from mitmesh.exchange import Exchange
    from mitmesh.rules.cache import Cache

# fmt: off
AT_PROVIDER = frozenset({
    "background", "cachedContent", "cached_content", "container", "context_management", "conversation", "include",
    "mcp_servers", "plugins", "previous_interaction_id", "previous_response_id", "prompt_id", "search_parameters",
    "thread", "tool_resources", "web_search_options",
})
"""Fields by which an answer depends on what the provider keeps, finds or runs."""
MORE_THAN_TEXT = frozenset({"logprobs", "top_logprobs", "audio", "best_of", "echo"})
"""Fields by which an answer has more in it than is kept."""
FINISHED = frozenset({"stop", "end_turn", "stop_sequence", "completed", "STOP", "COMPLETE", "eos"})
"""Words for an answer that said all it had to say. Any other (length, a filter, a pause ...) is not kept."""
CALLED = frozenset({"tool_calls", "tool_use", "function_call"})
"""Words for one that ends in a call of a tool."""
# fmt: on
_CLIENT_TOOLS = {
    "openai_chat": ("function", "custom"),
    "openai_responses": ("function", "custom", "local_shell", "apply_patch", "computer_use_preview"),
    "anthropic": ("custom", "bash_", "text_editor_", "computer_", "memory_"),
}
"""Types of tools that the client runs, or their beginnings."""
_SEARCHING = ("search-preview", "search-api", "sonar", ":online", "deep-research")
"""Parts of the names of models that search whatever they are asked."""
FETCHED = frozenset({
    "url", "uri", "image_url", "file_url", "video_url", "audio_url", "document_url", "file_data", "fileUri", "file_uri",
    "file_id", "file_ids", "citations",
})  # fmt: skip
"""Members that may name what is fetched when the call is made, or is kept at the provider, which may be something else
the next time, or another's; so may what is cited."""
_SCHEME = re.compile(r"(?!data:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def off_for(x: Exchange, rules: Cache) -> str | None:
    """Why this call is neither answered from the cache nor kept in it; None where it may be."""
    if x.operation is Operation.EMBEDDINGS:
        if not rules.embeddings:
            return "embeddings are not kept"
    elif x.operation is not Operation.CHAT:
        return f"operation {x.operation.value}"
    if x.method != "POST" or x.body is None or x.inspected is Inspected.OPAQUE or not x.dialect.native:
        return "the request could not be read"
    if x.call.history_at_provider:
        return "history at the provider"
    if values_of(x) is None:
        return "redaction let its text through"
    return _asks(x, obj(x.body.doc), rules)


def _asks(x: Exchange, doc: dict[str, Any], rules: Cache) -> str | None:
    """Why an answer to this document would be no answer to the same document at another time."""
    if found := next((name for name in doc if name in AT_PROVIDER and doc[name] not in (None, False, [])), None):
        return f"{found}: depends on the provider's state"
    if isinstance(doc.get("prompt"), dict):
        return "prompt: is kept at the provider"
    if found := next((name for name in doc if name in MORE_THAN_TEXT and doc[name] not in (None, False, 0)), None):
        return f"{found}: an answer holds more than text"
    settings = {camel(key): value for key, value in obj(doc.get("generationConfig") or doc).items()}
    if settings.get("n") not in (None, 1) or settings.get("candidateCount") not in (None, 1):
        return "asks for several answers"
    kinds = [*items(settings.get("modalities")), *items(settings.get("responseModalities"))]
    if any(str(kind).lower() != "text" for kind in kinds):
        return "asks for more than text"
    if not _is_cool(settings.get("temperature"), rules.most_temperature):
        return "asks for variety (temperature)"
    if x.call.model and any(part in x.call.model.lower() for part in _SEARCHING):
        return "the model searches"
    served = any(_served(x.dialect.name, tool) for tool in items(doc.get("tools")))
    return "tools that the provider runs" if served else None


def _is_cool(heat: Any, most: float) -> bool:
    """Is it at most that? Some servers take a number as text too; what is none is not known to be."""
    try:
        return heat is None or float(heat) <= most
    except (TypeError, ValueError, OverflowError):
        return False


def _served(dialect: str, tool: Any) -> bool:
    """Does the provider run this tool?"""
    if dialect == "gemini":
        return any(camel(key) != "functionDeclarations" for key in obj(tool))
    kind = obj(tool).get("type")
    if kind is None:
        return dialect != "anthropic" or "input_schema" not in obj(tool)
    known = _CLIENT_TOOLS.get(dialect, ())
    return not any(kind == one or (one[-1] == "_" and str(kind).startswith(one)) for one in known)


def refers_elsewhere(doc: Any) -> bool:
    """Does the request name something that is fetched from elsewhere, or ask for citations?"""
    todo = [doc]
    for node in todo:
        named = type(node) is dict
        if named and not FETCHED.isdisjoint(node) and any(_fetched(name, node[name]) for name in FETCHED & node.keys()):
            return True
        for value in node.values() if named else node:
            kind = type(value)
            if kind is dict or kind is list:
                todo.append(value)
    return False


def _fetched(name: str, value: Any) -> bool:
    if name == "citations":
        return obj(value).get("enabled") is True
    if name in ("fileUri", "file_uri", "file_id", "file_ids"):
        return bool(value)
    return isinstance(value, str) and _SCHEME.match(value.strip()) is not None


def keepable(x: Exchange, rules: Cache) -> bool:
    """May the answer of this finished exchange be given again? It was whole, the provider's, and no error."""
    if x.status != 200 or x.refusal or x.outcome is not Outcome.ANSWERED or not x.forwarded:
        return False
    if x.origin is Origin.PROXY and x.route != "demo":
        return False
    return x.answer is not None and not x.answer_cut and whole(x.answer, x, rules)


def whole(answer: Answer, x: Exchange, rules: Cache) -> bool:
    """Is this all of an answer, and can what is kept of it say all of it?"""
    if not answer.complete or answer.error or answer.beyond:
        return False
    if x.operation is Operation.EMBEDDINGS:
        return True
    kinds = {part.kind for part in answer.parts}
    if not answer.parts or kinds & {Kind.OPAQUE, Kind.REFUSAL}:
        return False
    if Kind.REASONING in kinds and x.dialect.name != "openai_chat":  # elsewhere it is signed, or known by its id
        return False
    if Kind.TOOL_CALL in kinds:
        return rules.tool_calls and answer.finish in FINISHED | CALLED
    return answer.finish in FINISHED
