"""Whatever a client or a provider sends: a clear refusal or the bytes as they came, nothing unseen, and no crash."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import brotli  # type: ignore[import-untyped]  # it ships no types
import httpx
import pytest
import zstandard

from e2e.certs import Authority
from e2e.conftest import reachable
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.sdks import KEY, KINDS, Kind, Way, ask

LIMIT = 2**20
"""limits.body_bytes of this module's mitmesh."""


@dataclass(frozen=True)
class Api:
    """One operation of a dialect: where it is, a body that is right, and where its error keeps the message."""

    path: str
    host: str
    body: dict[str, Any]
    wrong: dict[str, Any]
    error: Callable[[Any], str]


def _openai(doc: Any) -> str:
    assert set(doc["error"]) >= {"message", "type", "code", "param"}
    return str(doc["error"]["message"])


def _anthropic(doc: Any) -> str:
    assert (doc["type"], set(doc["error"]) >= {"type", "message"}) == ("error", True)
    return str(doc["error"]["message"])


def _google(doc: Any) -> str:
    assert set(doc["error"]) >= {"code", "message", "status"}
    return str(doc["error"]["message"])


MESSAGES = [{"role": "user", "content": "hello"}]
CONTENTS = [{"role": "user", "parts": [{"text": "hello"}]}]
OPENAI, ANTHROPIC, GOOGLE = "api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"
GEMINI = "/v1beta/models/gemini-2.5-flash"
APIS = {
    "chat": Api("/v1/chat/completions", OPENAI, {"model": "m", "messages": MESSAGES}, {"messages": 7}, _openai),
    "responses": Api("/v1/responses", OPENAI, {"model": "m", "input": "hello"}, {"input": 7}, _openai),
    "embeddings": Api("/v1/embeddings", OPENAI, {"model": "m", "input": "hello"}, {"input": 7}, _openai),
    "messages": Api(
        "/v1/messages", ANTHROPIC, {"model": "m", "max_tokens": 9, "messages": MESSAGES}, {"messages": 7}, _anthropic
    ),
    "gemini": Api(f"{GEMINI}:generateContent", GOOGLE, {"contents": CONTENTS}, {"contents": [7]}, _google),
    "gemini_stream": Api(f"{GEMINI}:streamGenerateContent", GOOGLE, {"contents": CONTENTS}, {"contents": [7]}, _google),
}


@dataclass(frozen=True)
class Bad:
    """A body no stage may be handed, and how it is refused."""

    body: bytes | Callable[[], Iterator[bytes]]
    status: int
    rule: str
    encoding: str | None = None


def _bomb(size: int = 16 * LIMIT) -> bytes:
    return b'{"a":"' + bytes([120]) * size + b'"}'


def _zstd_bomb() -> bytes:
    return zstandard.ZstdCompressor().compress(_bomb())


