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


@pytest.mark.parametrize(
    ("given", "told"), [((), True), (("--tier", "gold"), True), (("--team", "red"), False), (("--user", "ada"), False)]
)
def test_a_key_that_names_nobody(given: tuple[str, ...], told: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever makes one is told what will not count it; it is made all the same, alone on standard output."""
    main(["create", *given])
    said = capsys.readouterr()
    assert ("names no team and no user" in said.err) is told and len(said.out.split()) == 1


@pytest.mark.parametrize("name", ["--team", "--user", "--tier", "--models", "--scopes", "--expires"])
@pytest.mark.parametrize("value", ["", " ", ",", " , "])
def test_a_value_that_is_empty(name: str, value: str, folder: Path) -> None:
    """A shell's variable that is not set makes no key for anybody or any model."""
    with pytest.raises(SystemExit, match=name):
        main(["create", "--team", "red", f"{name}={value}"])
    assert KeyFile(folder).all() == []


def test_a_list_with_gaps(folder: Path) -> None:
    """Spaces and commas too many are no names."""
    main(["create", "--team", "red", "--models", "gpt-4o*, o3,", "--scopes", "chat, embeddings"])
    (key,) = KeyFile(folder).all()
    assert (key.models, key.scopes) == (("gpt-4o*", "o3"), ("chat", "embeddings"))


@pytest.mark.parametrize("name", ["--team", "--user", "--tier", "--note"])
def test_names_that_would_forge_a_line(name: str, folder: Path) -> None:
    """What is not printable is no name."""
    with pytest.raises(SystemExit, match=name):
        main(["create", name, "a\nb"])
    assert KeyFile(folder).all() == []
