from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mitmesh.pods import Pod, Pods, parse


def item(uid: str, name: str = "web", **spec: str) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "namespace": "prod", "name": name}, "spec": spec}


def write(path: Path, *items: Any) -> Path:
    path.write_text(json.dumps({"items": items}))
    path.chmod(0o644)
    return path


def test_pods_are_known_by_uid(tmp_path: Path) -> None:
    """With namespace, name and service account; a changed file is read again."""
    file = write(tmp_path / "pods.json", item("u1", serviceAccountName="sa"))
    pods = Pods(file)
    assert pods.get("u1") == Pod("prod", "web", "sa")
    assert pods.get("u2") is None
    write(file, item("u2", "api"))
    assert pods.get("u2") == Pod("prod", "api")
    file.unlink()
    assert pods.get("u2") == Pod("prod", "api")


@pytest.mark.parametrize("text", ["", "[]", '{"items": 3}', "{", "[" * 100_000])
def test_a_bad_file_changes_nothing(text: str, tmp_path: Path) -> None:
    """What was known stays."""
    file = write(tmp_path / "pods.json", item("u1"))
    pods = Pods(file)
    assert pods.get("u1")
    file.write_text(text)
    assert pods.get("u1")


def test_a_file_that_others_can_write_is_not_believed(tmp_path: Path) -> None:
    """They could give their processes any name."""
    file = write(tmp_path / "pods.json", item("u1"))
    file.chmod(0o666)
    assert Pods(file).get("u1") is None
    if os.geteuid() == 0:
        file.chmod(0o644)
        os.chown(file, 65534, 65534)
        assert Pods(file).get("u1") is None


def test_no_file(tmp_path: Path) -> None:
    """Nothing is known."""
    assert Pods(None).get("u") is None
    assert Pods(tmp_path / "none").get("u") is None


def test_items_of_another_shape_are_passed_over() -> None:
    """They are no pods."""
    assert parse(json.dumps({"items": [3, {}, {"metadata": 1}, item("u")]}).encode()) == {"u": Pod("prod", "web")}
