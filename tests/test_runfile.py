"""run.json of workers that share a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mitmesh import runfile
from mitmesh.runfile import NAME, RunFile

PLACES = {"proxy": "127.0.0.1:1", "control": "127.0.0.1:2"}
RULES = {"rules": "/etc/ours"}


@pytest.fixture
def other() -> int:
    """The id of a process that ran and is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(20)
    return process.pid


def worker(folder: Path, monkeypatch: pytest.MonkeyPatch, pid: int) -> RunFile:
    """A worker as this process would be under another id."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: pid)
        return RunFile(folder, PLACES, RULES)


def test_who_goes_takes_nothing_from_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of one that runs stays when another stops."""
    first, second = RunFile(tmp_path, PLACES, RULES), worker(tmp_path, monkeypatch, os.getppid())
    first.write()
    second.write()
    first.leave()
    assert runfile.read(tmp_path) == {"pid": os.getppid(), **RULES, **PLACES}


def test_the_settings_of_the_last_stay(tmp_path: Path) -> None:
    """And nothing that says it runs."""
    file = RunFile(tmp_path, PLACES, RULES)
    file.write()
    file.leave()
    assert runfile.read(tmp_path) == RULES
    assert not runfile.runs(runfile.read(tmp_path))


@pytest.mark.parametrize("before", ["left", "killed", "removed", "damaged", "runs"])
def test_who_runs_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: int, before: str) -> None:
    """Where the one that wrote it has ended, however."""
    former = worker(tmp_path, monkeypatch, os.getppid() if before == "runs" else other)
    former.write()
    if before == "left":
        former.leave()
    if before == "removed":
        (tmp_path / NAME).unlink()
    if before == "damaged":
        (tmp_path / NAME).write_text("{")
    RunFile(tmp_path, PLACES, RULES).keep()
    assert runfile.read(tmp_path)["pid"] == (os.getppid() if before == "runs" else os.getpid())
