"""curl, as people type it."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from e2e.mesh import WAYS, Mesh
from e2e.provider import Provider, Script
from e2e.replies import COMPLETION, PROMPT, TEXT
from e2e.sdks import KEY, Way

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

BODY = '{ "model":"gpt-4o-mini",\n  "messages":[{"role":"user","content":"Hi \\u2600"}]%s }'


def curl(way: Way, path: str, *more: str, body: str) -> list[str]:
    """The command's words."""
    words = ["curl", "-sS", "-i", "-N", "--max-time", "20", "--cacert", str(way.trust), *more]
    words += ["--http2" if way.http2 else "--http1.1", "-H", f"Authorization: Bearer {KEY}"]
    words += ["-H", "Content-Type: application/json", "--data-binary", body]
    words += ["--proxy", way.proxy] if way.proxy else ["--noproxy", "*"]
    return [*words, (way.base or "https://api.openai.com") + path]


def parse(output: str) -> tuple[dict[str, str], str]:
    """Headers (of the last head) and body of `curl -i`."""
    head, _, body = output.partition("\n\n")
    while body.startswith("HTTP/"):
        head, _, body = body.partition("\n\n")
    lines = (line.partition(":") for line in head.splitlines()[1:])
    return {name.lower(): value.strip() for name, _, value in lines}, body


def test_json(way: Way, mesh: Mesh, provider: Provider) -> None:
    """A call by curl is answered, unchanged in both directions, and audited."""
    body = BODY % ""
    done = subprocess.run(curl(way, "/v1/chat/completions", body=body), capture_output=True, text=True, check=True)
    headers, answer = parse(done.stdout)
    assert json.loads(answer)["choices"][0]["message"]["content"] == TEXT
    assert headers["x-mesh-origin"] == "provider"
    assert provider.call().body == body.encode()
    row = mesh.exchange(headers["x-mesh-id"])
    assert (row["prompt_tokens"], row["completion_tokens"], row["tool"]) == (PROMPT, COMPLETION, "curl")


def test_large_upload(way: Way, mesh: Mesh, provider: Provider) -> None:
    """An upload for which curl waits for "100 Continue" passes."""
    body = BODY % (', "user":"' + "x" * 1_100_000 + '"')
    words = curl(way, "/v1/chat/completions", "-H", "Expect: 100-continue", body="@-")
    done = subprocess.run(words, input=body, capture_output=True, text=True, check=True)
    headers, answer = parse(done.stdout)
    assert json.loads(answer).get("object") == "chat.completion", answer
    assert provider.call().body == body.encode()
    assert mesh.exchange(headers["x-mesh-id"])["request_bytes"] == len(body)


@pytest.mark.parametrize("name", WAYS)
def test_stream(name: str, mesh: Mesh, provider: Provider) -> None:
    """curl -N prints an event while the provider still holds back the next one."""
    provider.script(Script(hold=3))
    words = curl(mesh.way(name), "/v1/chat/completions", body=BODY % ',"stream":true')
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().startswith("data: "):
            assert process.poll() is None
        assert provider.call().ended is None
        provider.release()
        assert process.stdout.read().endswith("data: [DONE]\n\n")
    assert process.returncode == 0
