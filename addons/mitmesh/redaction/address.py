"""What a call's URL says besides where it goes: the segments of its path, and its query's names and values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, quote_plus, unquote, unquote_to_bytes

from mitmesh.dialects.base import Provenance, Text
from mitmesh.wire.charset import decoded

CREDENTIALS = frozenset({"key", "access_token", "x-amz-credential", "x-amz-security-token", "x-amz-signature"})
"""Parameters that carry the client's own credential, which is for the provider. (An old form has `$` before it.)"""
_CREDENTIAL = re.compile(r"(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9._~+/=-]{8,4096}")
_WORDS = frozenset({
    "v1", "v2", "v3", "v1beta", "v1beta1", "v1alpha", "openai", "deployments", "chat", "completions", "responses",
    "messages", "models", "embeddings", "files", "batches", "batch", "assistants", "threads", "runs",
    "conversations", "items", "content", "input_items", "api", "projects", "locations", "publishers", "endpoints",
    "model", "invoke", "generate", "cachedContents",
})  # fmt: skip
"""Segments that APIs have: no rule of an operator for a word may take them out."""
_PLUS = re.compile(r"\+(?!\d{7})|(?<=[^=])\+")
MOST = 100
"""Parameters, or segments, that are read; a URL with more is refused, for nobody means to send that."""
_ENCODED = 3
"""How often a text may be encoded: `%2540` is an `@` too."""


class TooManyParameters(ValueError):
    """A URL with more parameters or segments than are looked at."""


def said(path: str) -> list[Text]:
    """The texts of a URL's path: each segment but the API's own words, and each parameter as `name=value` (a finder
    knows a password by its name), but for a credential. A text's path is `("/", n)` for the n-th segment and `("?", n)`
    for the n-th parameter. Raises TooManyParameters."""
    route, _, query = path.partition("?")
    segments, fields = route.split("/"), query.split("&") if query else []
    if max(len(fields), len(segments)) > MOST:
        raise TooManyParameters
    texts = [
        Text(("/", n), Provenance.METADATA, _plain(segment))
        for n, segment in enumerate(segments)
        if segment and segment not in _WORDS
    ]
    return texts + [
        Text(("?", n), Provenance.METADATA, _plain(_spaced(field)))
        for n, field in enumerate(fields)
        if field and not _is_credential(field)
    ]


def rewritten(path: str, new: Mapping[tuple[str | int, ...], str]) -> str:
    """The path with other texts, by the paths that `said` gave them; all else keeps its bytes."""
    route, sign, query = path.partition("?")
    segments = route.split("/")
    fields = query.split("&")
    for (where, n), text in new.items():
        assert isinstance(n, int)
        if where == "/":
            segments[n] = quote(text, safe=":")
        else:
            fields[n] = _field(fields[n], text)
    return "/".join(segments) + sign + "&".join(fields)


def _field(old: str, text: str) -> str:
    """A parameter with another text; its name keeps its bytes where that is as it was."""
    name, sign, _ = old.partition("=")
    known = _plain(_spaced(name)) + "="
    if sign and text.startswith(known):
        return f"{name}={quote_plus(text[len(known) :])}"
    name, sign, value = text.partition("=")
    return quote_plus(name) + sign + quote_plus(value)


def _is_credential(field: str) -> bool:
    name, _, value = field.partition("=")
    return unquote(name).lower().lstrip("$") in CREDENTIALS and _CREDENTIAL.fullmatch(unquote(value)) is not None


def _spaced(field: str) -> str:
    """A parameter with its spaces; a plus before a phone's number is one that somebody forgot to encode."""
    return _PLUS.sub(" ", field)


def _plain(said: str) -> str:
    """A text as people read it."""
    for _ in range(_ENCODED):
        if "%" not in said:
            break
        said = decoded(unquote_to_bytes(said))[0]
    return said
