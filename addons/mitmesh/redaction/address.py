"""What a call's URL says besides where it goes: values of its query, and a model's name."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from mitmesh.dialects.base import Provenance, Text

CREDENTIALS = frozenset({"key", "access_token"})
"""Parameters that carry the client's own credential, which is for the provider. (An old form has `$` before it.)"""
_MOST = 100
"""Parameters that are read; a URL with more is refused, for nobody means to send that."""


class TooManyParameters(ValueError):
    """A URL with more parameters than are looked at."""


def said(path: str) -> list[Text]:
    """The texts of a URL's path: each value of the query but a credential, and each segment with a sign that names of
    APIs do not have. A text's path is `("?", n, name)` for the n-th parameter, `("/", n)` for the n-th segment. Raises
    TooManyParameters."""
    route, _, query = path.partition("?")
    texts = []
    for n, segment in enumerate(route.split("/")):
        if "@" in (plain := unquote(segment)) or "%" in segment:
            texts.append(Text(("/", n), Provenance.METADATA, plain))
    fields = query.split("&") if query else []
    if len(fields) > _MOST:
        raise TooManyParameters
    for n, field in enumerate(fields):
        name, _, value = field.partition("=")
        name = unquote_plus(name)
        if value and name.lower().lstrip("$") not in CREDENTIALS:
            texts.append(Text(("?", n, name), Provenance.METADATA, unquote_plus(value)))
    return texts


def rewritten(path: str, new: Mapping[tuple[str | int, ...], str]) -> str:
    """The path with other texts, by the paths that `said` gave them; all else keeps its bytes."""
    route, sign, query = path.partition("?")
    segments = route.split("/")
    fields = query.split("&")
    for (where, n, *_), text in new.items():
        assert isinstance(n, int)
        if where == "/":
            segments[n] = quote(text, safe=":")
        else:
            fields[n] = fields[n].partition("=")[0] + "=" + quote_plus(text)
    return "/".join(segments) + sign + "&".join(fields)
