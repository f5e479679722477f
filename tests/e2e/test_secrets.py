"""Nothing a client says is written where it does not belong: credentials nowhere, prompts in content.db alone.

Marked credentials and marked texts go through every good and failing path that mitmproxy or a stage might log, with
debug output on; then everything the process wrote or served is searched for them.
"""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.certs import Authority, make_authority
from e2e.conftest import reachable
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.raw import Listener, read_head

KEY = "mesh-canary-KEY-7f3a"
PROMPT = "canary PROMPT zebra"
ANSWER = "canary ANSWER giraffe"
BASIC = base64.b64encode(f"user:{KEY}".encode()).decode()
MARKS = {"credential": (KEY, BASIC), "text": (PROMPT, ANSWER, "zebra", "giraffe")}

OPENAI, ANTHROPIC, GOOGLE = "api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"
HEADERS = {
    "authorization": f"Bearer {KEY}",
    "x-api-key": KEY,
    "api-key": KEY,
    "cookie": f"first=1; session={KEY}",
    "x-own-token": KEY,
    "user-agent": "canary/1",
}
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": PROMPT}]}
GEMINI = {"contents": [{"parts": [{"text": PROMPT}]}]}
CALLS: list[tuple[str, str, dict[str, Any]]] = [
    (OPENAI, "/v1/chat/completions", CHAT),
    (OPENAI, "/v1/chat/completions", {**CHAT, "stream": True}),
    (OPENAI, "/v1/responses", {"model": "gpt-4o-mini", "input": PROMPT, "stream": True}),
    (ANTHROPIC, "/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": CHAT["messages"]}),
    (GOOGLE, f"/v1beta/models/gemini-2.5-flash:generateContent?key={KEY}", GEMINI),
    (OPENAI, f"/other?api_key={KEY}", {"anything": PROMPT}),
]

FAULTY = '''
"""A stage that fails with all it knows in its exception."""
from mitmesh.catalog import CATALOG
from mitmesh.engine import door
from mitmesh.stage import Stage

class Faulty(Stage):
    name = "cache"

    async def request(self, x):
        if "x-fault" in x.headers:
            raise ValueError(f"{x.credential} {x.path} {dict(x.headers)} {x.call.texts}")

    def response(self, x):
        if "x-fault" in x.headers:
            raise KeyError(str(x.answer.parts))

    def finish(self, x):
        if "x-fault" in x.headers:
            raise RuntimeError(f"{x.credential} {x.answer}")

CATALOG["cache"] = lambda _: Faulty()
addons = door("cache")
'''


def nonsense(sock: socket.socket, _: Listener) -> None:
    """Answer what is no HTTP, with marks in it."""
    read_head(sock)
    sock.sendall(f"{ANSWER} {KEY} no HTTP at all\r\nAuthorization: {KEY}\r\n\r\n".encode())


def too_much(sock: socket.socket, _: Listener) -> None:
    """Answer more than the answer."""
    read_head(sock)
    sock.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{{}}{ANSWER} {KEY} and more".encode())


def bad_chunk(sock: socket.socket, _: Listener) -> None:
    """Answer with a chunk that is none."""
    read_head(sock)
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    sock.sendall(f"{head}{ANSWER} {KEY}\r\n".encode())


def bad_head(sock: socket.socket, _: Listener) -> None:
    """Answer with a header that is none."""
    read_head(sock)
    sock.sendall(f"HTTP/1.1 200 OK\r\n{ANSWER} {KEY}\r\n\r\n".encode())


SERVERS = {
    "api.mistral.ai": nonsense,
    "api.deepseek.com": too_much,
    "api.together.xyz": bad_chunk,
    "api.fireworks.ai": bad_head,
}


