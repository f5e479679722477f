"""However a call ends, every stage sees finish() once, and the audit says how it was."""

from __future__ import annotations

import json
import secrets
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived

from e2e.certs import Authority
from e2e.conftest import MakeMesh, reachable
from e2e.mesh import RAW_TEXT, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.raw import Listener
from e2e.sdks import KEY, Way
from mitmesh import runfile

FAULTY = ("../tests/e2e/faulty", "stack")
BODY: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
PATH = "/v1/chat/completions"
PIECE = b'data: {"id":"a","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
WAYS = ["forward-h1", "forward-h2", "gateway"]


class Watched:
    """A mitmesh whose stages tell of every finish()."""

    def __init__(self, mesh: Mesh, finished: Path) -> None:
        self.mesh, self._finished = mesh, finished

    def finished(self, trace: str) -> list[str]:
        """The outcomes that the stages were told of this call, in order."""
        lines = self._finished.read_text().splitlines() if self._finished.exists() else []
        return [line["outcome"] for line in map(json.loads, lines) if line["trace"] == trace]

    def row(self, trace: str) -> dict[str, Any]:
        """Its row, once it is complete; fails where finish() did not come exactly once."""
        query = "select * from exchanges where traceparent = ? and outcome is not null"
        row = wait_for(lambda: self.mesh.rows(query, trace), "the audit's row")[0]
        assert self.finished(trace) == [row["outcome"]]
        return row

    def idle(self) -> None:
        """Fails unless nothing is open any more."""
        wait_for(lambda: self._metric("mesh_open_exchanges") == 0, "no exchange is open")

    def _metric(self, name: str) -> float:
        lines = self.mesh.control("/metrics").decode().splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))


@pytest.fixture(scope="module")
def dead_port() -> Iterator[int]:
    """A port on which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


class Rude(Listener):
    """A provider that answers whatever it is asked with the same bytes, and closes."""

    said = b""

    def answer(self, sock: socket.socket, _: Listener) -> None:
        data = b""
        while b"hello" not in data:
            data += sock.recv(65536)
        sock.sendall(self.said)


@pytest.fixture(scope="module")
def rude(authority: Authority) -> Iterator[Rude]:
    """One of those."""
    rude = Rude(context=authority.server_context(["http/1.1"]))
    rude.behave = rude.answer
    with rude:
        yield rude


@pytest.fixture(scope="module")
def watched(
    tmp_path_factory: pytest.TempPathFactory,
    names: dict[str, Provider],
    authority: Authority,
    dead_port: int,
    rude: Rude,
) -> Iterator[Watched]:
    """One for the tests that do not stop it. Nothing listens where api.mistral.ai is; api.groq.com is rude."""
    folder = tmp_path_factory.mktemp("finish")
    nobody: Any = type("Nobody", (), {"port": dead_port})
    mesh = Mesh(
        folder,
        resolve={**names, "api.mistral.ai:443": nobody, "api.groq.com:443": rude},
        trust=authority.ca,
        local={"mesh.yaml": RAW_TEXT, "egress.yaml": reachable(names)},
        scripts=FAULTY,
        environ={"MESH_TEST_FINISHED": str(folder / "finished")},
    )
    yield Watched(mesh.start(), folder / "finished")
    mesh.stop()


@pytest.fixture
def make_watched(make_mesh: MakeMesh, tmp_path: Path) -> Callable[..., Watched]:
    """Makes and starts one that a test stops itself."""

    def make(**settings: Any) -> Watched:
        file = tmp_path / "finished"
        environ = {"MESH_TEST_FINISHED": str(file), **settings.pop("environ", {})}
        return Watched(make_mesh(scripts=FAULTY, environ=environ, **settings).start(), file)

    return make


def new_trace() -> str:
    """A traceparent of a call's own, to find it by."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def post(way: Way, trace: str, *, stream: bool = False, host: str = "api.openai.com", **headers: str) -> httpx.Response:
    """A chat call, its whole answer read."""
    url = f"{way.base or f'https://{host}'}/v1/chat/completions"
    sent = {"authorization": f"Bearer {KEY}", "traceparent": trace, **headers}
    with way.client(httpx, [], asynchronous=False) as client:
        answer: httpx.Response = client.post(url, json={**BODY, "stream": stream}, headers=sent)
    return answer


def leave(way: Way, trace: str, seconds: float = 0.5, *, stream: bool = True, **headers: str) -> None:
    """A chat call whose client does not wait for its end."""
    url = f"{way.base or 'https://api.openai.com'}/v1/chat/completions"
    sent = {"authorization": f"Bearer {KEY}", "traceparent": trace, **headers}
    with way.client(httpx, [], asynchronous=False) as client, pytest.raises(httpx.TimeoutException):
        client.post(url, json={**BODY, "stream": stream}, headers=sent, timeout=httpx.Timeout(10, read=seconds))


