"""mitmweb with the whole suite: what its flow list and its content view show of a call."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.mesh import ROOT
from e2e.provider import wait_for
from mitmesh.launch import ports

MITMWEB = "import sys; from mitmproxy.tools.main import mitmweb; sys.exit(mitmweb())"
CALL = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Say ouch"}],
}


class Web:
    """A running mitmweb in demo mode."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, ports.free()
        shutil.copytree(ROOT / "rules", folder / "rules")
        settings = {
            "server": "false", "confdir": folder / "ca", "mesh_rules": folder / "rules", "mesh_data": folder,
            "mesh_listen": "127.0.0.1:0", "mesh_gateway": "127.0.0.1:0", "mesh_control": "127.0.0.1:0",
            "mesh_demo": "true", "web_open_browser": "false", "web_port": self.port, "web_password": "letmein",
        }  # fmt: skip
        sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
        command = [sys.executable, "-c", MITMWEB, "-s", str(ROOT / "addons" / "stack.py"), *sets]
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HOME": str(folder)})
        self.run = wait_for(self._running, "run.json", 60)
        self.open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def _running(self) -> Any:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        file = self.folder / "run.json"
        return json.loads(file.read_text()) if file.exists() else None

    def call(self, path: str, body: dict[str, Any]) -> None:
        headers = {"content-type": "application/json"}
        url = f"http://{self.run['gateway']}{path}"
        try:
            self.open(urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=30).read()
        except urllib.error.HTTPError as error:
            error.read()

    def web(self, path: str) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"authorization": "Bearer letmein"}
        )
        return json.loads(self.open(request, timeout=30).read())


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    made = Web(tmp_path)
    yield made
    made.process.kill()
    made.process.wait(20)


@pytest.mark.slow
def test_the_flow_list(web: Web) -> None:
    """Cost and verdict are the comment, a refusal is marked, and the view is a conversation with its answer."""
    web.call("/v1/chat/completions", CALL)
    web.call("/v1/chat/completions", {**CALL, "stream": True})
    web.call("/v1/nothing", {})
    flows = wait_for(
        lambda: len(found := web.web("/flows")) == 3 and all(f["comment"] for f in found) and found, "flows"
    )
    plain, streamed, refused = flows
    for flow in (plain, streamed):
        assert "tokens" in flow["comment"] and "$0.0000" in flow["comment"] and "ms ours" in flow["comment"]
        assert flow["marked"] == ""
        view = web.web(f"/flows/{flow['id']}/request/content/Auto.json")
        assert view["view_name"] == "LLM conversation"
        assert "── system ──\nBe kind." in view["text"]
        assert "── user ──\nSay ouch" in view["text"]
    assert "── assistant ──" in view["text"]
    view = web.web(f"/flows/{streamed['id']}/response/content/Auto.json")
    assert "── assistant ──\nThis is mitmesh's demo provider" in view["text"]
    view = web.web(f"/flows/{plain['id']}/response/content/Auto.json")
    assert "── assistant ──\nThis is mitmesh's demo provider" in view["text"]
    assert refused["comment"].startswith("refused by scope: engine.no_route")
    assert refused["marked"] == "🔴"