def _chunks(size: int) -> Callable[[], Iterator[bytes]]:
    return lambda: iter([b"[" + b"1," * (size // 2), b"1]"])


def bad_inputs(good: dict[str, Any], wrong: dict[str, Any]) -> dict[str, Bad]:
    """Every bad body that can be made of a good one."""
    text = json.dumps(good)
    first = next(iter(good))
    packed = gzip.compress(text.encode())
    zstd = zstandard.ZstdCompressor().compress(text.encode())
    say = {
        "not JSON": b"hello, is there anybody?",
        "cut short": text[:-2].encode(),
        "two documents": (text + text).encode(),
        "form": b"model=m&prompt=hello",
        "null bytes": b"\0" * 40,
        "UTF-16": text.encode("utf-16"),
        "UTF-16 without BOM": text.encode("utf-16-le"),
        "BOM": b"\xef\xbb\xbf" + text.encode(),
        "latin-1": text.replace("hello", "h\xe9llo").encode("latin-1") if "hello" in text else b'"\xe9"',
        "invalid UTF-8": text.encode().replace(b"hello", b"hel\xf0\x28\x8c\xbclo"),
        "overlong UTF-8": text.encode().replace(b"hello", b"\xc0\xaf"),
        "lone surrogate": text.replace("hello", "\\ud800 hello").encode(),
        "deep nesting": text[:-1].encode() + b', "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        "very deep nesting": b"[" * 90_000,
        "duplicate keys": text[:-1].encode() + f', "{first}": 1}}'.encode(),
        "NaN": text[:-1].encode() + b', "temperature": NaN}',
        "number out of range": text[:-1].encode() + b', "temperature": 1e999}',
        "long integer": text[:-1].encode() + b', "seed": ' + b"9" * 5000 + b"}",
        "control character": text.replace("hello", "hel\x01lo").encode(),
    }
    cases = {name: Bad(body, 400, "body.bad_json") for name, body in say.items()}
    cases |= {
        name: Bad(body, 400, "body.wrong_shape")
        for name, body in {
            "array": b"[1, 2]",
            "string": b'"hello"',
            "null": b"null",
            "number": b"7",
            "wrong shape": json.dumps({**good, **wrong}).encode(),
        }.items()
    }
    cases |= {
        "unknown encoding": Bad(text.encode(), 415, "body.unknown_encoding", "snappy"),
        "too many encodings": Bad(packed, 415, "body.unknown_encoding", "gzip," * 9),
        "corrupt gzip": Bad(packed[:12] + b"\xff\xff\xff" + packed[15:], 400, "body.bad_compression", "gzip"),
        "truncated gzip": Bad(packed[:-9], 400, "body.bad_compression", "gzip"),
        "not gzip at all": Bad(text.encode(), 400, "body.bad_compression", "gzip"),
        "corrupt zstd": Bad(b"nothing of the kind", 400, "body.bad_compression", "zstd"),
        "truncated zstd": Bad(zstd[:-3], 400, "body.bad_compression", "zstd"),
        "gzip bomb": Bad(gzip.compress(_bomb()), 413, "body.too_large", "gzip"),
        "gzip bomb in gzip": Bad(gzip.compress(gzip.compress(_bomb())), 413, "body.too_large", "gzip, gzip"),
        "zstd bomb": Bad(_zstd_bomb(), 413, "body.too_large", "zstd"),
        "br bomb": Bad(brotli.compress(_bomb(), quality=3), 413, "body.too_large", "br"),
        "too large": Bad(b"[" + b"1," * (LIMIT // 2) + b"1]", 413, "body.too_large"),
        "too large, chunked": Bad(_chunks(LIMIT), 413, "body.too_large"),
        "far too large, chunked": Bad(_chunks(4 * LIMIT), 413, "body.too_large"),
    }
    return cases


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority) -> Iterator[Mesh]:
    """One mitmesh with a small limit for this module."""
    folder = tmp_path_factory.mktemp("bad_input")
    local = {"mesh.yaml": f"{RAW_TEXT}limits: {{body_bytes: {LIMIT}}}\n", "egress.yaml": reachable(names)}
    mesh = Mesh(folder, resolve=names, trust=authority.ca, local=local).start()
    yield mesh
    mesh.stop()


@pytest.fixture(params=["forward-h1", "forward-h2", "gateway"])
def small_way(request: pytest.FixtureRequest, small: Mesh) -> Way:
    """Each way through it."""
    return small.way(request.param)


def post(client: httpx.Client, way: Way, api: Api, bad: Bad) -> httpx.Response:
    """Send one bad body."""
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}", "x-api-key": KEY}
    headers |= {"x-goog-api-key": KEY}
    if bad.encoding:
        headers["content-encoding"] = bad.encoding
    content = bad.body if isinstance(bad.body, bytes) else bad.body()
    url = (way.base or f"https://{api.host}") + api.path
    return client.post(url, content=content, headers=headers)


@pytest.mark.parametrize("name", APIS)
def test_bad_requests(name: str, small: Mesh, small_way: Way, provider: Provider) -> None:
    """A body that cannot be inspected is refused in the dialect's own error shape, nothing of it leaves, the audit
    says why, and the same connection serves the next call."""
    api = APIS[name]
    refused: dict[str, tuple[str, Bad]] = {}
    with small_way.client(httpx, [], asynchronous=False) as client:
        for what, bad in bad_inputs(api.body, api.wrong).items():
            answer = post(client, small_way, api, bad)
            assert (what, answer.status_code, answer.headers.get("x-mesh-rule")) == (what, bad.status, bad.rule)
            message = api.error(answer.json())
            assert "body" in message or "Content-Encoding" in message, what
            assert "hello" not in message and "hello" not in str(answer.headers), what
            assert answer.headers["x-mesh-origin"] == "proxy", what
            refused[answer.headers["x-mesh-id"]] = what, bad
        assert provider.calls == []
        good = post(client, small_way, api, Bad(json.dumps(api.body).encode(), 200, ""))
        assert (good.status_code, len(provider.calls)) == (200, 1)
    small.exchange(good.headers["x-mesh-id"])
    rows = {row["id"]: row for row in small.rows("select * from exchanges where outcome = 'refused'")}
    rules = dict(tuple(row.values()) for row in small.rows("select exchange, rule_id from verdicts"))
    for number, (what, bad) in refused.items():
        row = rows[number]
        assert (what, row["status"], row["forwarded"]) == (what, bad.status, 0)
        assert (what, rules[number]) == (what, bad.rule)
    assert small.process is not None and small.process.poll() is None
    assert "Traceback" not in small.log()


@pytest.mark.parametrize("name", APIS)
def test_no_body(name: str, small: Mesh, small_way: Way, provider: Provider) -> None:
    """A request without a body is refused, or the provider is asked with nothing, and is in the audit either way."""
    api = APIS[name]
    with small_way.client(httpx, [], asynchronous=False) as client:
        answer = post(client, small_way, api, Bad(b"", 400, ""))
    row = small.exchange(answer.headers["x-mesh-id"])
    assert (answer.status_code, row["forwarded"]) == (400, len(provider.calls))
    assert [seen.body for seen in provider.calls] in ([], [b""])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
def test_sdks_are_told(
    kind: Kind, stream: bool, small_way: Way, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SDK whose request is too large raises its ordinary error, with our message and 413."""
    monkeypatch.setattr("e2e.sdks.QUESTION", "much to say " * (LIMIT // 10))
    with pytest.raises(Exception, match=r"larger than 1,048,576 bytes") as caught:
        ask(kind, small_way, stream=stream)
    status = getattr(caught.value, "status_code", None) or getattr(caught.value, "code", None)
    assert status == 413
    assert provider.calls == []


def test_other_bodies_go_by_the_opaque_rule(small: Mesh, provider: Provider) -> None:
    """On a path of no known dialect, what cannot be read passes as it came, and the audit says so; a body over the
    limit does not."""
    with small.way("forward-h1").client(httpx, [], asynchronous=False) as client:
        for body, kind in ((b"\0\1protobuf", "application/grpc"), (bytes(range(256)), "application/octet-stream")):
            provider.clear()
            answer = client.post(f"https://{OPENAI}/echo", content=body, headers={"content-type": kind})
            assert (answer.status_code, answer.content, provider.call().body) == (200, body, body)
            row = small.exchange(answer.headers["x-mesh-id"])
            assert (row["inspected"], row["uninspected_bytes"], row["forwarded"]) == ("opaque", len(body), 1)
        provider.clear()
        large = client.post(f"https://{OPENAI}/echo", content=b"x" * (LIMIT + 1))
        assert (large.status_code, provider.calls) == (413, [])


def test_opaque_refused(small: Mesh, provider: Provider) -> None:
    """Where the rules say `opaque: refuse`, what cannot be read is refused with 415."""
    old = (small.rules / "local" / "mesh.yaml").read_text()
    version = small.health()["policy_version"]
    small.overlay("mesh.yaml", old + "opaque: refuse\n")
    wait_for(lambda: small.health()["policy_version"] != version, "the new rules")
    try:
        with small.way("forward-h1").client(httpx, [], asynchronous=False) as client:
            answer = client.post(f"https://{OPENAI}/echo", content=bytes(range(256)))
            read = client.post(f"https://{OPENAI}/echo", content=b'{"a": 1}')
        assert (answer.status_code, answer.headers["x-mesh-rule"]) == (415, "opaque")
        assert (read.status_code, len(provider.calls)) == (200, 1)
    finally:
        small.overlay("mesh.yaml", old)
        wait_for(lambda: small.health()["policy_version"] == version, "the old rules")


# --- HTTP itself ---


def raw(small: Mesh, request: bytes, *, close: bool = False) -> bytes:
    """Send bytes to the gateway, and return all that comes until it closes or says nothing for half a second."""
    host, _, port = small.run["gateway"].rpartition(":")
    with socket.create_connection((host, int(port)), 10) as sock:
        sock.sendall(request)
        if close:
            sock.shutdown(socket.SHUT_WR)
        sock.settimeout(0.5)
        data = b""
        try:
            while chunk := sock.recv(65536):
                data += chunk
        except (TimeoutError, ConnectionResetError):
            pass
    return data


CHAT = json.dumps(APIS["chat"].body).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: %d\r\nContent-Length: 3\r\n" % len(CHAT),
        b"Content-Length: -1\r\n",
        b"Content-Length: many\r\n",
        b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(CHAT),
        b"Transfer-Encoding: gzip\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Content-Length : %d\r\n" % len(CHAT),
    ],
)
def test_wrong_framing(headers: bytes, small: Mesh, provider: Provider) -> None:
    """A request whose length two parsers could read differently is refused, and nothing of it leaves."""
    answer = raw(small, HEAD + headers + b"\r\n" + CHAT)
    assert not answer or b" 400 " in answer.splitlines()[0]
    assert provider.calls == []


def test_body_shorter_than_told(small: Mesh, provider: Provider) -> None:
    """A client that leaves before its body is whole leaves a finished row behind, and nothing else."""
    raw(small, HEAD + b"User-Agent: shorter/1\r\nContent-Length: 9000\r\n\r\n" + CHAT, close=True)
    query = "select * from exchanges where user_agent = 'shorter/1' and outcome is not null"
    row = wait_for(lambda: small.rows(query), "the row of a client that left")[0]
    assert (row["outcome"] in ("client_gone", "refused"), row["forwarded"]) == (True, 0)
    assert provider.calls == []


def test_body_longer_than_told(small: Mesh, provider: Provider) -> None:
    """What follows a body is the next request, not a part of this one."""
    answer = raw(small, HEAD + b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT + b"smuggled")
    assert answer.startswith(b"HTTP/1.1 200")
    assert [seen.body for seen in provider.calls] == [CHAT]


def test_head_and_options(small: Mesh, small_way: Way, provider: Provider) -> None:
    """HEAD and OPTIONS are answered, and the connection stays in step."""
    base = small_way.base or f"https://{OPENAI}"
    with small_way.client(httpx, [], asynchronous=False) as client:
        for method in ("HEAD", "OPTIONS", "HEAD", "GET"):
            answer = client.request(method, f"{base}/v1/models", headers={"authorization": f"Bearer {KEY}"})
            assert answer.headers["x-mesh-id"]
        assert answer.json()["data"][0]["id"] == "gpt-4o-mini"


def test_refused_head(small: Mesh) -> None:
    """A refusal of a HEAD request has no body, which would be read as the next answer."""
    answer = raw(small, b"HEAD /nowhere HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")
    first, _, second = answer.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 404")
    assert second.startswith(b"HTTP/1.1 404")


def test_body_on_get(small: Mesh, small_way: Way, provider: Provider) -> None:
    """A body on GET is read as any other: JSON passes, what cannot be read does not."""
    base = small_way.base or f"https://{OPENAI}"
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    with small_way.client(httpx, [], asynchronous=False) as client:
        fine = client.request("GET", f"{base}/v1/models", content=b'{"a": 1}', headers=headers)
        bad = client.request("GET", f"{base}/v1/models", content=b"\xff{", headers=headers)
    assert fine.status_code == 200
    if small_way.base:
        assert (bad.status_code, len(provider.calls)) == (400, 1)


def test_odd_paths(small: Mesh, small_way: Way, provider: Provider) -> None:
    """Paths that two servers could read differently crash nothing, and each call is in the audit."""
    base = small_way.base or f"https://{OPENAI}"
    paths = ("//v1//chat/completions", "/v1/%63hat/completions", "/v1/x/../chat/completions", "/v1/chat/completions/")
    paths += ("/V1/Chat/Completions", "/v1/chat/completions;a=b", "/%00", "/v1/chat/completions?a=%ff&key=x")
    with small_way.client(httpx, [], asynchronous=False) as client:
        for path in paths:
            answer = client.post(httpx.URL(base).copy_with(raw_path=path.encode()), content=bytes(range(256)))
            assert answer.headers["x-mesh-id"], path
            if answer.headers["x-mesh-origin"] == "provider":
                assert small.exchange(answer.headers["x-mesh-id"])["inspected"] == "opaque", path


@pytest.mark.slow
def test_large_bodies_pass(mesh: Mesh, provider: Provider) -> None:
    """At the shipped limit, 32 MB of conversation pass through each way, byte for byte."""
    text = '{"role":"user","content":"' + "word " * 20_000 + '"}'
    body = f'{{"model":"gpt-4o-mini","messages":[{",".join([text] * 320)}]}}'.encode()
    assert len(body) > 32_000_000
    for name in ("forward-h1", "gateway"):
        provider.clear()
        way = mesh.way(name)
        with way.client(httpx, [], asynchronous=False) as client:
            answer = client.post(
                (way.base or f"https://{OPENAI}") + "/v1/chat/completions",
                content=body,
                headers={"authorization": f"Bearer {KEY}"},
                timeout=60,
            )
        assert answer.status_code == 200
        assert provider.call().body == body
        assert mesh.exchange(answer.headers["x-mesh-id"])["inspected"] == "full"


# --- what providers send ---


STREAM = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
ANSWERS = {
    "not JSON": Script(body=b"<html>busy</html>", content_type="text/html"),
    "JSON that is none": Script(body=b'{"choices": [', content_type="application/json"),
    "wrong shape": Script(body=b'{"choices": 7, "usage": "many"}'),
    "array": Script(body=b"[[[]]]"),
    "empty": Script(body=b""),
    "empty stream": Script(body=b"", content_type="text/event-stream"),
    "invalid UTF-8": Script(body=b'{"id": "\xff\xfe"}'),
    "deep": Script(body=b"[" * 100_000),
    "NaN usage": Script(body=b'{"usage": {"prompt_tokens": NaN, "completion_tokens": -1e400}}'),
    "huge usage": Script(body=b'{"usage": {"prompt_tokens": 1' + b"0" * 400 + b', "completion_tokens": 3}}'),
    "wrong gzip": Script(body=b'{"a": 1}', headers=(("content-encoding", "gzip"),)),
    "wrong zstd": Script(body=b'{"a": 1}', headers=(("content-encoding", "zstd"),)),
    "unknown encoding": Script(body=b'{"a": 1}', headers=(("content-encoding", "snappy"),)),
    "wrong gzip stream": Script(body=STREAM, content_type="text/event-stream", headers=(("content-encoding", "gzip"),)),
    "unknown encoding of a stream": Script(
        body=STREAM, content_type="text/event-stream", headers=(("content-encoding", "snappy"),)
    ),
    "truncated gzip stream": Script(
        body=gzip.compress(STREAM * 50)[:-12], content_type="text/event-stream", headers=(("content-encoding", "gzip"),)
    ),
    "invalid UTF-8 in a stream": Script(pieces=[STREAM, b"data: \xff\xfe{\n\n", b"\x80\r\r\n", STREAM]),
    "nonsense in a stream": Script(pieces=[b"data: {]\n\n", b"data: 7\n\n", b"data: null\n\n", b"event\n\n", b"\0"]),
    "wrong shapes in a stream": Script(
        pieces=[b'data: {"choices": 7}\n\n', b'data: {"choices": [7, {"delta": 7}]}\n\n', b'data: {"usage": []}\n\n']
    ),
    "event bomb": Script(pieces=[b"\n" * 50_000, b"data:\n\n" * 10_000, b":\n" * 30_000]),
    "huge event": Script(pieces=[b"data: " + b"x" * 500_000] * 4, content_type="text/event-stream"),
    "gzip bomb": Script(body=gzip.compress(b"[" + b"1," * 400_000 + b"1]"), headers=(("content-encoding", "gzip"),)),
    "error without a shape": Script(status=500, body=b'"no"'),
    "error page": Script(status=502, body=b"\xff<html>", content_type="text/html; charset=utf-16"),
    "redirect": Script(status=302, body=b"", headers=(("location", "https://elsewhere.example/"),)),
    "no content": Script(status=204, body=b""),
    "strange status": Script(status=599, body=b"{}"),
}


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("name", ["chat", "responses", "messages", "gemini_stream"])
def test_bad_answers(name: str, stream: bool, small: Mesh, small_way: Way, provider: Provider) -> None:
    """An answer that nobody can read reaches the client as the provider sent it, and its row is completed."""
    api = APIS[name]
    body = api.body if "gemini" in name else {**api.body, "stream": stream}
    if name == "chat" and stream:  # else the stream is edited, and asked for as identity
        body["stream_options"] = {"include_usage": True}
    ids = {}
    with small_way.client(httpx, [], asynchronous=False) as client:
        for what, script in ANSWERS.items():
            provider.clear()
            provider.script(script)
            url = (small_way.base or f"https://{api.host}") + api.path
            keys = {"authorization": f"Bearer {KEY}", "x-api-key": KEY, "x-goog-api-key": KEY}
            with client.stream("POST", url, json=body, headers=keys) as answer:
                got = b"".join(answer.iter_raw())
                assert "x-mesh-id" in answer.headers, what
            sent = script.body if script.body is not None else b"".join(script.pieces or [])
            assert (what, answer.status_code, got == sent) == (what, script.status, True)
            ids[answer.headers["x-mesh-id"]] = what
    for number, what in ids.items():
        row = small.exchange(number)
        assert row["outcome"] in ("answered", "malformed", "upstream_cut"), what
        assert row["response_bytes"] is not None, what
    assert "Traceback" not in small.log()
    assert small.health()["failures"] == {}


def test_bad_stream_that_is_edited(small: Mesh, small_way: Way, provider: Provider) -> None:
    """A stream that a stage edits and that cannot be read ends with the dialect's error, and the provider is let go."""
    body = {**APIS["chat"].body, "stream": True}
    provider.script(Script(body=STREAM, content_type="text/event-stream", headers=(("content-encoding", "gzip"),)))
    with small_way.client(httpx, [], asynchronous=False) as client:
        url = (small_way.base or f"https://{OPENAI}") + APIS["chat"].path
        answer = client.post(url, json=body, headers={"authorization": f"Bearer {KEY}"})
        last = json.loads(answer.text.strip().splitlines()[-1].removeprefix("data: "))
        assert "could not be read" in last["error"]["message"]
        assert client.post(url, json=APIS["chat"].body, headers={"authorization": f"Bearer {KEY}"}).status_code == 200
    row = small.exchange(answer.headers["x-mesh-id"])
    assert row["outcome"] == "malformed"


def test_data_folder_is_private(small: Mesh) -> None:
    """What was written is for its owner alone."""
    for path in (small.data, *small.data.glob("*.db*"), *small.data.glob("*key*")):
        assert path.stat().st_mode & 0o077 == 0, path.name
