from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mitmesh.redaction.vault import LARGEST, Vault
from mitmesh.stages.redact import Redact
from mitmesh.store.errors import AuditError
from redactions import Finder

NAMES = {"EMAIL_1": "ann@example.com"}


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    vault = Vault(tmp_path / "data")
    await vault.start()
    yield vault
    await vault.stop()


async def reopened(vault: Vault) -> Vault:
    """The same file, as another process finds it."""
    await vault.stop()
    again = Vault(vault._data)
    again.days, again.rows = vault.days, vault.rows
    await again.start()
    return again


async def test_known_at_once_and_later(vault: Vault) -> None:
    """What was saved is known at once, and after a restart."""
    vault.save("k", ["r1", "conv"], NAMES)
    assert await vault.load("k", "r1") == NAMES
    again = await reopened(vault)
    assert (await again.load("k", "r1"), await again.load("k", "conv")) == (NAMES, NAMES)
    assert (await again.load("other", "r1"), await again.load("k", "r2")) == (None, None)
    await again.stop()


async def test_encrypted(vault: Vault) -> None:
    """Neither values nor names, callers nor conversations are in the files, which their owner alone may read."""
    vault.save("sk-caller-key", ["resp_12345"], NAMES)
    await vault.stop()
    for file in vault._data.iterdir():
        for secret in (b"ann@example", b"EMAIL", b"sk-caller", b"resp_12345"):
            assert secret not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0


async def test_expires(vault: Vault) -> None:
    """What is older than the rules allow is not known, and is deleted at the next start."""
    vault.days = -1
    vault.save("k", ["r1"], NAMES)
    again = await reopened(vault)
    assert await again.load("k", "r1") is None
    await again.stop()
    with sqlite3.connect(again._data / "vault.db") as conn:
        assert conn.execute("select count(*) from names").fetchone() == (0,)


async def test_limits(vault: Vault) -> None:
    """The oldest rows go beyond the limit, and what is too large is not kept."""
    vault.rows = 2
    for days, answer in enumerate(("r1", "r2", "r3"), 1):
        vault.days = days
        vault.save("k", [answer], NAMES)
    vault.save("k", ["big"], {"X_1": "x" * LARGEST})
    again = await reopened(vault)
    assert [await again.load("k", answer) is not None for answer in ("r1", "r2", "r3", "big")] == [
        False, True, True, False,
    ]  # fmt: skip
    await again.stop()


async def test_given_twice(vault: Vault) -> None:
    """A name that two calls gave at once, to different values, stands for neither."""
    vault.save("k", ["conv"], {"EMAIL_1": "a", "EMAIL_2": "b"})
    vault.save("k", ["conv"], {"EMAIL_1": "a", "EMAIL_2": "c", "EMAIL_3": "d"})
    again = await reopened(vault)
    assert await again.load("k", "conv") == {"EMAIL_1": "a", "EMAIL_2": None, "EMAIL_3": "d"}
    await again.stop()


async def test_another_key(vault: Vault) -> None:
    """An entry that was moved, or made with another key, is an error, not somebody's values."""
    vault.save("k", ["r1"], NAMES)
    vault.save("k", ["r2"], {"EMAIL_1": "b"})
    await vault.stop()
    with sqlite3.connect(vault._data / "vault.db") as conn:
        conn.execute("update names set sealed = (select sealed from names order by key limit 1)")
    again = Vault(vault._data)
    await again.start()
    failed = 0
    for answer in ("r1", "r2"):
        try:
            await again.load("k", answer)
        except sqlite3.DatabaseError:
            failed += 1
    assert failed == 1
    await again.stop()


async def test_damaged_key(tmp_path: Path) -> None:
    """A damaged key keeps the proxy from starting."""
    (tmp_path / "vault.key").write_bytes(os.urandom(5))
    with pytest.raises(AuditError):
        await Vault(tmp_path).start()


async def test_full_disk(vault: Vault) -> None:
    """What a full disk does not take is counted and forgotten, memory does not grow; with room again all is as ever."""
    (pages,) = vault._conn.execute("pragma page_count").fetchone()
    vault._conn.execute(f"pragma max_page_count={pages}")
    for turn in range(5):
        vault.save("k", [f"r{turn}"], {"X_1": "x" * 50_000})
    vault._thread.submit(lambda: None).result(10)
    assert (vault.failures, vault.unwritten, await vault.load("k", "r0")) == (5, 0, None)
    vault._conn.execute("pragma max_page_count=100000")
    vault.save("k", ["r9"], NAMES)
    again = await reopened(vault)
    assert await again.load("k", "r9") == NAMES
    await again.stop()


@pytest.mark.parametrize("name", ["vault.db", "vault.key", "hash.key"])
async def test_a_file_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    """The stage does not start without its keys and its vault, so no call is served."""
    (tmp_path / name).mkdir()
    stage = Redact(tmp_path, Finder())
    with pytest.raises((OSError, sqlite3.Error)):
        await stage.start()
    await stage.stop()


@pytest.mark.parametrize("damage", ["file", "key"])
async def test_set_aside(vault: Vault, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged file, and one that was made with another key, is set aside, and both the log and /health name it."""
    vault.save("k", ["r1"], NAMES)
    await vault.stop()
    file = vault._data / ("vault.db" if damage == "file" else "vault.key")
    file.write_bytes(b"garbage" * 1000 if damage == "file" else os.urandom(file.stat().st_size))
    again = Vault(vault._data)
    await again.start()
    assert await again.load("k", "r1") is None
    again.save("k", ["r1"], {"EMAIL_2": "bob@example.com"})
    assert await again.load("k", "r1") == {"EMAIL_2": "bob@example.com"}
    assert "vault.db" in again.warning and "vault.key" in again.warning and again.warning in caplog.text
    assert all(record.levelname == "WARNING" for record in caplog.records)  # an error at the start ends it
    assert (vault._data / "vault.db.damaged").exists()
    once_more = await reopened(again)
    assert not once_more.warning and await once_more.load("k", "r1") == {"EMAIL_2": "bob@example.com"}
    await once_more.stop()
