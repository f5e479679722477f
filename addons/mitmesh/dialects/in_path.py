"""The model that a request's path names. Where one does, that one serves, whatever the body says.

Azure: `/openai/deployments/NAME/...` (https://learn.microsoft.com/azure/ai-foundry/openai/reference). Bedrock:
`/model/ID/invoke`, where the id may be an ARN. Gemini and Vertex: `.../models/NAME:method`. OpenAI's first API:
`/v1/engines/NAME/...`. Hugging Face: `/models/OWNER/NAME`. OpenAI's realtime API has it in the query.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote

_NAMED = re.compile(
    r"/(?:deployments|engines)/+(?P<deployment>[^/]+)/"
    r"|/model/+(?P<bedrock>.+?)/+(?:invoke|converse|count-tokens|async-invoke)(?:-[a-z-]+)?$"
    r"|/(?:models|endpoints|tunedmodels)/+(?P<method>[^/]+?):\w+$",
    re.IGNORECASE,
)
_HUGGINGFACE = re.compile(
    r"^/(?:hf-inference/)?models/+((?!chat/|images/)[^/:]+/(?!embeddings$)[^/:]+)$", re.IGNORECASE
)


def model_in(path: str) -> str | None:
    """The model that a path names, or None. `path` may have a query."""
    found = _NAMED.search(unquote(path.partition("?")[0]).rstrip("/"))
    return next(name for name in found.groups() if name) if found else None


def is_deployment(path: str) -> bool:
    """Does a path name a deployment (Azure), so that a model in the body is not heeded?"""
    found = _NAMED.search(unquote(path.partition("?")[0]))
    return found is not None and found["deployment"] is not None


def model_at_huggingface(path: str) -> str | None:
    """The model that a path of Hugging Face's own API names, or None. Azure has `/models/chat/completions`."""
    found = _HUGGINGFACE.search(unquote(path.partition("?")[0]).rstrip("/"))
    return found[1] if found else None


def model_in_query(path: str) -> str | None:
    """The model that a path's query names, where nothing else does, or None."""
    _, _, query = path.partition("?")
    return parse_qs(query).get("model", [None])[0] if "model=" in query else None
