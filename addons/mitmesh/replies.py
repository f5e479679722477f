"""What the engine writes into mitmproxy's requests and responses: refusals, answers of our own, headers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from mitmproxy import http

from mitmesh.billing import CREDENTIALS
from mitmesh.dialects import bedrock
from mitmesh.dialects.base import Answer, Framing, Refusal
from mitmesh.exchange import Exchange, Origin, Target
from mitmesh.guard import StageFailed
from mitmesh.headers import put
from mitmesh.stage import Rewrite
from mitmesh.wire.compression import CompressionError, decoder

_STREAM_TYPE = {
    Framing.SSE: "text/event-stream; charset=utf-8",
    Framing.JSON_ARRAY: "application/json",
    Framing.NDJSON: "application/x-ndjson",
    Framing.AWS: "application/vnd.amazon.eventstream",
    Framing.NONE: "application/json",
}

TURNED_AWAY = "mesh_turned_away"
"""Marks a flow whose client did not say who it is, where it must."""


def stream_type(framing: Framing) -> str:
    """The Content-Type of an answer that is cut so."""
    return _STREAM_TYPE[framing]


def refusal(x: Exchange) -> http.Response:
    """The response that tells the client, in its dialect, which rule refused, and what to do."""
    verdict = x.refusal
    assert verdict is not None
    x.status = verdict.status
    said = Refusal(verdict.status, verdict.type, verdict.reason, verdict.rule_id, x.id, verdict.retry_after)
    headers = {"content-type": "application/json", "x-mesh-rule": verdict.rule_id}
    if verdict.retry_after is not None:
        headers["retry-after"] = str(verdict.retry_after)
    if verdict.retry_after is None or verdict.status == 429:
        headers["x-should-retry"] = "false"  # the OpenAI and Anthropic SDKs would otherwise try again by themselves
    return _refused(x, said, headers)


def failed(x: Exchange, error: StageFailed) -> http.Response:
    """The response in place of an answer that a failing stage must not let pass."""
    x.origin, x.status = Origin.PROXY, 503
    said = Refusal(503, "stage_failed", f"The {error} stage failed on the answer.", f"{error}.failed", x.id)
    return _refused(x, said, {"content-type": "application/json"})


CAUSES = {
    "Name or service not known": "its name does not resolve",
    "nodename nor servname": "its name does not resolve",
    "Connect call failed": "nothing listens there",
    "certificate verify failed": "its certificate is not to be trusted",
    "Certificate verify failed": "its certificate is not to be trusted",
    "timed out": "it did not answer in time",
    "mitmesh:": "mitmesh allows no connection there",
}
"""mitmproxy's words for why there was no answer, and ours. What is in no entry is not told: it may quote bytes."""


def unreachable(x: Exchange, error: str) -> http.Response:
    """The response in place of mitmproxy's own error page: the provider could not be reached, or broke off."""
    x.status = 502
    cause = next((ours for theirs, ours in CAUSES.items() if theirs in error), "it broke off before it answered")
    where = x.target.name if x.target else "no address"
    said = f"{x.provider} at {where} gave no answer: {cause}. The call was allowed; this is not a refusal. Try again."
    refusal = Refusal(502, "upstream_failed", said, "engine.upstream", x.id)
    return _refused(x, refusal, {"content-type": "application/json"})


def _refused(x: Exchange, refusal: Refusal, headers: dict[str, str]) -> http.Response:
    """An error in the shape that the SDKs of this API read."""
    if bedrock.is_bedrock(x.path):
        headers = {**headers, "x-amzn-errortype": bedrock.error_type(refusal.status)}
    return _own(x, refusal.status, x.dialect.refusal(refusal, x.path), headers)


def reply(x: Exchange) -> http.Response:
    """The response that carries an answer of our own, in the form the client asked for."""
    reply = x.reply
    assert reply is not None
    x.status = 200
    body = shown(x, reply.answer, reply.body) if reply.shown is None else reply.shown
    return _own(x, 200, body, {"content-type": stream_type(x.framing), **_cost(x)})


def shown(x: Exchange, answer: Answer, body: bytes | None = None) -> bytes:
    """The bytes of an answer of our own in the form that this call asked for; `body` is its JSON, where it is known."""
    if x.framing is Framing.NONE:
        return x.dialect.render(answer) if body is None else body
    usage = x.reply is None or x.reply.usage
    return b"".join(x.dialect.render_stream(answer, framing=x.framing, usage=usage))


