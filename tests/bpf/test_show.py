"""What a person types to see it, measure it, and get what it needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bpf import machine
from bpf.machine import ROOT, cgroup_root, sh

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def test_the_demo(kernel: None) -> None:
    """One command shows it, and leaves nothing."""
    before = machine.programs()
    done = sh(str(ROOT / "scripts" / "demo-transparent"))
    assert "demo provider" in done.stdout
    assert "transparent\n" in done.stdout
    assert "curl[" in done.stdout
    assert machine.programs() == before
    assert not list(cgroup_root().glob("mitmesh-run-*"))


def test_the_benchmark(kernel: None, tmp_path: Path) -> None:
    """It measures every case, and the kernel's own account agrees that what is not ours is cheap."""
    before = machine.programs()
    done = sh(
        str(ROOT / "scripts" / "bench-redirect"), "--quick", "--json", str(tmp_path / "figures.json"), check=False
    )
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {"no program", "bpf, port 443, not chosen", "bpf, redirected", "bpf, getsockopt"} <= set(figures["connects"])
    assert figures["programs"]["mitmesh_conn4, not ours"]["ns"] < 5000
    assert "target" in done.stdout
    assert machine.programs() == before


def test_setup_has_nothing_to_do(kernel: None) -> None:
    """Where these tests run, all of it is there."""
    assert "are there" in sh(str(ROOT / "scripts" / "setup-ebpf")).stderr