class Nowhere:
    """A port where nothing listens."""

    port = 9


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Certifies the names of SERVERS."""
    return make_authority(tmp_path_factory.mktemp("own"), list(SERVERS))


@pytest.fixture(scope="module")
def servers(own: Authority) -> Iterator[dict[str, Any]]:
    """What speaks no HTTP, by name."""
    with contextlib.ExitStack() as stack:
        context = own.server_context(["http/1.1"])
        yield {f"{name}:443": stack.enter_context(Listener(behave, context)) for name, behave in SERVERS.items()}


@pytest.fixture(scope="module")
def trust(own: Authority, authority: Authority) -> Path:
    """Both authorities."""
    both = own.ca.with_name("both.pem")
    both.write_bytes(own.ca.read_bytes() + authority.ca.read_bytes())
    return both


def make(folder: Path, names: dict[str, Any], servers: dict[str, Any], trust: Path, local: dict[str, str]) -> Mesh:
    """A mitmesh that says all it can."""
    folder.mkdir(parents=True, exist_ok=True)
    faulty = folder / "faulty_stage.py"
    faulty.write_text(FAULTY)
    resolve = {**names, **servers, "api.x.ai:443": Nowhere()}
    options = ["--set", "termlog_verbosity=debug", "-s", str(faulty)]
    local = {"egress.yaml": reachable(names), **local}
    return Mesh(folder, resolve=resolve, trust=trust, local=local, options=options).start()


def everything(mesh: Mesh, provider: Provider) -> None:
    """Send the marks along every path."""
    for name in ("forward-h1", "forward-h2", "gateway"):
        way = mesh.way(name)
        with way.client(httpx, [], asynchronous=False) as client:
            good_and_bad(client, way.base, provider)
    odd_clients(mesh, provider)
    no_providers(mesh)


def good_and_bad(client: httpx.Client, base: str | None, provider: Provider) -> None:
    """What a client may send and a provider may answer."""
    for host, path, body in CALLS:
        url = (base or f"https://{host}") + path
        for script in (
            Script(text=ANSWER),
            Script(status=401, body=json.dumps({"error": {"message": ANSWER, "type": "auth"}}).encode()),
            Script(body=ANSWER.encode()),
            Script(body=f"{ANSWER}".encode(), headers=(("content-encoding", "gzip"),)),
            Script(pieces=[f"data: {ANSWER}\n\n".encode()]),
            Script(pieces=[f"data: {ANSWER}".encode()] * 3, cut=1),
            Script(refuse=True),
        ):
            provider.clear()
            provider.script(script)
            with contextlib.suppress(httpx.HTTPError):
                client.post(url, json=body, headers=HEADERS)
    url = (base or f"https://{OPENAI}") + CALLS[0][1]
    for content in (f'{{"{PROMPT}": {KEY}', f"{PROMPT} {KEY}", f'{{"messages": "{PROMPT}"}}', f'{{"messages": [{KEY}'):
        answer = client.post(url, content=content, headers=HEADERS)
        assert answer.status_code == 400
        assert PROMPT not in answer.text and KEY not in answer.text + str(answer.headers)
    provider.clear()
    provider.script(Script(text=ANSWER))
    client.post(url, json=CHAT, headers={**HEADERS, "x-fault": "yes"})
    if base is None:
        client.post(f"https://{OPENAI}/v1/realtime?key={KEY}", headers={**HEADERS, "upgrade": "websocket"})


def odd_clients(mesh: Mesh, provider: Provider) -> None:
    """Clients that speak HTTP badly, or leave."""
    secret = f"Authorization: Bearer {KEY}\r\nCookie: a=1; b={KEY}\r\nX-Own-Token: {KEY}"
    body = json.dumps(CHAT)
    for text in (
        f"POST /v1/messages?key={KEY} HTTP/1.1\r\nHost: x\r\n{secret}",
        f"POST /v1/messages?key={KEY}\r\nHost: x\r\n{secret}\r\n\r\n{body}",
        f"POST /v1/messages?key={KEY} HTTP/7.3\r\nHost: x\r\n{secret}\r\n\r\n{body}",
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\n{KEY} {PROMPT}\r\n\r\n{body}",
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\n{secret}\r\nContent-Length: 5\r\n\r\n{body}",
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\n{secret}\r\nContent-Length: {PROMPT}\r\n\r\n{body}",
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\n{secret}\r\nTransfer-Encoding: chunked\r\n\r\n{PROMPT}\r\n{KEY}\r\n",
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\n{secret}\r\nContent-Length: 9999\r\n\r\n{body}",
        f"{PROMPT} {KEY}\r\n\r\n",
        f"CONNECT nowhere.example:443 HTTP/1.1\r\nProxy-Authorization: Basic {BASIC}\r\n\r\n",
        f"CONNECT {OPENAI}:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic {BASIC}\r\n\r\n{PROMPT} {KEY}",
        f"GET http://plain.example/large?key={KEY} HTTP/1.1\r\nHost: plain.example\r\n{secret}\r\n\r\n",
        f"GET http://nowhere.example/?key={KEY} HTTP/1.1\r\nHost: nowhere.example\r\n{secret}\r\n\r\n",
        f"GET http://user:{KEY}@nowhere.example/ HTTP/1.1\r\nHost: nowhere.example\r\n{secret}\r\n\r\n",
    ):
        for place in ("gateway", "proxy"):
            host, _, port = mesh.run[place].rpartition(":")
            with socket.create_connection((host, int(port)), 10) as sock:
                sock.sendall(text.encode())
                sock.shutdown(socket.SHUT_WR)
                sock.settimeout(0.15)
                with contextlib.suppress(OSError):
                    while sock.recv(65536):
                        pass
    provider.clear()
    provider.script(Script(text=f"{ANSWER} and more", hold=2))
    with mesh.way("gateway").client(httpx, [], asynchronous=False) as client:
        url = mesh.gateway + CALLS[1][1]
        with client.stream("POST", url, json=CALLS[1][2], headers=HEADERS) as answer:
            next(answer.iter_raw())  # and the client is gone
    provider.ended()


def no_providers(mesh: Mesh) -> None:
    """Providers that are not there, or speak no HTTP."""
    for host in ("api.x.ai", "api.groq.example", "api.perplexity.ai", *SERVERS):
        for name in ("forward-h1", "forward-h2"):
            with (
                mesh.way(name).client(httpx, [], asynchronous=False) as client,
                contextlib.suppress(httpx.HTTPError, httpx.InvalidURL),
            ):
                client.post(f"https://{host}/v1/chat/completions?key={KEY}", json=CHAT, headers=HEADERS, timeout=5)


def served(mesh: Mesh) -> dict[str, bytes]:
    """What the control port tells."""
    return {path: mesh.control(path) for path in ("/health", "/metrics")}


def stop_in_flight(mesh: Mesh, provider: Provider) -> None:
    """End the process while a call is waiting for its answer."""
    provider.clear()
    provider.script(Script(hang=True))

    def call() -> None:
        with (
            mesh.way("gateway").client(httpx, [], asynchronous=False) as client,
            contextlib.suppress(httpx.HTTPError),
        ):
            client.post(mesh.gateway + CALLS[0][1], json=CHAT, headers=HEADERS)

    thread = threading.Thread(target=call)
    thread.start()
    provider.call()
    assert mesh.process is not None
    mesh.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "in flight" in mesh.log() or mesh.process.poll() is not None, "draining")  # type: ignore[union-attr]
    mesh.process.send_signal(signal.SIGTERM)
    mesh.process.wait(15)
    thread.join(15)


def written(mesh: Mesh) -> dict[str, bytes]:
    """Every file the process wrote, but for its CA."""
    files = [path for path in (mesh.log_file, *mesh.data.rglob("*")) if path.is_file()]
    return {path.name: path.read_bytes() for path in files}


def found(places: dict[str, bytes], kind: str) -> dict[str, list[str]]:
    """The lines in which the marks of a kind are, by place."""
    hits: dict[str, list[str]] = {}
    for name, content in places.items():
        lines = [line for line in content.split(b"\n") if any(mark.encode() in line for mark in MARKS[kind])]
        if lines:
            hits[name] = [line[:300].decode(errors="replace") for line in lines[:5]]
    return hits


@pytest.mark.parametrize("content", ["metadata", "full"])
def test_nothing_sensitive_is_written(
    content: str, tmp_path: Path, names: dict[str, Any], servers: dict[str, Any], trust: Path,
    provider: Provider,
) -> None:  # fmt: skip
    """Credentials are nowhere; texts are nowhere with `content: metadata`, else in content.db and the NDJSON alone."""
    audit = "audit: {content: metadata}\n" if content == "metadata" else RAW_TEXT + "  ndjson: calls.ndjson\n"
    mesh = make(tmp_path, names, servers, trust, {"mesh.yaml": audit})
    everything(mesh, provider)
    told = served(mesh)
    assert b"mesh_exchanges_total" in told["/metrics"] or b"mesh_" in told["/metrics"]
    assert "stage cache failed" in mesh.log() and mesh.rows("select 1 from exchanges limit 1")
    kinds = {row["outcome"] for row in mesh.rows("select distinct outcome from exchanges")}
    assert kinds >= {"answered", "refused", "upstream_failed", "upstream_cut"}
    while_running = written(mesh)
    stop_in_flight(mesh, provider)
    for places in (told, while_running, written(mesh)):
        assert found(places, "credential") == {}
        texts = found(places, "text")
        if content == "full":
            assert texts or places is told
            texts = {name: lines for name, lines in texts.items() if not name.startswith(("content.db", "calls.nd"))}
        assert texts == {}


def test_what_is_kept_of_a_credential(mesh: Mesh, provider: Provider) -> None:
    """The audit tells calls with one credential from those with another, by a keyed hash."""
    ids = []
    with mesh.way("gateway").client(httpx, [], asynchronous=False) as client:
        for key in ("one", "one", "two"):
            answer = client.post(
                mesh.gateway + CALLS[0][1], json=CHAT, headers={"authorization": f"Bearer {key}-{KEY}"}
            )
            ids.append(answer.headers["x-mesh-id"])
    first, again, other = (mesh.exchange(number)["credential_hash"] for number in ids)
    assert first == again != other
    assert len(first) >= 16
