"""What a request shows of its caller: claims in headers, credentials in the places of providers' keys."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from mitmesh.attest.keys import PREFIX, SHAPE
from mitmesh.billing import CREDENTIALS

if TYPE_CHECKING:
    from mitmesh.dialects.base import Headers

_LONGEST_CLAIM = 128
"""Characters."""
_AROUND = " \t\r\n\"'`\u201c\u201d\u2018\u2019"
"""What stands around a credential and is no part of it: spaces, and quotes as shells, .env files and editors leave
them."""

_AT_SPACE = re.compile(r"\s+")
_SEEN_TO = frozenset({*CREDENTIALS, "proxy-authorization"})
_ALONE = re.compile(rf"(?<![A-Za-z0-9_-]){SHAPE.pattern}(?![A-Za-z0-9_-])")
_WITHIN = re.compile(rf"(?=({SHAPE.pattern}))")

_PREFIXES = ("x-mesh-", "x-agentmesh-")


def take_claims(headers: Headers) -> dict[str, str]:
    """Remove all X-Mesh-* and X-AgentMesh-* headers; returns the well-formed ones by what follows the prefix, in lower
    case. X-Mesh-* comes before its alias; a malformed one counts as absent."""
    found = [name for name in headers if name[:2] in ("x-", "X-") and name.lower().startswith(_PREFIXES)]
    if not found:
        return {}
    claims: dict[str, str] = {}
    for name in sorted(found, key=lambda name: name.lower().startswith(_PREFIXES[1])):
        value = headers.pop(name, None)
        if value is not None and _is_claim(value):
            claims.setdefault(name.lower().partition("mesh-")[2], value)
    return claims


def _is_claim(value: str) -> bool:
    """Printable text (UTF-8) of at most 128 characters, without a space at its ends. What controls, turns the direction
    of writing, cannot be seen or was no UTF-8 is not printable. No comma: repeated headers arrive joined by one, and
    the first of them may be the client's own, sent to stand before the one its gateway adds."""
    return 0 < len(value) <= _LONGEST_CLAIM and value.isprintable() and "," not in value and value == value.strip()


def take_shown(
    headers: Headers, path: str, ours: Callable[[str], bool], names: Iterable[str] = CREDENTIALS
) -> tuple[str, list[str]]:
    """Remove what is `ours` from these headers and the query: what is left of the path, and what was removed."""
    shown = []
    for name in names:
        if (value := headers.get(name)) and (found := [word for word in _words(value) if ours(word)]):
            shown += found
            del headers[name]
    if "=" in path and (query := urlsplit(path).query):
        given = parse_qsl(query, keep_blank_values=True)
        kept = [(name, value) for name, value in given if not ours(value.strip(_AROUND))]
        if len(kept) < len(given):
            shown += [word for _, value in given if ours(word := value.strip(_AROUND))]
            path = urlsplit(path)._replace(query=urlencode(kept)).geturl()
    return path, shown


def take_keys(headers: Headers, path: str) -> tuple[str, list[str]]:
    """Remove virtual keys wherever they stand by themselves: what is left of the path, and what was removed. In the
    places of providers' keys, whatever begins like one is one; in other headers, what has the whole form. (What is for
    the proxy itself is not looked at.)"""
    path, shown = take_shown(headers, path, is_key)
    others = [name for name, value in headers.items() if _may_have_key(value) and name.lower() not in _SEEN_TO]
    return path, shown + (take_shown(headers, "", _has_form, others)[1] if others else [])


def is_key(text: str) -> bool:
    """Does it claim to be a virtual key?"""
    return text.startswith(PREFIX)


def _has_form(text: str) -> bool:
    return SHAPE.fullmatch(text) is not None


def still_there(headers: Headers, path: str, known: Callable[[str], bool]) -> str | None:
    """Where a virtual key is that could not be taken, for it is part of something else; None where there is none.

    What stands by itself is one by its form; within other letters (a foreign token may have these by chance) only if
    it is `known`."""
    for name, value in headers.items():
        if _may_have_key(value) and _has_key("\n".join([value, *_words(value)]), known):
            return f"the header {name[:64]}"
    return "the URL" if PREFIX in path and _has_key(unquote(path), known) else None


def _may_have_key(value: str) -> bool:
    return PREFIX in value or "basic" in value.lower()


def _has_key(text: str, known: Callable[[str], bool]) -> bool:
    return _ALONE.search(text) is not None or any(known(found[1]) for found in _WITHIN.finditer(text))


def _words(value: str) -> list[str]:
    """What may be a credential in a header: its words, and the names and passwords of Basic."""
    words = value.replace(",", " ").split()
    pairs = [word for kind, text in pairwise(words) if kind.lower() == "basic" for word in _pair(text)]
    return [word.strip(_AROUND) for word in (*words, *pairs)]


def _pair(text: str) -> list[str]:
    """Name and password of Basic credentials, as far as it can be read; padding and alphabet may be any."""
    plain = re.sub(r"[^A-Za-z0-9+/]", "", text.replace("-", "+").replace("_", "/"))
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4)).decode("utf-8", "replace").split(":", 1)
    except ValueError:
        return []


def bare(text: str) -> str:
    """A token in a header of its own, without the scheme and the quotes that people write around it."""
    return (bearer(text) or text).strip(_AROUND)


def shown_to_proxy(header: str) -> tuple[str | None, str | None]:
    """What may be a virtual key in this Proxy-Authorization, and what may be a token."""
    token = bearer(header)
    return (token, None) if token and is_key(token) else (password(header), token)


def bearer(header: str) -> str | None:
    """The token of such a header, if it has one."""
    kind, _, token = _AT_SPACE.sub(" ", header.strip(), count=1).partition(" ")
    return token.strip(_AROUND) or None if kind.lower() == "bearer" else None


def password(header: str) -> str | None:
    """The password of Basic credentials; clients that have only one field send the key as the name."""
    kind, _, value = _AT_SPACE.sub(" ", header.strip(), count=1).partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return name.strip(_AROUND) if is_key(name.strip(_AROUND)) else password.strip(_AROUND)
