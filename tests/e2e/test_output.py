"""`output: mask | refuse` in the real process: what the caller did not send does not reach it; streams stay streams."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from e2e.conftest import MakeMesh
from e2e.mesh import Mesh
from e2e.provider import Provider, Script
from e2e.sdks import KEY, Kind, ask
from mitmesh.redaction.replace import MASK

MINE, OTHER = "maria.lopez@northwind-traders.com", "eve.stone@contoso-pharma.com"
URL = "https://api.openai.com/v1/chat/completions"
HEADERS = {"authorization": f"Bearer {KEY}"}


def made(make_mesh: MakeMesh, action: str) -> Mesh:
    """A mesh with that rule for output."""
    return make_mesh(local={"pii.yaml": f"output:\n  action: {action}\n  window: 60\n"}).start()


def body(**fields: Any) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"I am {MINE}"}], **fields}


def content(answer: httpx.Response) -> str:
    docs = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    return "".join(doc["choices"][0]["delta"].get("content") or "" for doc in docs if doc.get("choices"))


@pytest.mark.slow
def test_masked(make_mesh: MakeMesh, provider: Provider, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each SDK, streamed or not: values of others are masked, the caller's own come back, usage is metered."""
    if kind.operation == "embeddings":
        pytest.skip("an answer has no text")
    mesh = made(make_mesh, "mask")
    monkeypatch.setattr("e2e.sdks.QUESTION", f"I am {MINE}")
    for way, stream in (("forward-h2", True), ("forward-h1", False), ("gateway", True)):
        provider.script(Script(text=f"Dear <EMAIL_1>, ask {OTHER} or <EMAIL_2>."))
        got = ask(kind, mesh.way(way), stream=stream)
        assert got.text == f"Dear {MINE}, ask {MASK} or <EMAIL_2>."
        assert got.headers["x-mesh-origin"] == "provider"
        row = mesh.exchange(got.id)
        assert (row["outcome"], row["status"], row["prompt_tokens"]) == ("answered", 200, 25)
        verdicts = mesh.rows("select reason from verdicts where exchange = ? and rule_id = 'output'", got.id)
        assert [verdict["reason"] for verdict in verdicts] == ["EMAIL in the answer, not from the caller"]
    assert {seen.header("authorization") or seen.header("x-api-key") or seen.header("x-goog-api-key") for seen in
            provider.calls} <= {KEY, f"Bearer {KEY}"}  # fmt: skip
    assert not [name for seen in provider.calls for name, _ in seen.headers if name.lower().startswith("x-mesh")]
    assert not [seen for seen in provider.calls if MINE.encode() in seen.body]


@pytest.mark.slow
def test_refused(make_mesh: MakeMesh, provider: Provider) -> None:
    """A JSON answer is refused whole; a stream ends with the dialect's error before the value."""
    mesh = made(make_mesh, "refuse")
    with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as http:
        provider.script(Script(text=f"ask {OTHER}"))
        answer = http.post(URL, json=body(), headers=HEADERS)
        assert (answer.status_code, answer.json()["error"]["type"]) == (403, "personal_data")
        provider.script(Script(text="word " * 40 + OTHER))
        answer = http.post(URL, json=body(stream=True), headers=HEADERS)
        assert answer.status_code == 200
        assert content(answer).startswith("word word") and "eve.stone" not in answer.text
        assert "personal_data" in answer.text
        provider.script(Script(text=f"hi {MINE}"))
        assert http.post(URL, json=body(), headers=HEADERS).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(("action", "status", "code"), [("allow", 503, "engine.unwritable"), ("mask", 502, "output")])
def test_what_cannot_be_written_is_withheld(
    make_mesh: MakeMesh, provider: Provider, action: str, status: int, code: str
) -> None:
    """An answer that was changed (restored, masked) and cannot be written, for half of a surrogate pair beside the
    value, does not pass as it came."""
    mesh = make_mesh(local={"pii.yaml": f"output:\n  action: {action}\n"}).start()
    said = json.dumps({"role": "assistant", "content": f"Dear <EMAIL_1>, ask {OTHER} \ud83d"})
    whole = f'{{"id": "1", "model": "m", "choices": [{{"index": 0, "finish_reason": "stop", "message": {said}}}]}}'
    provider.script(Script(body=whole.encode()))
    with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as http:
        got = http.post(URL, json=body(), headers=HEADERS)
    assert (got.status_code, got.json()["error"]["code"]) == (status, code)
    assert OTHER not in got.text and mesh.exchange(got.headers["x-mesh-id"])["status"] == status


@pytest.mark.slow
def test_passes_on(make_mesh: MakeMesh, provider: Provider) -> None:
    """A provider's error, its headers, its pace and its death pass through."""
    mesh = made(make_mesh, "mask")
    with mesh.way("forward-h1").client(httpx, [], asynchronous=False) as http:
        limited = Script(
            status=429, body=b'{"error": {"message": "slow", "type": "t"}}', headers=(("retry-after", "7"),)
        )
        provider.script(limited)
        answer = http.post(URL, json=body(), headers=HEADERS)
        assert (answer.status_code, answer.headers["retry-after"], answer.json()["error"]["message"]) == (
            429,
            "7",
            "slow",
        )
        bad = json.dumps({"error": {"message": f"bad input: {OTHER}", "type": "t"}}).encode()
        provider.script(Script(status=400, body=bad))
        assert http.post(URL, json=body(), headers=HEADERS).json()["error"]["message"] == f"bad input: {MASK}"
        called = {"name": "mail", "arguments": json.dumps({"to": OTHER}).replace("@", "\\u0040")}
        message = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": called}]}
        said = {"id": "1", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        provider.script(Script(body=json.dumps(said).encode()))
        (call,) = http.post(URL, json=body(), headers=HEADERS).json()["choices"][0]["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"to": MASK}
        provider.script(Script(text="word " * 60, hold=50))
        with http.stream("POST", URL, json=body(stream=True), headers=HEADERS) as streamed:
            lines = streamed.iter_lines()
            assert next(lines).startswith("data: {")
            assert provider.call(4).ended is None
            provider.release()
            assert [line for line in lines if line][-1] == "data: [DONE]"
        provider.script(Script(refuse=True))
        assert http.post(URL, json=body(), headers=HEADERS).status_code == 502
        provider.script(Script(text="word " * 60, cut=40))
        with pytest.raises(httpx.RemoteProtocolError):
            http.post(URL, json=body(stream=True), headers=HEADERS)
