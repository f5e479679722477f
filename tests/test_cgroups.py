from __future__ import annotations

import os
from pathlib import Path

import pytest

from mitmesh.cgroups import Owner, Tree, owner_of

ID = "0123456789abcdef" * 4
UID = "1b2c3d4e-0000-1111-2222-333344445555"
POD = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"
SYSTEMD = "/kubepods.slice/kubepods-burstable.slice"


@pytest.mark.parametrize(
    ("path", "unit", "container", "pod"),
    [
        ("/", None, None, None),
        ("/mitmesh-run-12", None, None, None),
        ("/system.slice/nginx.service", "nginx.service", None, None),
        ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", None, None),
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", None, None),
        # whoever owns the subtree names what is in it: only the user's manager is believed
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/nginx.service", "user@1000.service", None, None),
        (f"/user.slice/user-1000.slice/user@1000.service/docker-{ID}.scope", "user@1000.service", None, None),
        (f"/user.slice/x/user@1000.service{SYSTEMD}/{POD}/crio-{ID}.scope", "user@1000.service", None, None),
        (f"/x{SYSTEMD}/{POD}", None, None, None),
        (f"/system.slice/docker-{ID}.scope", None, ID, None),
        (f"/docker/{ID}", None, ID, None),
        (f"/machine.slice/libpod-{ID}.scope/container", None, ID, None),
        (f"{SYSTEMD}/{POD}/cri-containerd-{ID}.scope", None, ID, UID),
        (f"{SYSTEMD}/{POD}/crio-{ID}.scope", None, ID, UID),
        (f"{SYSTEMD}/{POD}/docker-{ID}.scope", None, ID, UID),
        (f"/kubepods.slice/kubepods-pod{UID.replace('-', '_')}.slice/cri-containerd-{ID}.scope", None, ID, UID),
        (f"/kubepods/burstable/pod{UID}/{ID}", None, ID, UID),
        (f"/kubepods/pod{UID}/crio-{ID}", None, ID, UID),
        ("/kubepods/burstable/pod0123456789abcdef0123456789abcdef/x", None, None, "0123456789abcdef0123456789abcdef"),
    ],
)  # fmt: skip
def test_whose_a_cgroup_is(path: str, unit: str | None, container: str | None, pod: str | None) -> None:
    """Units, containers and pods are known by where the system put them, never by a name anyone could give."""
    assert owner_of(path) == Owner(path, unit, container, pod)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A tree with one service, and a process that says it is there."""
    (tmp_path / "cg" / "system.slice" / "a.service").mkdir(parents=True)
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "cgroup").write_text("3:cpu:/x\n0::/system.slice/a.service\n")
    return Tree(tmp_path / "cg", tmp_path / "proc")


def test_a_process_says_where_it_is(tree: Tree, tmp_path: Path) -> None:
    """What it says is believed when the folder has the kernel's id."""
    service = tmp_path / "cg" / "system.slice" / "a.service"
    assert tree.owner(service.stat().st_ino, 7) == Owner("/system.slice/a.service", "a.service")


def test_a_process_that_moved_or_ended_is_found_by_its_id(tree: Tree, tmp_path: Path) -> None:
    """Another pid, or another cgroup by now: the tree is searched; what is not there is nobody's."""
    other = tmp_path / "cg" / "b.service"
    other.mkdir()
    assert tree.owner(other.stat().st_ino, 7) == Owner("/b.service", "b.service")
    assert tree.owner((tmp_path / "cg" / "system.slice").stat().st_ino, 99) == Owner("/system.slice")
    assert tree.owner((tmp_path / "cg").stat().st_ino, 99) == Owner("/")
    assert tree.owner(1, 7) is None


def test_memory_is_bounded(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that were asked for long ago are forgotten."""
    monkeypatch.setattr(Tree, "MOST", 8)
    for cgroup in range(10, 40):
        tree.owner(cgroup, os.getpid())
    assert len(tree._known) == 8


def test_a_machine_without_cgroups(tmp_path: Path) -> None:
    """Nobody is known there."""
    assert Tree(None, tmp_path).owner(1, 1) is None
