"""scripts/bench as a whole."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import parser
from bench.runner import CONNECTIONS, SIZES

ROOT = Path(__file__).parents[2]


def test_help_lists_every_option() -> None:
    """scripts/bench's own text and the parser's options are the same set."""
    text = (ROOT / "scripts" / "bench").read_text()
    for action in parser()._actions:
        assert all(option in text for option in action.option_strings), action.option_strings


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_it_runs_and_reports_every_figure(tmp_path: Path) -> None:
    """No call fails, and the JSON holds each figure; how good they are is not asked here."""
    out = tmp_path / "bench.json"
    command = [sys.executable, "-m", "bench", "--quick", "--json", str(out)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'addons'}{os.pathsep}{ROOT / 'tests'}"}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    assert [(row["size"], row["connections"]) for row in found["calls"]] == [(s, c) for s in SIZES for c in CONNECTIONS]
    for row in found["calls"]:
        for system in ("bare", "suite"):
            assert set(row[system]) == {"rps", "p50_ms", "p99_ms", "cpu_us"}
            assert row[system]["rps"] > 0
    assert found["first_token"].keys() == {"bare_ms", "suite_ms"}
    assert found["event_cpu_us"].keys() == {"bare", "suite", "suite_editing"}
    assert all(len(memory["steps"]) == 11 for memory in found["memory_mb"].values())
    assert len(found["targets"]) == 19
    assert all(line in ran.stdout for line in ("requests/s", "first token", "memory growth", "reached"))
