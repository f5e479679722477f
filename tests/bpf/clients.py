"""Clients as programs of their own, which make one call to api.openai.com (or another name) and print the answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CALL = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]})
PATH = "/v1/chat/completions"

SDK = """
import sys, openai
client = openai.OpenAI(api_key="sk-test", base_url=sys.argv[1].removesuffix("/chat/completions"), max_retries=0)
messages = [{"role": "user", "content": "hello"}]
print(client.chat.completions.create(model="gpt-4o-mini", messages=messages).choices[0].message.content)
"""
NODE = """
const answer = await fetch(process.argv[1], {
  method: "POST", headers: {"content-type": "application/json"}, body: process.argv[2]});
console.log(await answer.text());
"""
# A socket of family AF_INET6 that connects to an IPv4-mapped address, as Java and some others do.
MAPPED = """
import http.client, socket, ssl, sys
from urllib.parse import urlsplit
url = urlsplit(sys.argv[1])
raw = socket.socket(socket.AF_INET6)
raw.connect(("::ffff:" + socket.gethostbyname(url.hostname), 443))
connection = http.client.HTTPConnection(url.hostname)
connection.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=url.hostname)
connection.request("POST", url.path, sys.argv[2], {"content-type": "application/json"})
print(connection.getresponse().read().decode())
"""
NAMES = ["curl", "openai", "node", "go", "mapped"]


def command(name: str, folder: Path, url: str) -> list[str]:
    """The client's command line; skips where the machine does not have it."""
    if name == "curl":
        return ["curl", "-sS", "--max-time", "20", "-H", "content-type: application/json", "-d", CALL, url]
    if name == "openai":
        return [sys.executable, "-c", SDK, url]
    if name == "mapped":
        return [sys.executable, "-c", MAPPED, url, CALL]
    if name == "node":
        if not shutil.which("node"):
            pytest.skip("needs node")
        return ["node", "--input-type=module", "-e", NODE, url, CALL]
    return [str(go(folder)), url, CALL]


def go(folder: Path) -> Path:
    """A static Go program, built once; skips without a compiler."""
    built = folder / "go-client"
    if not built.exists():
        if not shutil.which("go"):
            pytest.skip("needs go (Debian's golang-go)")
        environ = {**os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off", "GOCACHE": str(folder / "gocache")}
        source = Path(__file__).with_name("client.go")
        done = subprocess.run(
            ["go", "build", "-o", str(built), str(source)], env=environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    return built
