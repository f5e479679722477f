"""`output: mask | refuse`: answers are looked at for personal data and secrets that the caller did not send.

That takes time and a window, which mitmproxy's streams do not have. So such a call is served through the loopback
upstream: we call the provider ourselves, look at what it says, and pass it on.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import certifi
from yarl import URL

from mitmesh.answering import ANSWER_LIMIT, framing_of
from mitmesh.dialects.base import Event, Framing, Operation, Path, Refusal, Text
from mitmesh.exchange import Action, Exchange, Mode, Origin
from mitmesh.loopback import Head
from mitmesh.redaction.findings import FinderFailed
from mitmesh.redaction.jsonview import view_of
from mitmesh.redaction.members import members, write_members
from mitmesh.redaction.places import said_before
from mitmesh.redaction.remains import remains, token_lists
from mitmesh.redaction.replace import MASK
from mitmesh.redaction.restore import besides
from mitmesh.redaction.tidy import tidied
from mitmesh.redaction.window import Window, masked
from mitmesh.wire.forms import is_binary, read_form
from mitmesh.wire.frames import framer
from mitmesh.wire.jsontext import Body
from mitmesh.wire.multipart import is_multipart

if TYPE_CHECKING:
    from mitmesh.redaction.findings import Finds
    from mitmesh.rules.pii_return import PiiOutput

RULE = "output"
CONNECT_SECONDS = 30
_OWN = frozenset({
    "connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "transfer-encoding",
    "upgrade", "content-length", "content-encoding", "host", "accept-encoding", "x-mesh-loopback",
})  # fmt: skip
"""Headers that belong to one connection, or that we set ourselves."""
_CHUNK = 65_536
OFF_LOOP = 256 * 1024
"""Bytes of an answer that are read in a thread: that takes more than about a millisecond."""
_FEW_BYTES = 256 * 1024
"""Bytes of unknown kind that are read as a text; more of them are a file."""


@dataclass(frozen=True)
class Proxy:
    """A corporate proxy: its URL and, where it wants one, `user:password`."""

    url: str
    auth: str | None = field(default=None, repr=False)

    def options(self) -> dict[str, Any]:
        """What aiohttp takes for it."""
        user, _, password = (self.auth or "").partition(":")
        return {"proxy": self.url, "proxy_auth": aiohttp.BasicAuth(user, password) if self.auth else None}


class _Refused(Exception):
    """The answer has what the rules refuse."""


class Output:
    """Serves exchanges through the provider, searched by `finder`. `trust`: a file of CA certificates for providers,
    or None for the machine's; `proxy`: what all that leaves goes through."""

    def __init__(self, finder: Finds, trust: str | None = None, proxy: Proxy | None = None) -> None:
        self._finder, self._trust, self._proxy = finder, trust, proxy
        self._session: aiohttp.ClientSession | None = None

    async def stop(self) -> None:
        """Close what is open to providers."""
        if self._session:
            await self._session.close()

    async def serve(self, x: Exchange, said: str, rule: PiiOutput) -> AsyncGenerator[bytes | Head]:
        """The provider's answer to this exchange, searched. `said` is all the caller's text: what stands there is no
        news to the caller."""
        look = _Look(self._finder, x, said, rule)
        if x.upstream is None or x.body is None:
            yield Head(404)
            yield look.refusal(404, "no_route", "No provider serves this path; see rules/routes.yaml.")
            return
        try:
            target = x.upstream
            port = "" if target.port == {"https": 443, "http": 80}.get(target.scheme) else f":{target.port}"
            host = f"[{target.host}]" if ":" in target.host else target.host
            session = await self._open()
            answer = await session.request(
                x.method,
                URL(f"{target.scheme}://{host}{port}{x.path}", encoded=True),  # as it is written: it may be signed
                data=x.body.render(),
                headers=_passed(x.headers) | {"accept-encoding": "identity", "host": f"{target.named or host}{port}"},
                server_hostname=target.named if target.certified else None,
                allow_redirects=False,
                **(self._proxy.options() if self._proxy else {}),
            )
        except (aiohttp.ClientError, TimeoutError, OSError):
            yield Head(502)
            yield look.refusal(502, "upstream_failed", f"{x.provider} could not be reached, or gave no answer.")
            return
        x.origin = Origin.PROVIDER
        async with answer, aclosing(look.answer(answer)) as pieces:
            async for piece in pieces:
                yield piece

    async def look_at(self, x: Exchange, body: Body, said: str, rule: PiiOutput) -> None:
        """The same for an answer that is here already; what is refused is in `x.refusal`. Raises FinderFailed."""
        with suppress(_Refused):
            await _Look(self._finder, x, said, rule).mask(body)

    async def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            context = await asyncio.to_thread(ssl.create_default_context, cafile=self._trust or certifi.where())
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context, limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("user-agent", "accept", "content-type"),
                read_bufsize=_CHUNK,
            )
        return self._session


