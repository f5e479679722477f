"""Redaction in the real process: what providers see, what clients read, and what is written down anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

import httpx
import pytest

from e2e.conftest import MakeMesh
from e2e.mesh import WAYS, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.sdks import KEY, QUESTION, Kind, ask
from redaction.positions import NUMBER, REQUESTS, VALUE, Sent

ADDRESS = "maria.lopez@northwind-traders.com"
REDACTED = "audit:\n  content: redacted\n"
HOSTS = {
    "openai_chat": "https://api.openai.com/v1/chat/completions",
    "openai_responses": "https://api.openai.com/v1/responses",
    "openai_embeddings": "https://api.openai.com/v1/embeddings",
    "anthropic": "https://api.anthropic.com/v1/messages",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent",
    "generic": "https://api.openai.com/v1/unheard-of",
}
BREAKS = ["-s", str(Path(__file__).with_name("break_finder.py"))]


@pytest.fixture(scope="module")
def redacting(tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Any) -> Iterator[Mesh]:
    """One mitmesh that stores what is redacted."""
    folder = tmp_path_factory.mktemp("redacting")
    mesh = Mesh(folder, resolve=names, trust=authority.ca, local={"mesh.yaml": REDACTED}).start()
    yield mesh
    mesh.stop()


@pytest.mark.parametrize("way_name", WAYS)
def test_sdks(
    kind: Kind, way_name: str, stream: bool, redacting: Mesh, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each SDK the provider sees a placeholder, the client reads the value, and the audit has neither text."""
    if kind.operation == "embeddings":
        pytest.skip("an answer has no text")
    monkeypatch.setattr("e2e.sdks.QUESTION", f"{QUESTION} {ADDRESS}")
    provider.script(Script(text="Dear <EMAIL_1>, not <EMAIL_2>"))
    got = ask(kind, redacting.way(way_name), stream=stream)
    (seen,) = provider.calls
    assert b"<EMAIL_1>" in seen.body and ADDRESS.encode() not in seen.body
    assert got.text == f"Dear {ADDRESS}, not <EMAIL_2>"
    redacting.exchange(got.id)
    (row,) = redacting.rows("select * from verdicts where exchange = ?", got.id)
    assert (row["stage"], row["action"], row["reason"]) == ("redact", "redact", "replaced 1 EMAIL in user")
    query = "select role, text from conversations where exchange = ? order by direction desc, position"
    texts = wait_for(lambda: len(rows := redacting.rows(query, got.id, database="content")) > 1 and rows, "texts")
    assert texts
    assert {row["role"]: row["text"] for row in texts}["user"] == f"{QUESTION} <EMAIL_1>"
    assert {row["role"]: row["text"] for row in texts}["assistant"] == "Dear <EMAIL_1>, not <EMAIL_2>"