# --- one call, each way to end ---


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("way", WAYS)
def test_answered(way: str, stream: bool, watched: Watched, provider: Provider) -> None:
    """An answer, whole or streamed to its end."""
    post(watched.mesh.way(way), trace := new_trace(), stream=stream)
    row = watched.row(trace)
    assert (row["outcome"], row["status"], row["forwarded"], row["estimated"]) == ("answered", 200, 1, 0)
    watched.idle()


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("way", WAYS)
def test_client_gone_before(way: str, stream: bool, watched: Watched, provider: Provider) -> None:
    """The client leaves before the answer begins: what it sent is counted."""
    provider.script(Script(hang=True))
    leave(watched.mesh.way(way), trace := new_trace(), stream=stream)
    row = watched.row(trace)
    assert (row["outcome"], row["status"], row["forwarded"], row["estimated"]) == ("client_gone", None, 1, 1)
    assert row["prompt_tokens"] > 0
    assert provider.ended() == "client_gone"
    watched.idle()


@pytest.mark.parametrize("way", WAYS)
def test_client_gone_during(way: str, watched: Watched, provider: Provider) -> None:
    """The client leaves a stream: what it was sent is counted."""
    provider.script(Script(pieces=[PIECE] * 9, hold=7))
    leave(watched.mesh.way(way), trace := new_trace())
    row = watched.row(trace)
    assert (row["outcome"], row["status"], row["estimated"]) == ("client_gone", 200, 1)
    assert row["completion_tokens"] >= 7
    assert provider.ended() == "client_gone"
    watched.idle()


@pytest.mark.parametrize("way", WAYS)
def test_client_gone_while_stages_decide(way: str, watched: Watched, provider: Provider) -> None:
    """The client leaves while a stage waits for something: nothing leaves, and no later stage is asked."""
    leave(watched.mesh.way(way), trace := new_trace(), **{"x-fault": "quota:request:wait"})
    row = watched.row(trace)
    assert (row["outcome"], row["forwarded"], row["prompt_tokens"]) == ("client_gone", 0, None)
    assert "cache" not in json.loads(row["stage_ms"] or "{}")
    assert provider.calls == []
    watched.idle()


def test_stream_reset_by_the_client(watched: Watched, provider: Provider) -> None:
    """An HTTP/2 client that resets one stream and stays has left that call."""
    provider.script(Script(pieces=[PIECE] * 9, hold=7))
    body, trace = json.dumps({**BODY, "stream": True}).encode(), new_trace()
    context = ssl.create_default_context(cafile=str(watched.mesh.ca))
    context.set_alpn_protocols(["h2"])
    with _socket(watched.mesh, "forward-h2", context) as sock:
        client = H2Connection()
        client.initiate_connection()
        pseudo = {":method": "POST", ":scheme": "https", ":authority": "api.openai.com", ":path": PATH}
        client.send_headers(1, [*pseudo.items(), ("authorization", f"Bearer {KEY}"), ("traceparent", trace)])
        client.send_data(1, body, end_stream=True)
        sock.sendall(client.data_to_send())
        while not any(isinstance(event, DataReceived) for event in client.receive_data(sock.recv(65536))):
            sock.sendall(client.data_to_send())
        client.reset_stream(1, ErrorCodes.CANCEL)
        sock.sendall(client.data_to_send())
        row = watched.row(trace)
    assert row["outcome"] == "client_gone"
    watched.idle()


@pytest.mark.parametrize("way", ["forward-h1", "gateway"])
def test_client_gone_during_upload(way: str, watched: Watched, provider: Provider) -> None:
    """The client leaves before its request is whole."""
    trace = new_trace()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\ntraceparent: {trace}\r\n"
    with _socket(watched.mesh, way) as sock:
        sock.sendall(head.encode() + b'Content-Length: 99999\r\n\r\n{"model": "gpt-4o')
    row = watched.row(trace)
    assert (row["outcome"], row["forwarded"], row["status"]) == ("client_gone", 0, None)
    assert provider.calls == []
    watched.idle()


@pytest.mark.parametrize("way", ["forward-h1", "forward-h2"])
def test_upstream_refused(way: str, watched: Watched) -> None:
    """Nobody listens at the provider's address."""
    answer = post(watched.mesh.way(way), trace := new_trace(), host="api.mistral.ai")
    assert (answer.status_code, answer.headers["x-mesh-origin"]) == (502, "proxy")
    row = watched.row(trace)
    assert (row["outcome"], row["status"], row["forwarded"]) == ("upstream_failed", 502, 0)
    assert row["prompt_tokens"] is None
    watched.idle()


