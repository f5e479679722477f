"""Clients that were never told about a proxy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bpf.conftest import OPENAI4, OPENAI6, OTHER, Placed
from bpf.machine import Cgroup, sh, told
from e2e.mesh import Mesh
from e2e.replies import TEXT

pytestmark = [pytest.mark.slow]

CALL = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]})
CURL = ["curl", "-sS", "--max-time", "20", "-H", "content-type: application/json", "-d", CALL]


def call(cgroup: Cgroup, words: list[str], environ: dict[str, str], hosts: Path) -> subprocess.CompletedProcess[str]:
    return sh(*cgroup.inside(*told(hosts, words)), env=environ, check=False)


def test_curl(
    attached: Cgroup, mesh: Mesh, provider: Placed, environ: dict[str, str], hosts_file: Path
) -> None:
    """A call by curl is governed, and the audit says which process made it, whatever its headers say."""
    before = len(mesh.rows("select id from exchanges"))
    forged = ["-H", "X-Mesh-User: ada", "-H", "X-Mesh-Process: other"]
    done = call(attached, [*CURL, *forged, "https://api.openai.com/v1/chat/completions"], environ, hosts_file)
    assert TEXT in done.stdout, done.stderr + mesh.log()
    assert provider.call().target == "/v1/chat/completions"
    row = mesh.exchanges(before + 1)[-1]
    assert row["process"].startswith("curl[")
    assert row["process"].endswith(f"in /{attached.name}")
    assert row["user"] == "root"
