"""/live and scripts/tail on a running mitmesh, while a call streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.request
from typing import Any

import httpx

from e2e.mesh import ROOT, Mesh
from e2e.provider import Provider, Script, wait_for
from e2e.sdks import KEY, QUESTION

BODY = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json", "session_id": "live-session"}
TAIL = "import sys; sys.path.insert(0, sys.argv.pop(1)); from mitmesh.launch.tail import main; main()"


class Watching:
    """Reads /live/events in a thread."""

    def __init__(self, mesh: Mesh) -> None:
        self.told: list[tuple[str, Any]] = []
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._answer = opener.open(f"http://{mesh.run['control']}/live/events", timeout=30)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        name = ""
        for line in self._answer:
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                self.told.append((name, json.loads(value)))

    def session(self, running: int) -> dict[str, Any] | None:
        """Our session in the last list of them, if it has so many running calls."""
        rows = next((data for name, data in reversed(self.told) if name == "sessions"), [])
        return next((r for r in rows if r["session"] == "live-session" and r["running"] == running), None)


def test_a_call_as_it_streams(mesh: Mesh, provider: Provider) -> None:
    """A session is there with tokens and cost while its answer is still held back; its end is an event in page and
    terminal, and nothing of what was said is in either."""
    environ = {**os.environ, "MITMESH_HOME": str(mesh.data)}
    command = [sys.executable, "-c", TAIL, str(ROOT / "addons"), "--json"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as tail:
        try:
            watching = Watching(mesh)
            provider.script(Script(hold=4))
            url = f"{mesh.gateway}/v1/chat/completions"
            with httpx.stream("POST", url, json=BODY, headers=HEADERS, trust_env=False, timeout=30) as answer:
                running = wait_for(lambda: watching.session(1), "the running session")
                assert running["prompt"] > 0
                assert running["cost_microusd"] > 0
                provider.release()
                answer.read()
            id = answer.headers["x-mesh-id"]
            ended = wait_for(
                lambda: [d for name, d in watching.told if name == "llm_call" and d["id"] == id], "the end"
            )
            assert ended[0]["outcome"] == "answered"
            assert wait_for(lambda: watching.session(0), "the ended session")["calls"] >= 1
            row = mesh.exchange(id)
            assert (ended[0]["prompt"], ended[0]["cost_microusd"]) == (row["prompt_tokens"], row["cost_microusd"])
            assert tail.stdout
            assert any(json.loads(line)["id"] == id for line in tail.stdout)
            assert QUESTION not in json.dumps(watching.told)
            assert KEY not in json.dumps(watching.told)
        finally:
            tail.terminate()
