"""The data folder's key and the hashes made with it."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits import answered, exchange
from mitmesh.stages.commit import Commit
from mitmesh.store.errors import AuditError
from mitmesh.store.keys import KEY_FILE, Hasher, load_key, make_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_only_the_owner_can_read(tmp_path: Path) -> None:
    """Folders are 0700 and every file in them is 0600, SQLite's own beside the databases too."""
    data = tmp_path / "data"
    commit = Commit(data, redacting=False)
    await commit.start()
    commit.finish(answered(exchange()))
    files = [path for path in data.rglob("*") if path.is_file()]
    assert {"audit.db", "audit.db-wal", "content.db", KEY_FILE} <= {path.name for path in files}
    assert {mode(path) for path in files} == {0o600}
    assert {mode(data), mode(data / "workers")} == {0o700}
    await commit.stop()


def test_a_folder_that_exists_keeps_its_access(tmp_path: Path) -> None:
    """What an operator opened to a group stays open."""
    tmp_path.chmod(0o750)
    make_folder(tmp_path)
    assert mode(tmp_path) == 0o750


def test_all_who_come_at_once_get_one_key(tmp_path: Path) -> None:
    """Many starters at once agree on the key, and no draft is left behind."""
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_key(tmp_path), range(32)))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]


def test_a_damaged_key_is_an_error(tmp_path: Path) -> None:
    """A cut key file is not replaced: hashes would no longer match."""
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(AuditError, match="restore"):
        load_key(tmp_path)


@given(st.text(), st.text())
def test_a_hash_depends_on_key_purpose_and_text(one: str, other: str) -> None:
    """Same key, purpose and text give the same hash; a difference in any gives another."""
    hasher = Hasher(b"k" * 32)
    assert (hasher.hash(b"a", one) == hasher.hash(b"a", other)) == (one == other)
    assert hasher.hash(b"a", one) not in (hasher.hash(b"b", one), Hasher(b"j" * 32).hash(b"a", one))


@given(st.text(), st.text(), st.sampled_from(["user", "system"]), st.sampled_from(["user", "system"]))
def test_a_message_is_role_and_text(one: str, other: str, role: str, another: str) -> None:
    """The same words in another role are another message."""
    hasher = Hasher(b"k" * 32)
    same = (role, one) == (another, other)
    assert (hasher.message(role, one) == hasher.message(another, other)) == same


def test_beginnings_of_a_list() -> None:
    """A list's hash is that which it has as the beginning of a longer one, and no other list's."""
    hasher = Hasher(b"k" * 32)
    found = hasher.beginnings(["a", "b c", ""], 2)
    assert found == {2: hasher.beginnings(["a", "b c"], 2)[2], 3: hasher.beginnings(["a", "b c", ""], 0)[3]}
    others = (["a", "b c"], ["a", "b", "c"], ["a b", "c"], ["a", "b c", "\n"], ["a", "b c", "", ""])
    assert len({found[3], *(hasher.beginnings(words, 0)[len(words)] for words in others)}) == 6