@pytest.mark.parametrize("way", WAYS)
def test_reset_before_headers(way: str, watched: Watched, provider: Provider) -> None:
    """The provider resets the connection and says nothing."""
    provider.script(Script(refuse=True))
    answer = post(watched.mesh.way(way), trace := new_trace())
    assert (answer.status_code, answer.headers["x-mesh-origin"]) == (502, "proxy")
    row = watched.row(trace)
    assert (row["outcome"], row["status"], row["forwarded"]) == ("upstream_failed", 502, 1)
    watched.idle()


@pytest.mark.parametrize("how", ["cut", "reset"])
@pytest.mark.parametrize("way", WAYS)
def test_cut_mid_stream(way: str, how: str, watched: Watched, provider: Provider) -> None:
    """The provider ends a stream before its end: what came is counted, and the client sees that it was cut."""
    provider.script(Script(pieces=[PIECE] * 9, **{how: 5}))  # type: ignore[arg-type]
    with pytest.raises(httpx.RemoteProtocolError):
        post(watched.mesh.way(way), trace := new_trace(), stream=True)
    row = watched.row(trace)
    assert (row["outcome"], row["status"], row["estimated"]) == ("upstream_cut", 200, 1)
    watched.idle()


def test_clean_end_of_a_cut_stream(watched: Watched, provider: Provider) -> None:
    """A stream that ends in order, but not with its dialect's end, was cut."""
    provider.script(Script(pieces=[PIECE] * 5))
    answer = post(watched.mesh.way("gateway"), trace := new_trace(), stream=True)
    assert answer.content == PIECE * 5
    row = watched.row(trace)
    assert (row["outcome"], row["estimated"], row["completion_tokens"]) == (
        "upstream_cut",
        1,
        6,
    )  # "word " * 5 ends in a space
    watched.idle()


CLOSED_BY_END = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + PIECE * 5
BAD_HTTP = b"what is this\r\n\r\n"
BAD_HEADER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
BAD_CHUNK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}"


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        (CLOSED_BY_END, "upstream_cut"),
        (BAD_HTTP, "malformed"),
        (BAD_HEADER, "malformed"),
        (BAD_CHUNK, "malformed"),
        (b"", "upstream_failed"),
    ],
    ids=["closed-by-end", "bad-http", "bad-header", "bad-chunk", "nothing"],
)
def test_raw_answers(said: bytes, outcome: str, watched: Watched, rude: Rude) -> None:
    """What looks like an end and is none, and what is no HTTP at all."""
    rude.said, trace = said, new_trace()
    try:
        post(watched.mesh.way("forward-h1"), trace, stream=outcome == "upstream_cut", host="api.groq.com/openai")
    except httpx.RemoteProtocolError:
        pass
    assert watched.row(trace)["outcome"] == outcome
    watched.idle()
    assert "what is this" not in watched.mesh.log()


def test_malformed_json(watched: Watched, provider: Provider) -> None:
    """A 200 whose body is not the JSON it says."""
    provider.script(Script(body=b'{"choices": [', content_type="application/json"))
    answer = post(watched.mesh.way("gateway"), trace := new_trace())
    assert answer.content == b'{"choices": ['
    row = watched.row(trace)
    assert (row["outcome"], row["status"], row["forwarded"]) == ("malformed", 200, 1)
    watched.idle()


@pytest.mark.parametrize("how", ["raise", "cancel"])
@pytest.mark.parametrize("way", WAYS)
def test_refused_by_a_stage(way: str, how: str, watched: Watched, provider: Provider) -> None:
    """A stage refuses, or is cancelled inside: the client is told at once."""
    answer = post(watched.mesh.way(way), trace := new_trace(), **{"x-fault": f"policy:request:{how}"})
    assert answer.status_code == 503
    row = watched.row(trace)
    assert (row["outcome"], row["forwarded"]) == ("refused", 0)
    watched.idle()


async def test_many_at_once(watched: Watched, provider: Provider) -> None:
    """Every one of many concurrent calls on one connection, half of them abandoned, is finished once."""
    way = watched.mesh.way("forward-h2")
    traces = [new_trace() for _ in range(24)]
    provider.script(*(Script(between=0.01) for _ in traces))

    def one(number: int) -> None:
        if number % 2:
            leave(way, traces[number], **{"x-fault": "guard:request:wait"})
        else:
            post(way, traces[number], stream=True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(len(traces))))
    outcomes = [watched.row(trace)["outcome"] for trace in traces]
    assert outcomes == ["answered", "client_gone"] * 12
    watched.idle()


# --- the process is told to stop ---


