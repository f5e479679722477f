"""Names, roles, passwords and tokens."""

from __future__ import annotations

import json
from pathlib import Path

from mitmesh.browse.users import FILE, Kind, Role, Users


def test_the_first_password_is_told_once(tmp_path: Path) -> None:
    """It is made with the file, and neither it nor any other is written down."""
    users = Users(tmp_path)
    password = users.begin()
    assert password
    assert len(password) == 40
    assert Users(tmp_path).begin() is None
    assert password not in (tmp_path / FILE).read_text()
    key = Users(tmp_path).holder(password, Kind.PASSWORD, "auditor")
    assert key
    assert key.role is Role.AUDITOR


def test_a_new_password_ends_the_old(tmp_path: Path) -> None:
    """Each name has one password and one token; another role comes with the new one."""
    users = Users(tmp_path)
    old, token = users.add("ada", Role.AUDITOR, Kind.PASSWORD), users.add("ada", Role.AUDITOR, Kind.TOKEN)
    new = users.add("ada", Role.VIEWER, Kind.PASSWORD)
    assert users.holder(old, Kind.PASSWORD) is None
    found = users.holder(new, Kind.PASSWORD, "ada")
    assert found
    assert found.role is Role.VIEWER
    assert users.holder(token, Kind.TOKEN)
    assert users.holder(token, Kind.PASSWORD) is None
    assert token.startswith("mesh_")


def test_another_process_is_heard(tmp_path: Path) -> None:
    """What one process changes holds in another at once, and the secret stays."""
    one, other = Users(tmp_path), Users(tmp_path)
    password = one.add("ada", Role.VIEWER, Kind.PASSWORD)
    assert other.holder(password, Kind.PASSWORD)
    secret = other.secret
    assert one.remove("ada")
    assert not one.remove("ada")
    assert other.holder(password, Kind.PASSWORD) is None
    assert other.secret == secret == json.loads((tmp_path / FILE).read_text())["secret"]


def test_nothing_is_nobodys(tmp_path: Path) -> None:
    """An empty password, token or session names nobody."""
    users = Users(tmp_path)
    users.begin()
    assert users.holder("", Kind.PASSWORD) is None
    assert users.by_hash("") is None
