"""From a request's bytes to a Call: decompress, parse, and let the dialect read; pure, so it may run in a thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from mitmesh.dialects import fallbacks
from mitmesh.dialects.base import Call, Dialect, DialectError
from mitmesh.dialects.in_path import is_deployment
from mitmesh.dialects.walk import string
from mitmesh.exchange import Inspected
from mitmesh.rules import Limits
from mitmesh.wire.compression import BadCompression, TooLarge, UnknownEncoding, decompress
from mitmesh.wire.forms import MOST_PIECES, TooManyPieces, read_form
from mitmesh.wire.jsontext import BadJSON, Body, parse
from mitmesh.wire.multipart import BadUpload


class Unreadable(Exception):
    """A body that cannot be read: the HTTP status it deserves, the rule's id, and a reason without its content.
    `always`: it is refused whatever the rules say of bodies that are not read."""

    def __init__(self, status: int, rule: str, reason: str, *, always: bool = False) -> None:
        super().__init__(reason)
        self.status, self.rule, self.reason, self.always = status, rule, reason, always


@dataclass(slots=True)
class Reading:
    """What was read: the call, its JSON (None where there is none), and how much of it was inspected. `unread` are the
    bytes that the rules have to decide about."""

    call: Call
    body: Body | None
    inspected: Inspected
    unread: int = 0


def read(raw: bytes, dialect: Dialect, path: str, headers: Mapping[str, str], limits: Limits) -> Reading:
    """Read a request. `raw` is the body as on the wire. Raises Unreadable for whatever must not pass unseen."""
    if not raw:
        return Reading(_call(dialect, None, path, headers), None, Inspected.FULL)
    plain = _decompressed(raw, headers.get("content-encoding", ""), limits.body_bytes)
    kind = headers.get("content-type", "")
    if not _says_json(dialect, kind, plain):
        return _form(plain, dialect, kind, path, headers) or _no_text()
    try:
        doc = parse(plain, depth=limits.json_depth)
    except BadJSON as error:
        if not dialect.native and (lines := _form(plain, dialect, "text/plain", path, headers)):
            return lines  # JSON lines, say: what has no shape is read as a text
        raise Unreadable(400, "body.bad_json", f"The body is not JSON that can be inspected: {error}.") from None
    if doc is None and dialect.native:  # a dialect takes None for a request without a body
        raise Unreadable(400, "body.wrong_shape", "The body is null; this API takes an object.")
    call = _call(dialect, doc, path, headers)
    return Reading(call, Body(plain, doc), Inspected.PARTIAL if call.opaque_bytes else Inspected.FULL)


def _form(plain: bytes, dialect: Dialect, kind: str, path: str, headers: Mapping[str, str]) -> Reading | None:
    """A body that is a form, an upload or a text; None where it is nothing of that."""
    try:
        body = read_form(plain, kind)
    except BadUpload as error:
        said = f"The upload could be read in more than one way: {error}. Send it as browsers and curl do (RFC 7578)."
        raise Unreadable(400, "body.multipart", said, always=True) from None
    except TooManyPieces:
        said = f"A form may have at most {MOST_PIECES:,} names, values and parts; send less, or send it as JSON."
        raise Unreadable(413, "body.too_many", said, always=True) from None
    if body is None:
        return None
    call = _call(dialect, body.doc, path, headers)
    call.opaque_bytes += body.opaque
    if models := body.named("model"):
        call.model = call.model or models[0]
        call.others = _further({"models": models}, call.model)
    return Reading(call, body, Inspected.PARTIAL if call.opaque_bytes else Inspected.FULL, body.opaque)


def _no_text() -> NoReturn:
    raise Unreadable(415, "body.not_json", "The body is neither JSON nor text and cannot be inspected.")


def _decompressed(raw: bytes, encoding: str, limit: int) -> bytes:
    if len(raw) > limit:
        raise too_large(limit)
    if not encoding or encoding == "identity":
        return raw
    try:
        return decompress(raw, encoding, limit)
    except TooLarge:
        raise too_large(limit) from None
    except UnknownEncoding:  # on every path: who reads the body all the same would read what nobody searched
        reason = "Its Content-Encoding is not known; send it as identity, gzip, deflate, br or zstd."
        raise Unreadable(415, "body.unknown_encoding", reason, always=True) from None
    except BadCompression:
        reason = "The body does not decompress: it is not what its Content-Encoding says."
        raise Unreadable(400, "body.bad_compression", reason, always=True) from None


def too_large(limit: int) -> Unreadable:
    """The refusal of a body above the soft limit (bytes)."""
    return Unreadable(
        413,
        "body.too_large",
        f"The body is larger than {limit:,} bytes when decompressed. Send less, or have the operator raise "
        f"limits.body_bytes in rules/mesh.yaml.",
        always=True,
    )


def _says_json(dialect: Dialect, content_type: str, plain: bytes) -> bool:
    """A known operation's body must be JSON whatever it calls itself; any other's may be something else."""
    return bool(dialect.native) or "json" in content_type.lower() or plain.lstrip()[:1] in (b"{", b"[")


def _call(dialect: Dialect, doc: object, path: str, headers: Mapping[str, str]) -> Call:
    try:
        call = dialect.read(doc, path, headers)
    except DialectError as error:
        raise Unreadable(400, "body.wrong_shape", f"The body has not the shape of this API: {error}.") from None
    if call.model and isinstance(doc, dict) and is_deployment(path):
        call.claimed = string(doc.get("model"))
        doc = {**doc, "model": None}
    call.others = _further(doc, call.model)
    return call


def _further(doc: object, model: str | None) -> tuple[str, ...]:
    """The models that it names beside its own."""
    try:
        return fallbacks.further(doc, model)
    except fallbacks.TooManyModels:
        said = f"A request may name at most {fallbacks.MOST} models."
        raise Unreadable(400, "body.too_many_models", said, always=True) from None