class _Look:
    """One answer under way."""

    def __init__(self, finder: Finds, x: Exchange, said: str, rule: PiiOutput) -> None:
        self._finder, self._x, self._said, self._rule = finder, x, said, rule
        self._mode = rule.mode or x.rules.mode(x.identity.team)
        self._noted: set[str] = set()

    async def answer(self, answer: aiohttp.ClientResponse) -> AsyncGenerator[bytes | Head]:
        """The status, then the body."""
        kind = answer.headers.get("content-type", "")
        framing = framing_of(self._x, kind) if answer.status < 300 else Framing.NONE
        try:
            head = Head(answer.status, await self._headers(_passed(answer.headers)))
        except FinderFailed:
            yield Head(503)
            yield self.refusal(503, "stage_failed", "The answer could not be searched.")
            return
        if framing is Framing.NONE:
            for piece in await self._whole(answer, head):
                yield piece
            return
        yield head
        try:
            async with aclosing(self._stream(answer, framing)) as events:
                async for event in events:
                    yield event.raw
        except _Refused:
            yield self._error(framing, 403, "personal_data", "The answer had data that the rules do not let pass.")
        except FinderFailed:
            yield self._error(framing, 503, "stage_failed", "The answer could not be searched, so it was ended.")

    async def _stream(self, answer: aiohttp.ClientResponse, framing: Framing) -> AsyncGenerator[Event]:
        strict = self._mode is Mode.ENFORCE
        window = Window(self._x.dialect, self._finder.find, self._known, self._seen, self._rule.window, strict=strict)
        broken = None
        try:
            async for came in _events(answer, framing):
                event = tidied(came, framing) if strict else came
                if event is not None:
                    for ready in await window.feed(event, _parsed(event.data)):
                        yield ready
        except (aiohttp.ClientError, OSError) as error:
            broken = error  # the caller gets what came, and then the same
        for ready in await window.end():
            yield ready
        if broken:
            raise broken

    async def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        """An answer's headers without those that say what is news. They are dropped where the rules refuse, too: the
        call itself may be well."""
        found = await self._finder.find(list(headers.values()))
        news: dict[str, str] = {}
        for (name, value), findings in zip(headers.items(), found, strict=True):
            for finding in findings:
                if not self._known(value[finding.start : finding.end]):
                    news[name] = finding.type
        for kind in dict.fromkeys(news.values()):
            said = f"{kind} in a header of the answer, not from the caller"
            self._x.decide("redact", Action.REDACT, RULE, said, mode=self._mode)
        return headers if self._mode is not Mode.ENFORCE else {n: v for n, v in headers.items() if n not in news}

    async def _whole(self, answer: aiohttp.ClientResponse, head: Head) -> list[bytes | Head]:
        """An answer that is no stream, or what is refused in its place."""
        try:
            raw = await _read(answer)
            try:
                body = Body(raw, await _aside(len(raw), _loads, raw))
            except (ValueError, RecursionError):  # no JSON, or none that everybody reads alike
                return [head, await self._text(raw, answer.headers.get("content-type", ""))]
            await self.mask(body)
            return [head, body.render()]
        except ValueError:  # nobody can say what is in it, or write it again; that it failed can be said all the same
            status = answer.status if answer.status >= 400 else 502
            return [Head(status), self.refusal(status, "unreadable", "The provider's answer could not be searched.")]
        except _Refused:
            said = "The answer had data that the rules do not let pass."
            return [Head(403), self.refusal(403, "personal_data", said)]
        except FinderFailed:
            return [Head(503), self.refusal(503, "stage_failed", "The answer could not be searched.")]

    async def _text(self, raw: bytes, kind: str) -> bytes:
        """An answer that is no JSON: a text is searched, and a few bytes that do not say what they are as well; a sound
        or a picture passes where no chat is asked for. Raises _Refused, and ValueError for what could not be
        searched."""
        body = read_form(raw, "" if is_multipart(kind) else kind)
        if body is None:
            if self._x.operation is Operation.CHAT:
                raise ValueError("no text")
            if is_binary(kind) or len(raw) > _FEW_BYTES:
                return raw
            body = read_form(raw, "text/plain")
            assert body
        await self._mask(body, [((index,), text, False) for index, text in enumerate(body.doc)], [])
        return body.render()

    async def mask(self, body: Body) -> None:
        """Mask what is news in a JSON answer, in whatever place. Raises _Refused."""
        await self._mask(body, *await _aside(len(body.raw), self._places, body))

    def _places(self, body: Body) -> tuple[list[tuple[Path, str, bool]], list[Text]]:
        """All that a JSON answer says, without what says it once more: texts, then names of members and numbers."""
        if self._mode is Mode.ENFORCE:
            for path, instead in token_lists(body.doc):
                body.set(path, instead)
        texts = [(text.path, text.text, text.is_json) for text in self._x.dialect.answer_texts(body.doc)]
        texts += besides(body.doc)
        texts += [(text.path, text.text, False) for text in remains(body.doc, [path for path, _, _ in texts])]
        return texts, members(body.doc)

    async def _mask(self, body: Body, texts: list[tuple[Path, str, bool]], beside: list[Text]) -> None:
        """Mask what is news in these texts, and in names of members and numbers."""
        views = [view_of(text, is_json=is_json) for _, text, is_json in texts]
        read = [view.text if view else text for view, (_, text, _) in zip(views, texts, strict=True)]
        found = await self._finder.find([*read, *(member.text for member in beside)])
        for (path, text, is_json), view, said, findings in zip(texts, views, read, found[: len(texts)], strict=True):
            news = [f for f in findings if not self._known(said[f.start : f.end])]
            if news and self._seen(f.type for f in news):
                spans = [span for f in news for span in (view.written(f.start, f.end) if view else [(f.start, f.end)])]
                body.set(path, masked(text, 0, spans, is_json=is_json))
        named: dict[int, str] = {}
        for number, (member, findings) in enumerate(zip(beside, found[len(texts) :], strict=True)):
            news = [f for f in findings if not self._known(member.text[f.start : f.end])]
            if news and self._seen(f.type for f in news):
                named[number] = MASK
        write_members(body, beside, named)

    def _known(self, value: str) -> bool:
        return said_before(self._said, value)

    def _seen(self, types: Iterable[str]) -> bool:
        """Note what was found; is it to be masked?"""
        refuse = self._rule.action == "refuse"
        for kind in set(types) - self._noted:
            self._noted.add(kind)
            action = Action.REFUSE if refuse else Action.REDACT
            self._x.decide("redact", action, RULE, f"{kind} in the answer, not from the caller", mode=self._mode)
        if refuse and self._mode is Mode.ENFORCE:
            raise _Refused
        return self._mode is Mode.ENFORCE

    def refusal(self, status: int, kind: str, message: str) -> bytes:
        """A refusal in the dialect's shape."""
        self._x.origin = Origin.PROXY
        return self._x.dialect.refusal(Refusal(status, kind, message, RULE, self._x.id), self._x.path)

    def _error(self, framing: Framing, status: int, kind: str, message: str) -> bytes:
        return self._x.dialect.stream_error(Refusal(status, kind, message, RULE, self._x.id), framing=framing)


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises ValueError where it is too large to be searched."""
    raw = bytearray()
    async for chunk in answer.content.iter_chunked(_CHUNK):
        raw += chunk
        if len(raw) > ANSWER_LIMIT:
            raise ValueError("too large")
    return bytes(raw)


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OWN}


async def _aside[*Args, T](size: int, work: Callable[[*Args], T], *args: *Args) -> T:
    """What is done for so many bytes: in a thread where they are many."""
    return await asyncio.to_thread(work, *args) if size > OFF_LOOP else work(*args)


def _loads(raw: bytes) -> Any:
    return json.loads(raw.decode(), object_pairs_hook=_object)


async def _events(answer: aiohttp.ClientResponse, framing: Framing) -> AsyncGenerator[Event]:
    """The events of a stream as they come, an unfinished last one too."""
    events = framer(framing)
    async for chunk in answer.content.iter_any():
        for event in events.feed(chunk):
            yield event
    for event in events.flush():
        yield event


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names are all different: of two of a name we would see but one."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _parsed(data: bytes) -> Any:
    if data[:1] not in (b"{", b"["):
        return None
    try:
        return json.loads(data, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        return None