def _own(x: Exchange, status: int, body: bytes, headers: dict[str, str]) -> http.Response:
    if x.method == "HEAD":  # mitmproxy would send a body, and the client take it for the next answer's head
        body = b""
    said = {**headers, "cache-control": "no-store", **_about(x, headers.get("x-mesh-rule"))}
    fields = [(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in said.items()]
    return http.Response.make(status, body, fields)


def turn_away(flow: http.HTTPFlow, status: int, why: str) -> None:
    """Answer who comes to the proxy without credentials that hold, and mark the flow: no call begins."""
    headers = [(b"x-mesh-origin", b"proxy")]
    if status == 407:
        headers += [(b"proxy-authenticate", b'Basic realm="mitmesh"'), (b"proxy-authenticate", b"Bearer")]
    body = b"" if flow.request.method == "HEAD" else f"mitmesh: {why}.\n".encode()
    flow.metadata[TURNED_AWAY] = True
    flow.response = http.Response.make(status, body, headers)


def mark(response: http.Response, x: Exchange) -> None:
    """Set the headers that say what this exchange was. What a provider sent under their names is not believed."""
    put(response.headers, _about(x, response.headers.get("x-mesh-rule")), prefix=b"x-mesh-")


def _about(x: Exchange, rule: str | None) -> dict[str, str]:
    """What this exchange was, as headers; `rule` is the one that refused it."""
    own = {"x-mesh-id": x.id, "x-mesh-origin": x.origin.value}
    own |= {name: _printable(value) for name, value in x.answer_headers.items()}
    if rule and x.refusal:
        own["x-mesh-rule"] = rule
    if x.cache:
        own["x-mesh-cache"] = x.cache.layer.value
    if x.via == "gateway":
        own["x-mesh-vendor"] = x.provider
        if x.call.model:
            own["x-mesh-model"] = _printable(x.call.model[:200])
    return own


def _printable(text: str) -> str:
    """A text as a header's value: printable ASCII."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def mark_cost(response: http.Response, x: Exchange) -> None:
    """Set tokens and cost, where they are known before the body leaves."""
    for name, value in _cost(x).items():
        response.headers[name] = value


def _cost(x: Exchange) -> dict[str, str]:
    tokens = {"x-mesh-tokens": str(x.usage.total)} if x.usage else {}
    return tokens if x.cost is None else {**tokens, "x-mesh-cost-usd": dollars(x.cost)}


def cost_comment(x: Exchange) -> bytes:
    """Tokens and cost as a last SSE comment, which every SSE client skips."""
    tokens = x.usage.total if x.usage else "unknown"
    cost = "unknown" if x.cost is None else dollars(x.cost)
    return f": x-mesh-tokens={tokens} x-mesh-cost-usd={cost}\n\n".encode()


def dollars(micro: int) -> str:
    """Micro-dollars as dollars with six decimals, exactly."""
    return f"{micro // 1_000_000}.{micro % 1_000_000:06d}"


def length_unknown(request: http.Request, response: http.Response, *, decoded: bool) -> None:
    """The body will change on its way: its declared length and, when decoded, its encoding no longer hold."""
    response.headers.pop("content-length", None)
    if decoded:
        response.headers.pop("content-encoding", None)
    if not (request.is_http2 or request.is_http3):
        response.headers["transfer-encoding"] = "chunked"


def aim(request: http.Request, target: Target, path: str) -> None:
    """Send a request to a target, if it does not go there already."""
    if (request.scheme, request.host, request.port) != (target.scheme, target.host, target.port):
        request.scheme, request.host, request.port = target.scheme, target.host, target.port
    if request.path != path:
        request.path = path


def address(peername: Any) -> str:
    """A socket address's IP, IPv4 out of its IPv6 mapping."""
    return str(peername[0]).removeprefix("::ffff:") if peername else ""


def credential(headers: Mapping[str, str], path: str) -> str | None:
    """Every credential a call carries, in headers and in Gemini's `?key=`, as one text; for keyed hashing alone. Which
    of them a provider goes by is its own affair: who sends one more, or another one, is somebody else."""
    sent = [headers.get(name, "").removeprefix("Bearer ").strip() for name in CREDENTIALS]
    query = urlsplit(path).query
    given = parse_qsl(query) if "=" in query else ()
    sent += [value for name, value in given if name.lower().lstrip("$") in ("key", "access_token")]
    return "\n".join(dict.fromkeys(filter(None, sent))) or None


class Count:
    """A stream callable that only counts: for answers that are no text we read."""

    def __init__(self, x: Exchange) -> None:
        self._x = x

    def __call__(self, chunk: bytes) -> bytes:
        """Take a chunk, return it."""
        self._x.response_bytes += len(chunk)
        return chunk


class Text(Count):
    """The same for texts that a stage rewrites: without their encoding, and as far as that can be read."""

    def __init__(self, x: Exchange, rewrite: Rewrite, encoding: str) -> None:
        super().__init__(x)
        self._rewrite, self._decoder = rewrite, decoder(encoding)
        self._broken = False

    def __call__(self, chunk: bytes) -> bytes:
        """Take a chunk (b"" at the end), return what goes to the client."""
        super().__call__(chunk)
        if self._broken:
            return b""
        try:
            if chunk:
                return self._rewrite.feed(self._decoder.feed(chunk))
            return self._rewrite.feed(self._decoder.finish()) + self._rewrite.end()
        except CompressionError:
            self._broken = True
            return b""

    def lost(self) -> list[bytes]:
        """The provider broke off: what was held back."""
        return [] if self._broken else [self._rewrite.end()]


class Instead:
    """A stream callable that sends a refusal in place of the provider's body, and cuts the provider off."""

    def __init__(self, flow: http.HTTPFlow, x: Exchange, error: StageFailed, cut: Callable[[], None]) -> None:
        assert flow.response is not None
        response = failed(x, error)
        flow.response.status_code, flow.response.headers = response.status_code, response.headers
        self.unsent: bytes | None = response.content
        """The refusal's body, until it was sent: an answer without a body calls no stream."""
        self._cut = cut

    def __call__(self, chunk: bytes) -> bytes | list[bytes]:
        """Send the refusal once, whatever the provider sends."""
        if self.unsent is None:
            return [] if chunk else b""
        body, self.unsent = self.unsent, None
        if chunk:
            self._cut()
        return body
