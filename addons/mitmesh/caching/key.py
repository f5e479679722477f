"""What must be equal for an answer to be given again: the whole redacted request, but for what is known not to matter.

A field or a header that nobody has heard of yet is part of the key.
"""

from __future__ import annotations

import hmac
import json
import marshal
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from mitmesh.billing import CREDENTIALS
from mitmesh.dialects.base import Provenance

if TYPE_CHECKING:
    from mitmesh.dialects.base import Text
    from mitmesh.exchange import Exchange

# fmt: off
NO_MATTER = frozenset({
    "stream", "stream_options", "user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "labels",
})
"""Fields of a request that do not change what is answered: how it is sent, and who says to have asked."""
HARMLESS = frozenset({
    *CREDENTIALS,  # they are in the tenant, where they count
    "accept", "accept-charset", "accept-encoding", "accept-language", "baggage", "cache-control", "connection",
    "content-encoding", "content-length", "content-type", "cookie", "date", "dnt", "expect", "forwarded", "from",
    "host", "idempotency-key", "keep-alive", "origin", "originator", "pragma", "priority", "proxy-authorization",
    "proxy-connection", "referer", "session-id", "session_id", "te", "traceparent", "tracestate", "transfer-encoding",
    "upgrade-insecure-requests", "user-agent", "via", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token",
    "x-amzn-trace-id", "x-app", "x-claude-code-session-id", "x-client-request-id", "x-correlation-id",
    "x-goog-api-client", "x-real-ip", "x-request-id", "x-session-id", "x-should-retry",
    "anthropic-dangerous-direct-browser-access",
})
"""Headers that do not change what is answered, whatever they say."""
HARMLESS_PREFIXES = (
    "sec-", "sentry-", "x-b3-", "x-codex-turn-", "x-datadog-", "x-envoy-", "x-forwarded-", "x-stainless-",
)
_QUERY = frozenset({"key", "$key", "access_token", "$access_token", "alt", "$alt", "prettyPrint", "$prettyPrint"})
_LISTS = ("messages", "input", "contents")
# fmt: on

_encode = json.JSONEncoder(check_circular=False, sort_keys=True, separators=(",", ":")).encode
_PLAIN = 2
"""The last version of marshal that writes equal values alike: later ones tell apart what is the same object."""
type Normal = Callable[[str], str]
"""Takes from a text what does not change its meaning."""


@dataclass(slots=True, frozen=True)
class Key:
    """`exact` is equal for equal requests. `rest` is equal where all but the last user turn is, and the values behind
    placeholders are too; None where there is no such turn, or nobody asked. `turn` is that turn as it is sent."""

    exact: bytes
    rest: bytes | None
    turn: str | None


def key_of(
    x: Exchange,
    tenant: str,
    policy: str,
    secret: bytes,
    *,
    normal: Normal | None = None,
    values: Mapping[str, str] | None = None,
    model: str = "",
    ignored: Collection[str] = (),
    names: set[str] | None = None,
) -> Key:
    """The key of a call (after redaction). `normal` is applied to the last user turn; with `values` (name to value of
    what was taken out) the key has its `rest`, in which `model` is what makes the vectors. `ignored`: further headers
    that do not matter, in lower case. `names` takes those of all members that the request has."""
    assert x.body is not None
    target = f"{x.target.proven}:{x.target.port}" if x.target else ""
    about = [tenant, policy, x.provider, target, x.dialect.name, _path(x.path), _headers(x.headers, ignored)]
    head = _encode(about).encode()
    doc = matters(x.body.doc)
    turn = last_turn(doc, x.call.texts)
    said = doc
    if turn and normal:
        new = normal(turn.text)
        said = doc if new == turn.text else _with(doc, turn.path, new)
    rest = None
    if turn and values is not None:
        around = canonical(_with(doc, turn.path, None))
        rest = _digest(secret, b"rest", model.encode(), head, around, _encode(values).encode())
    return Key(_digest(secret, b"exact", head, canonical(said, names)), rest, turn.text if turn else None)


def matters(doc: Mapping[str, Any]) -> dict[str, Any]:
    """What of a request may change its answer."""
    return {name: value for name, value in doc.items() if name not in NO_MATTER}


def canonical(doc: Any, names: set[str] | None = None) -> bytes:
    """Bytes that are equal for documents (parsed JSON) that say the same, in whatever order their members came; `names`
    takes those of all members.

    By marshal, which copies a string where JSON looks at each of its characters: a quarter of the time. Another
    Python may write it otherwise; then no answer is found, and none is wrong."""
    return marshal.dumps(_ordered(doc, set() if names is None else names), _PLAIN)


def _ordered(value: Any, names: set[str]) -> Any:
    """The same with the members of every object in order."""
    if type(value) is dict:
        names.update(value)
        # Most members are texts: they are not worth a call.
        return {key: member if type(member := value[key]) is str else _ordered(member, names) for key in sorted(value)}
    if type(value) is list:
        return [_ordered(each, names) for each in value]
    return value


def last_turn(doc: Mapping[str, Any], texts: list[Text]) -> Text | None:
    """The user's last turn: one text of the user's and no other, in what stands last in the conversation."""
    spoken = (text for text in reversed(texts) if text.path[0] in _LISTS)  # in the order of the conversation, backwards
    last = next(spoken, None)
    said = doc.get(str(last.path[0])) if last else None
    if last is None or not isinstance(said, (str, list)) or last.provenance is not Provenance.USER:
        return None
    before = next(spoken, None)
    if isinstance(said, str):
        return last if before is None else None
    element = (last.path[0], len(said) - 1)
    return last if last.path[:2] == element and (before is None or before.path[:2] != element) else None


def _with(doc: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """The document with another value at `path`; what lies on the path is copied, nothing else."""
    if not path:
        return value
    key = path[0]
    copy = doc.copy()
    copy[key] = _with(doc[key], path[1:], value)
    return copy


def _path(path: str) -> Any:
    """Path and query without what says how the answer is sent, and without a key."""
    url = urlsplit(path)
    bare = url.path.replace(":streamGenerateContent", ":generateContent").replace(":streamRawPredict", ":rawPredict")
    given = parse_qsl(url.query, keep_blank_values=True) if url.query else ()
    return [bare, sorted(pair for pair in given if pair[0] not in _QUERY)]


def _headers(headers: Mapping[str, str], ignored: Collection[str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name not in HARMLESS and name not in ignored and not name.startswith(HARMLESS_PREFIXES)
    }


def _digest(secret: bytes, *parts: bytes) -> bytes:
    sizes = b",".join(b"%d" % len(part) for part in parts)
    return hmac.digest(secret, b"".join((sizes, b":", *parts)), "sha256")
