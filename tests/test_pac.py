"""/proxy.pac decides as the rules do."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mitmesh import pac
from mitmesh.rules import Hosts, load
from mitmesh.scope import HostTable, decide

ROOT = Path(__file__).parents[1]
LOCAL = """
hosts:
  - {id: a, match: ["10.40.0.0/16:8000", "ollama", "[fd00::1]:80"], provider: p}
  - {id: b, match: ["login.b.example"], provider: p, action: tunnel}
  - {id: c, match: ["**.b.example", "x-*.c.example:8443"], provider: p}
  - {id: d, match: ["d.example"], provider: p, action: tunnel, when: {team: t}}
  - {id: e, match: ["e.example"], provider: p, status: blocked}
"""
IN_NET = """
function isInNet(host, net, mask) {
  var n = function (t) { return t.split(".").reduce(function (a, b) { return (a * 256 + Number(b)) >>> 0; }, 0); };
  return ((n(host) & n(mask)) >>> 0) === ((n(net) & n(mask)) >>> 0);
}
"""


def through(hosts: Hosts, urls: list[str]) -> list[str]:
    """What a browser's JavaScript makes of it."""
    ask = f"{json.dumps(urls)}.map(u => FindProxyForURL(u, new URL(u).hostname))"
    program = f"{pac.script(hosts, '127.0.0.1:8080')}{IN_NET}console.log(JSON.stringify({ask}))"
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=True)
    answers: list[str] = json.loads(done.stdout)
    return answers


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_it_decides_as_the_rules_do(tmp_path: Path) -> None:
    """Every LLM host goes through us, every other directly; ports, order and address ranges count."""
    (tmp_path / "hosts.yaml").write_text(LOCAL)
    ours = {
        "http://10.40.1.2:8000/": True,
        "http://10.40.1.2/": False,
        "http://10.41.1.2:8000/": False,
        "http://ollama:11434/": True,
        "https://login.b.example/": False,
        "https://b.example/x": True,
        "https://A.x.B.example:444/": True,
        "https://notb.example/": False,
        "https://x-1.c.example:8443/a?b=https://plain": True,
        "https://x-1.c.example/": False,
        "https://d.example/": True,
        "https://e.example/": True,
        "https://x.test/?b.example": False,
    }
    found = through(load(tmp_path).hosts, list(ours))
    assert dict(zip(ours, found, strict=True)) == {
        url: "PROXY 127.0.0.1:8080" if goes else "DIRECT" for url, goes in ours.items()
    }


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_the_shipped_rules() -> None:
    """As shipped: what is tunnelled or unknown goes directly, all else through us."""
    hosts = load(ROOT / "rules").hosts
    table, today = HostTable(hosts), datetime.now(UTC).date()
    names = [text.replace("**.", "a.b.").replace("*", "x") for rule in hosts.hosts for text in rule.match]
    names += ["openai.com", "github.com", "xapi.openai.com", "api.openai.com.evil.example"]
    found = through(hosts, [f"https://{name}/v1" for name in names])
    for name, said in zip(names, found, strict=True):
        scope = decide(table, name, 443, today=today)
        assert (said != "DIRECT") is (scope.kind != "tunnel"), name


def test_it_fails_closed() -> None:
    """No way past us is offered when we are not there."""
    text = pac.script(load(ROOT / "rules").hosts, "127.0.0.1:8080")
    assert '"PROXY 127.0.0.1:8080";' in text
