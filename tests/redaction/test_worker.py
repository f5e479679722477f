from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mitmesh.redaction import frames, search, worker
from mitmesh.redaction.findings import Finding

MARKED = "marked-value-4711"


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[str], list[Finding]]], Any]:
    """What the worker answers for one text, with this search."""

    def ask(text: str, find: Callable[[str], list[Finding]]) -> Any:
        monkeypatch.setattr(search, "find_now", find)
        return worker._search([text])

    return ask


def test_an_answer_is_plain(serve: Callable[..., Any]) -> None:
    """Findings leave as rows of JSON."""
    answer = serve("text", lambda text: [Finding(0, 4, "EMAIL", "email", 1.0)])
    assert json.loads(json.dumps(answer)) == {"found": [[[0, 4, "EMAIL", "email", 1.0]]]}


def test_an_error_never_quotes_the_text(serve: Callable[..., Any]) -> None:
    """Presidio's exceptions do: what leaves is the class and the place."""

    def fails(text: str) -> list[Finding]:
        raise ValueError(f"Did not find word {text!r}")

    answer = serve(MARKED, fails)
    assert MARKED not in json.dumps(answer)
    assert answer["failed"].startswith("ValueError at test_worker.py:")


def test_rules_that_cannot_be_used_are_said() -> None:
    """A worker that cannot start says why; a missing model in its own words."""
    assert "ValidationError" in worker._prepare({"pii": '{"nonsense": 1}'})["failed"]
    missing = {"pii": '{"models": [{"id": "names", "kind": "spacy", "name": "no_such"}]}'}
    assert worker._prepare(missing)["failed"].startswith("models: names:")


@pytest.mark.slow
def test_a_real_worker(tmp_path: Path) -> None:
    """It keeps what libraries print out of its answers, ends with its input, and its alarm ends a search that hangs."""
    environment = {"PYTHONPATH": str(Path(worker.__file__).parents[2]), "PATH": os.environ["PATH"]}
    endless = '{"patterns": [{"id": "x", "regex": "(?:a|aa)+\\\\bq"}]}'

    def run(*texts: str) -> subprocess.CompletedProcess[bytes]:
        sent = [{"pii": endless, "seconds": 1}, *({"texts": [text]} for text in texts)]
        command = [sys.executable, "-P", "-m", "mitmesh.redaction.worker"]
        return subprocess.run(
            command, input=b"".join(map(frames.encode, sent)), capture_output=True, env=environment, timeout=60
        )

    done = run(f"bob@example.com {MARKED}")
    assert done.returncode == 0 and done.stdout.count(b"EMAIL") == 1
    assert MARKED.encode() not in done.stdout + done.stderr
    hung = run("a" * 200)
    assert hung.returncode < 0 and b"found" not in hung.stdout
