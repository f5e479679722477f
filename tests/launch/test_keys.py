from __future__ import annotations

from pathlib import Path

import pytest

from mitmesh.attest.keys import PREFIX, KeyFile
from mitmesh.launch.keys import main


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MITMESH_HOME", str(tmp_path))
    return tmp_path


def test_create_list_revoke(capsys: pytest.CaptureFixture[str]) -> None:
    """The key is on standard output alone, once; what else is said has its id."""
    main(["create", "--team", "red", "--models", "gpt-4o*", "--expires", "12h"])
    said = capsys.readouterr()
    assert said.out.startswith(PREFIX) and said.out.strip() not in said.err
    key_id = said.err.split()[0]
    main(["list"])
    shown = capsys.readouterr().out
    assert key_id in shown and "team red" in shown and "gpt-4o*" in shown and said.out.strip() not in shown
    main(["revoke", key_id])
    main(["list"])
    assert "revoked" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["--team", "--user", "--tier", "--note"])
def test_names_that_would_forge_a_line(name: str, folder: Path) -> None:
    """What is not printable is no name."""
    with pytest.raises(SystemExit, match=name):
        main(["create", name, "a\nb"])
    assert KeyFile(folder).all() == []
