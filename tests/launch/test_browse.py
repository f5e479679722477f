"""scripts/browse: who may log in, changed with care."""

from __future__ import annotations

from pathlib import Path

import pytest

from mitmesh.browse.users import Role, Users
from mitmesh.launch import browse


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MITMESH_HOME", str(tmp_path))
    Users(tmp_path).begin()
    return tmp_path


def test_an_auditor_stays_one_unless_that_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new password does not take a role away; with --auditor it is an auditor's, after --remove anybody's."""
    with pytest.raises(SystemExit, match="auditor is an auditor: say --auditor"):
        browse.main(["--user", "auditor"])
    assert [key.role for key in Users(folder).all()] == [Role.AUDITOR]
    browse.main(["--user", "auditor", "--auditor"])
    assert capsys.readouterr().out.startswith("auditor auditor, password ")
    browse.main(["--remove", "auditor"])
    browse.main(["--user", "auditor"])
    assert [key.role for key in Users(folder).all()] == [Role.VIEWER]


@pytest.mark.parametrize("option", ["--user", "--token"])
@pytest.mark.parametrize("name", ["", " ", "a\x1b[2Jb", "a\nb", "x" * 65])
def test_a_name_is_one(folder: Path, option: str, name: str) -> None:
    """Nothing that cannot be seen, and nothing empty, which would start a server."""
    with pytest.raises(SystemExit, match="a name has 1 to 64"):
        browse.main([option, name])
    assert len(Users(folder).all()) == 1


def test_one_thing_at_a_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second option is not dropped in silence."""
    with pytest.raises(SystemExit) as ended:
        browse.main(["--user", "a", "--token", "b"])
    assert ended.value.code == 2
    assert "not allowed with" in capsys.readouterr().err
    browse.main(["--remove", "no\x1bbody"])
    assert capsys.readouterr().out == "no?body was not there\n"
