"""The gateway: the same calls at a base URL. Which dialect a path speaks, and the rule a call starts with."""

from __future__ import annotations

from collections.abc import Mapping

from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Dialect
from mitmesh.paths import PathTable
from mitmesh.rules import HostRule, PathRule

SPEC = "reverse:http://127.0.0.1:9"
"""The mode's static target is the discard port, where nothing listens: a call that nothing routed fails there."""

_PATHS = PathTable(
    PathRule.model_validate({"path": path, "dialect": dialect, "method": method})
    for path, dialect, method in (
        ("/v1/chat/completions", "openai_chat", "POST"),
        ("/v1/completions", "openai_chat", "POST"),
        ("/v1/responses", "openai_responses", "POST"),
        ("/v1/responses/**", "openai_responses", "GET"),
        ("/v1/responses/**", "openai_responses", "POST"),
        ("/v1/responses/**", "openai_responses", "DELETE"),
        ("/v1/embeddings", "openai_embeddings", "POST"),
        ("/v1/messages", "anthropic", "POST"),
        ("/v1/messages/count_tokens", "anthropic", "POST"),
        ("/v1beta/models", "gemini", "GET"),
        ("/v1beta/models/*", "gemini", "GET"),
        ("/v1beta/models/*", "gemini", "POST"),
    )
)

UNROUTED = HostRule(id="gateway", match=["gateway"], provider="none", api="none")
"""The rule of a call to the gateway until the route stage gives it its provider's."""


def dialect_of(method: str, path: str, headers: Mapping[str, str]) -> Dialect | None:
    """The dialect of a path of the gateway; None where it has none. `/v1/models` is whose SDK asks."""
    bare = path.partition("?")[0].rstrip("/")
    if method == "GET" and (bare == "/v1/models" or bare.startswith("/v1/models/")):
        return DIALECTS["anthropic" if "anthropic-version" in headers else "openai_chat"]
    name = _PATHS.find(method, path)
    return DIALECTS[name] if name else None