def test_stream_keeps_its_pace(redacting: Mesh, provider: Provider) -> None:
    """The first words are there while the provider still thinks about the next (litellm 29134)."""
    provider.script(Script(text="one two <EMAIL_1> four", hold=4))
    body = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": ADDRESS}]}
    with (
        redacting.way("forward-h2").client(httpx, [], asynchronous=False) as http,
        http.stream("POST", HOSTS["openai_chat"], json=body, headers={"authorization": f"Bearer {KEY}"}) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith("data: {")
        assert provider.call().ended is None
        provider.release()
        rest = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    said = [doc["choices"][0]["delta"].get("content") for doc in rest if doc["choices"]]
    assert [text for text in said if text] == ["one", " two", f" {ADDRESS}", " four"]


# --- the canary ---


def placed(value: Any, canary: str) -> Any:
    """A document of redaction.positions with the canary in its value's place."""
    if isinstance(value, str):
        for said in (VALUE, *(json.dumps(VALUE)[1:-1], json.dumps(json.dumps(VALUE)[1:-1])[1:-1])[::-1]):
            value = value.replace(said, canary)
        return value.replace(quote(VALUE), quote(canary)).replace(quote_plus(VALUE), quote_plus(canary))
    if isinstance(value, list):
        return [placed(item, canary) for item in value]
    if isinstance(value, dict):
        return {placed(key, canary): placed(item, canary) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class Marked:
    """A call with a marked address in one position."""

    canary: str
    dialect: str
    url: str
    body: bytes
    kind: str = "application/json"

    @property
    def chats(self) -> bool:
        """Can it be asked to stream, and does the test's provider answer as its API does?"""
        return self.dialect in ("openai_chat", "openai_responses", "anthropic") and self.url == HOSTS[self.dialect]


def canaries() -> Iterator[Marked]:
    """A marked address for every position of every dialect."""
    for dialect, cells in REQUESTS.items():
        for number, cell in enumerate(cells.values()):
            if isinstance(cell, str):
                continue
            canary = f"canary.{dialect.replace('_', '')}{number}@northwind-traders.com"
            call = cell if isinstance(cell, Sent) else Sent(cell)
            path, host = placed(call.path, canary), HOSTS[dialect]
            url = f"https://{urlsplit(host).netloc}{path}" if path.startswith("/") else host + path
            body = placed(call.body, canary)
            raw = body if isinstance(body, str) else json.dumps(body)
            yield Marked(canary, dialect, url, raw.encode(), call.kind)


def canary_in(text: bytes) -> list[bytes]:
    """What of a canary is there, in clear or in the encodings in which a text may be written down."""
    found = re.findall(rb"canary\.[a-z0-9]+(?:@|%40|\\u0040|&#64;)", text, re.IGNORECASE)
    return found + re.findall(rb"%d" % NUMBER, text)


def written(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file that the process and its children have written."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path, path.read_bytes()


@pytest.mark.slow
def test_canary(make_mesh: MakeMesh, provider: Provider) -> None:
    """Marked values in every position of every dialect, on good and failing paths, are nowhere to be found: not at the
    provider, not in a file, not in the log, not in what the control port says."""
    mesh = make_mesh(local={"mesh.yaml": REDACTED}, options=BREAKS).start()
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    refused: list[int] = []
    with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as http:
        for call in canaries():
            headers["content-type"] = call.kind
            answer = http.post(call.url, content=call.body, headers=headers)
            assert answer.status_code in (200, 404), answer.text
            provider.script(Script(status=500, body=b'{"error": {"message": "no <EMAIL_1>", "type": "x"}}'))
            assert http.post(call.url, content=call.body, headers=headers).status_code == 500
            refused += _failing(http, call, headers)
            if call.chats:
                http.post(call.url, json={**json.loads(call.body), "stream": True}, headers=headers)
        _aborts(http, provider, headers)
    assert set(refused) == {503, 400, 404}
    assert len(provider.calls) > 200
    assert not [canary for seen in provider.calls for canary in canary_in(seen.body + seen.target.encode())]
    said = mesh.control("/metrics") + mesh.control("/health")
    _in_flight(mesh, provider, headers)
    mesh.stop()
    assert not canary_in(said)
    assert {path.name: found for path, text in written(mesh.folder) if (found := canary_in(text))} == {}
    assert b"<EMAIL_1>" in (mesh.data / "content.db").read_bytes()
    assert "stage redact failed in request: ValueError" in mesh.log()


def _failing(http: httpx.Client, call: Marked, headers: dict[str, str]) -> Iterator[int]:
    """The statuses of the same call where the finder fails, where it is cut, and with bytes that are no text (aisix
    1016). On paths of no known API the last two are read as texts, and the provider knows no such path."""
    said = re.sub(rb"canary\.", b"BOOM canary.", call.body)
    yield http.post(call.url, content=said, headers=headers).status_code
    for bad in (call.body[:-1], call.body.replace(b"canary", b"\xffcanary", 1)):
        if call.kind == "application/json" or b"\xff" in bad:
            yield http.post(call.url, content=bad, headers=headers).status_code


@pytest.mark.parametrize("way_name", WAYS)
def test_what_is_held_when_the_provider_breaks_off(way_name: str, redacting: Mesh, provider: Provider) -> None:
    """A text that ends within what could be a placeholder passes as it is, also where the stream is torn off there."""
    doc = {"model": "m", "stream": True, "messages": [{"role": "user", "content": f"I am {ADDRESS}"}]}
    said = ("Dear <EMAIL_1>, not <EMA", "IL_")
    pieces = [b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % text.encode() for text in said]
    for script in (Script(pieces=[*pieces, b"x"], cut=2), Script(pieces=[*pieces, b"x"], reset=2, between=0.3)):
        provider.script(script)
        got = b""
        way = redacting.way(way_name)
        url = HOSTS["openai_chat"] if way.base is None else f"{way.base}/v1/chat/completions"
        with (
            way.client(httpx, [], asynchronous=False) as http,
            pytest.raises(httpx.HTTPError),
            http.stream("POST", url, json=doc, headers={"authorization": f"Bearer {KEY}"}) as answer,
        ):
            for chunk in answer.iter_raw():
                got += chunk
        docs = [json.loads(line[6:]) for line in got.splitlines() if line.startswith(b"data: {")]
        text = "".join(each["choices"][0]["delta"]["content"] for each in docs)
        assert text == f"Dear {ADDRESS}, not <EMAIL_"


def _aborts(http: httpx.Client, provider: Provider, headers: dict[str, str]) -> None:
    """A client that leaves, a provider that resets before and in its answer."""
    doc = {
        "model": "m",
        "stream": True,
        "messages": [{"role": "user", "content": "canary.abort@northwind-traders.com"}],
    }
    for script in (Script(refuse=True), Script(cut=2), Script(reset=2), Script(hang=True)):
        provider.script(script)
        try:
            http.post(HOSTS["openai_chat"], json=doc, headers=headers, timeout=1.0)
        except httpx.HTTPError:
            pass


def _in_flight(mesh: Mesh, provider: Provider, headers: dict[str, str]) -> None:
    """A call that the process's end interrupts."""
    import threading

    doc = {"model": "m", "messages": [{"role": "user", "content": "canary.shutdown@northwind-traders.com"}]}
    before = len(provider.calls)
    provider.script(Script(hang=True))

    def call() -> None:
        try:
            with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as http:
                http.post(HOSTS["openai_chat"], json=doc, headers=headers, timeout=10.0)
        except httpx.HTTPError:
            pass

    threading.Thread(target=call, daemon=True).start()
    wait_for(lambda: len(provider.calls) > before, "the call in flight")


@pytest.mark.quick
def test_failing_finder(make_mesh: MakeMesh, provider: Provider) -> None:
    """A finder that fails refuses the call with 503 in the dialect's shape, and the next call is served."""
    mesh = make_mesh(local={"mesh.yaml": REDACTED}, options=BREAKS).start()
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "BOOM"}]}
    with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as http:
        answer = http.post(HOSTS["openai_chat"], json=body, headers={"authorization": f"Bearer {KEY}"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "redact.failed")
        assert provider.calls == []
        body["messages"] = [{"role": "user", "content": "hi"}]
        assert http.post(HOSTS["openai_chat"], json=body, headers={"authorization": f"Bearer {KEY}"}).status_code == 200
    row = mesh.exchange(answer.headers["x-mesh-id"])
    assert (row["refused_by"], row["forwarded"]) == ("redact", 0)


def test_rule_for_a_provider(make_mesh: MakeMesh, provider: Provider) -> None:
    """A rule for one provider holds at the gateway too, where nobody but the route knows who serves the call."""
    rule = "actions:\n  - {id: none-there, types: [EMAIL], provider: openai, action: refuse}\n"
    mesh = make_mesh(local={"pii.yaml": rule}).start()
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": ADDRESS}]}
    with mesh.way("gateway").client(httpx, [], asynchronous=False) as http:
        answer = http.post(f"{mesh.gateway}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "none-there")
    assert provider.calls == []


def test_observe(make_mesh: MakeMesh, provider: Provider) -> None:
    """Observed, the original leaves and comes back; what is stored is redacted all the same."""
    mesh = make_mesh(local={"mesh.yaml": f"mode: observe\n{REDACTED}"}).start()
    provider.script(Script(text=f"Dear {ADDRESS}, and eve@contoso-pharma.com"))
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"I am {ADDRESS}"}]}
    with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as http:
        answer = http.post(HOSTS["openai_chat"], json=body, headers={"authorization": f"Bearer {KEY}"})
    assert ADDRESS.encode() in provider.call().body and ADDRESS in answer.text
    number = answer.headers["x-mesh-id"]
    query = "select role, text from conversations where exchange = ?"
    texts = wait_for(lambda: len(rows := mesh.rows(query, number, database="content")) > 1 and rows, "texts")
    assert texts
    assert {row["role"]: row["text"] for row in texts} == {
        "user": "I am <EMAIL_1>", "assistant": "Dear <EMAIL_1>, and <EMAIL>",
    }  # fmt: skip
    (verdict,) = mesh.rows("select mode, action from verdicts where exchange = ?", number)
    assert verdict == {"mode": "observe", "action": "redact"}
    mesh.stop()
    assert not [path for path, text in written(mesh.folder) if ADDRESS.encode() in text]
