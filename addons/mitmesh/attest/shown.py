"""What a request shows of its caller: claims in headers, credentials in the places of providers' keys."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from mitmesh.attest.keys import PREFIX
from mitmesh.billing import CREDENTIALS

if TYPE_CHECKING:
    from mitmesh.dialects.base import Headers

_CLAIM = re.compile(r"[\x21-\x2b\x2d-\x7e](?:[\x20-\x2b\x2d-\x7e]{0,126}[\x21-\x2b\x2d-\x7e])?")
"""Printable ASCII of at most 128 characters. No comma: repeated headers arrive joined by one, and the first of them
may be the client's own, sent to stand before the one its gateway adds."""

_AROUND = " \t\"'`\u201c\u201d\u2018\u2019"
"""What stands around a credential and is no part of it: spaces, and quotes as shells, .env files and editors leave
them."""

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
        if value is not None and _CLAIM.fullmatch(value):
            claims.setdefault(name.lower().partition("mesh-")[2], value)
    return claims


def take_shown(headers: Headers, path: str, ours: Callable[[str], bool]) -> tuple[str, list[str]]:
    """Remove what is `ours` from where providers' keys are: what is left of the path, and what was removed."""
    shown = []
    for name in CREDENTIALS:
        value = (headers.get(name) or "").rpartition(" ")[2]
        if value and ours(value):
            shown.append(value)
            del headers[name]
    if "=" in path and (query := urlsplit(path).query):
        given = parse_qsl(query, keep_blank_values=True)
        kept = [(name, value) for name, value in given if not ours(value)]
        shown += [value for _, value in given if ours(value)]
        if len(kept) < len(given):
            path = urlsplit(path)._replace(query=urlencode(kept)).geturl()
    return path, shown


def bare(text: str) -> str:
    """A token in a header of its own, without the scheme and the quotes that people write around it."""
    scheme, _, rest = text.strip().partition(" ")
    return (rest if scheme.lower() == "bearer" else text).strip(_AROUND)


def bearer(header: str | None) -> str | None:
    """The token of such a header, if it has one."""
    kind, _, token = (header or "").strip().partition(" ")
    return token.strip() or None if kind.lower() == "bearer" else None


def password(header: str) -> str | None:
    """The password of Basic credentials; clients that have only one field send the key as the name."""
    kind, _, value = header.strip().partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return name if name.startswith(PREFIX) else password
