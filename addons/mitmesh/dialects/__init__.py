"""The dialects, by name. Each is stateless; one instance serves all calls."""

from __future__ import annotations

from mitmesh.dialects.anthropic import Anthropic
from mitmesh.dialects.base import Dialect
from mitmesh.dialects.gemini import Gemini
from mitmesh.dialects.generic import Generic
from mitmesh.dialects.openai_chat import OpenAIChat
from mitmesh.dialects.openai_embeddings import OpenAIEmbeddings
from mitmesh.dialects.openai_responses import OpenAIResponses

_ALL = (OpenAIChat(), OpenAIResponses(), OpenAIEmbeddings(), Anthropic(), Gemini(), Generic())

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in _ALL}
"""Every dialect by the name that rules/hosts.yaml and the audit use."""


def get(name: str) -> Dialect:
    """The dialect of that name. Raises KeyError."""
    return DIALECTS[name]