class InFlight(threading.Thread):
    """A call in a thread of its own; `answer` or `error` is what became of it."""

    def __init__(self, way: Way, *, stream: bool, **headers: str) -> None:
        super().__init__(daemon=True)
        self.way, self.stream, self.headers, self.trace = way, stream, headers, new_trace()
        self.answer: httpx.Response | None = None
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = post(self.way, self.trace, stream=self.stream, **self.headers)
        except Exception as error:
            self.error = error


def stop_under_way(watched: Watched, provider: Provider, *signals: int) -> tuple[InFlight, InFlight, InFlight]:
    """A stream half delivered, a call that waits for its answer and one that a stage thinks about; then signals."""
    way = watched.mesh.way("gateway")
    provider.script(Script(pieces=[PIECE] * 9 + [b"data: [DONE]\n\n"], hold=5))
    stream = InFlight(way, stream=True)
    provider.call(1)
    provider.script(Script(hold=0))
    waiting = InFlight(way, stream=False)
    provider.call(2)
    deciding = InFlight(way, stream=False, **{"x-fault": "guard:request:hang"})
    open_rows = "select * from exchanges where outcome is null"
    wait_for(lambda: len(watched.mesh.rows(open_rows)) == 2, "two rows are open")
    wait_for(lambda: watched._metric("mesh_open_exchanges") == 3, "three exchanges are open")
    assert watched.mesh.process
    for number in signals:
        watched.mesh.process.send_signal(number)
        wait_for(lambda: "in flight" in watched.mesh.log(), "it drains")
    return stream, waiting, deciding


@pytest.mark.quick
def test_sigterm_drains(make_watched: Callable[..., Watched], provider: Provider) -> None:
    """SIGTERM lets calls in flight end in their time, takes no new one, and then ends the process."""
    watched = make_watched(
        options=["--set", "mesh_drain=10"], local={"mesh.yaml": RAW_TEXT + "limits: {stage_seconds: 2}\n"}
    )
    kept = httpx.Client(trust_env=False, timeout=10)
    url = f"{watched.mesh.gateway}/v1/chat/completions"
    assert kept.post(url, json=BODY, headers={"authorization": f"Bearer {KEY}"}).status_code == 200
    provider.clear()
    stream, waiting, deciding = stop_under_way(watched, provider, signal.SIGTERM)
    late = kept.post(url, json=BODY, headers={"authorization": f"Bearer {KEY}"})
    assert (late.status_code, late.headers["x-mesh-rule"], late.headers["retry-after"]) == (
        503,
        "engine.not_ready",
        "2",
    )
    with pytest.raises(httpx.ConnectError):
        httpx.get(watched.mesh.gateway, trust_env=False)
    provider.release()
    for call in (stream, waiting, deciding):
        call.join(10)
    assert stream.answer and stream.answer.content.endswith(b"data: [DONE]\n\n")
    assert waiting.answer and waiting.answer.status_code == 200
    assert deciding.answer and deciding.answer.status_code == 503
    assert watched.mesh.process and watched.mesh.process.wait(10) == 0
    assert [watched.row(call.trace)["outcome"] for call in (stream, waiting)] == ["upstream_cut", "answered"]
    assert watched.row(deciding.trace)["refused_by"] == "guard"
    assert runfile.read(watched.mesh.data) == {"rules": str(watched.mesh.rules)}


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]]
)
def test_stopped(signals: list[int], make_watched: Callable[..., Watched], provider: Provider) -> None:
    """What has not ended when its time is over, or at a second signal, is interrupted, and its usage counted."""
    seconds = 1 if len(signals) == 1 else 60
    watched = make_watched(options=["--set", f"mesh_drain={seconds}"])
    calls = stop_under_way(watched, provider, *signals)
    assert watched.mesh.process and watched.mesh.process.wait(10) == 0
    rows = [watched.row(call.trace) for call in calls]
    assert [row["outcome"] for row in rows] == ["interrupted"] * 3
    assert [row["forwarded"] for row in rows] == [1, 1, 0]
    assert [row["estimated"] for row in rows] == [1, 1, None]
    assert rows[0]["completion_tokens"] >= 5
    for call in calls:
        call.join(10)
        assert call.error is not None
    assert "Traceback" not in watched.mesh.log(), watched.mesh.log()
    assert "Task was destroyed" not in watched.mesh.log()


def _socket(mesh: Mesh, way: str, context: ssl.SSLContext | None = None) -> socket.socket:
    """A connection at which HTTP/1.1 can be spoken to the provider's API."""
    host, _, port = mesh.run["gateway" if way == "gateway" else "proxy"].rpartition(":")
    raw = socket.create_connection((host, int(port)), 10)
    if way == "gateway":
        return raw
    raw.sendall(b"CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n")
    assert b" 200 " in raw.recv(65536)
    context = context or ssl.create_default_context(cafile=str(mesh.ca))
    return context.wrap_socket(raw, server_hostname="api.openai.com")
