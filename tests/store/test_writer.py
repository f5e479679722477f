"""The writer's thread: what survives, what waits, what is refused when the disk does not play along."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from audits import answered, exchange, rows, rules, until
from mitmesh.stages.commit import Commit
from mitmesh.store import queries, writer
from mitmesh.store.database import AUDIT, connect
from mitmesh.store.errors import AuditError

STRESS = Path(__file__).with_name("stress.py")
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def running(data: Path, **audit: Any) -> AsyncIterator[Commit]:
    commit = Commit(data, redacting=False)
    commit.configure(rules(**audit))
    await commit.start()
    try:
        yield commit
    finally:
        await commit.writer.stop(2.0)


def stress(folder: Path, durability: str, count: int, out: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'addons'}:{ROOT / 'tests'}"}
    command = [sys.executable, str(STRESS), str(folder), durability, str(count)]
    return subprocess.Popen(command, stdout=out, text=True, env=env)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def failing(commit: Commit) -> None:
    """Make every write fail, as a read-only disk does."""
    commit.writer._files._audit.execute("PRAGMA query_only=ON")


async def mended(commit: Commit) -> None:
    commit.writer._files._audit.execute("PRAGMA query_only=OFF")


async def test_strict_survives_kill_9(tmp_path: Path) -> None:
    """Every call that might have left has its row although the process was killed; open ones become interrupted."""
    process = stress(tmp_path, "strict", 0)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline().strip() for _ in range(200)]
    process.kill()
    acknowledged += process.stdout.read().splitlines()
    process.wait()
    process.stdout.close()
    whole = {id for id in acknowledged if len(id) == 26}
    assert len(whole) >= 200
    assert whole <= {row["id"] for row in rows(tmp_path, "select id from exchanges")}
    assert rows(tmp_path, "select 1 from exchanges where outcome is null")
    async with running(tmp_path) as commit:
        assert commit.health()["interrupted"] >= 60
    assert not rows(tmp_path, "select 1 from exchanges where outcome is null")
    assert rows(tmp_path, "pragma integrity_check") == [{"integrity_check": "ok"}]


async def test_async_loses_at_most_200_ms_to_kill_9(tmp_path: Path) -> None:
    """What was opened more than 200 ms before the kill is in the file."""
    process = stress(tmp_path, "async", 0)
    assert process.stdout is not None
    old = [process.stdout.readline().strip() for _ in range(400)]
    seen = time.monotonic()
    while time.monotonic() - seen < 0.2:
        process.stdout.readline()
    process.kill()
    process.wait()
    process.stdout.close()
    assert set(old) <= {row["id"] for row in rows(tmp_path, "select id from exchanges")}


async def test_stop_loses_nothing(tmp_path: Path) -> None:
    """Whatever waits when the stop comes is written before it returns, texts too."""
    async with running(tmp_path) as commit:
        for n in range(2_000):
            commit.finish(answered(exchange(("user", f"question {n}"))))
    assert rows(tmp_path, "select count(*) as n from exchanges where outcome = 'answered'") == [{"n": 2_000}]
    assert rows(tmp_path, "select count(*) as n from messages") == [{"n": 2_001}]
    assert rows(tmp_path, "select count(*) as n from workers where ended is null") == [{"n": 0}]
    assert list((tmp_path / "workers").iterdir()) == []


async def test_two_processes_write_the_same_files(tmp_path: Path) -> None:
    """Rows of both are there, each message once, the turns of a shared session without gap or double."""
    both = [stress(tmp_path, durability, 240, subprocess.DEVNULL) for durability in ("async", "strict")]
    assert [process.wait(60) for process in both] == [0, 0]
    turns = [row["turn"] for row in rows(tmp_path, "select turn from exchanges order by turn")]
    assert turns == list(range(1, 481))
    assert len(rows(tmp_path, "select 1 from messages where role = 'user'")) == 240
    dangling = "select 1 from exchange_messages where message not in (select id from messages)"
    assert not rows(tmp_path, dangling)


async def test_orphans_of_a_living_process_stay_open(tmp_path: Path) -> None:
    """A second worker that starts does not close what the first still has open."""
    async with running(tmp_path) as first:
        await first.request(exchange())
        await until(lambda: first.health()["written"] == 1)
        async with running(tmp_path) as second:
            assert second.health()["interrupted"] == 0
        assert queries.recent(tmp_path)[0]["outcome"] is None


async def test_waiting_calls_share_a_commit(tmp_path: Path) -> None:
    """Many calls at once need few commits."""
    async with running(tmp_path, durability="strict") as commit:
        await asyncio.gather(*(commit.request(exchange()) for _ in range(200)))
        health = commit.health()
    assert health["written"] == 200 and health["batches"] <= 20


async def test_strict_refuses_calls_while_nothing_can_be_written(tmp_path: Path) -> None:
    """A call without a row is refused with 503, health says problem, and calls pass again when the disk does."""
    async with running(tmp_path, durability="strict") as commit:
        await failing(commit)
        refused = exchange()
        await commit.request(refused)
        assert refused.refusal is not None
        assert (refused.refusal.status, refused.refusal.type) == (503, "audit_unavailable")
        commit.finish(refused)
        assert "readonly" in commit.health()["problem"]
        await mended(commit)
        await until(lambda: "problem" not in commit.health())
        passed = exchange()
        await commit.request(passed)
        assert passed.refusal is None
        commit.finish(answered(passed))
    found = {row["id"]: row["refused_by"] for row in queries.recent(tmp_path)}
    assert found == {passed.id: None, refused.id: "commit"}


async def test_strict_refuses_when_the_queue_is_full(tmp_path: Path) -> None:
    """Beyond the queue's bound a strict call does not leave."""
    async with running(tmp_path, durability="strict", queue_rows=100) as commit:
        commit.writer.pending.limit = 0
        x = exchange()
        await commit.request(x)
        assert x.refusal is not None and "full" in x.refusal.reason


async def test_a_cancelled_call_harms_no_other(tmp_path: Path) -> None:
    """A strict call that is cancelled while it waits leaves the others their commit."""
    async with running(tmp_path, durability="strict") as commit:
        calls = [asyncio.create_task(commit.request(exchange())) for _ in range(10)]
        await asyncio.sleep(0)
        calls[0].cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(done[0], asyncio.CancelledError) and done[1:] == [None] * 9


async def test_async_keeps_a_bounded_queue_while_nothing_can_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls pass, rows wait up to the bound, the rest is counted and told once; what waited is written afterwards."""
    async with running(tmp_path, queue_rows=100) as commit:
        await failing(commit)
        for _ in range(150):
            x = exchange()
            await commit.request(x)
            assert x.refusal is None
            commit.finish(answered(x))
        await until(lambda: commit.health()["failures"] >= 2)
        health = commit.health()
        assert health["queued"] == 100 and health["dropped"] == 100  # the opening and the end of fifty
        assert "readonly" in health["warning"]
        await mended(commit)
        await until(lambda: commit.health()["queued"] == 0 and "warning" not in commit.health())
    assert len(queries.recent(tmp_path, 1000)) == 100
    assert len([record for record in caplog.records if "cannot be written" in record.message]) == 1


async def test_stop_gives_up_after_its_deadline(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A disk that never comes back does not keep the process; what is lost is counted and said."""
    commit = Commit(tmp_path, redacting=False)
    commit.configure(rules())
    await commit.start()
    await failing(commit)
    commit.finish(answered(exchange()))
    await commit.writer.stop(0.3)
    assert commit.counters()["lost"] == 1 and "1 rows could not be written" in caplog.text
    await mended(commit)
    await until(lambda: not commit.writer._thread.is_alive())


async def test_a_full_disk(tiny: Path) -> None:
    """On a disk that is really full strict refuses and async waits; with room again both go on."""
    async with running(tiny, durability="strict") as commit:
        await commit.request(exchange())
        with pytest.raises(OSError), (tiny / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        refused = []
        for _ in range(50):
            x = exchange(("user", "x" * 5000))
            await commit.request(x)
            refused.append(x.refusal is not None)
        assert refused[-1]
        commit.configure(rules(durability="async"))
        waiting = exchange()
        await commit.request(waiting)
        assert waiting.refusal is None
        (tiny / "ballast").unlink()
        await until(lambda: commit.health()["queued"] == 0)
        assert waiting.id in {row["id"] for row in queries.recent(tiny, 1000)}
    assert rows(tiny, "pragma integrity_check") == [{"integrity_check": "ok"}]


async def test_a_read_only_disk_keeps_the_proxy_from_starting(tiny: Path) -> None:
    """The error says which folder and why."""
    subprocess.run(["mount", "-o", "remount,ro", str(tiny)], check=True)
    with pytest.raises(AuditError, match=r"tiny.*Read-only"):
        await Commit(tiny, redacting=False).start()


@pytest.mark.parametrize("junk", [b"", b"this is no database" * 100])
async def test_a_file_that_is_no_database_is_not_overwritten(tmp_path: Path, junk: bytes) -> None:
    """An empty file is taken for a new one, anything else is an error."""
    (tmp_path / AUDIT).write_bytes(junk)
    commit = Commit(tmp_path, redacting=False)
    if junk:
        with pytest.raises(AuditError, match="not a database"):
            await commit.start()
        assert (tmp_path / AUDIT).read_bytes() == junk
    else:
        await commit.start()
        await commit.stop()


async def test_another_process_holding_the_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that goes away again costs nothing but time."""
    monkeypatch.setattr(writer, "BATCH_SECONDS", 0.01)
    async with running(tmp_path) as commit:
        other = connect(tmp_path / AUDIT)
        other.execute("BEGIN IMMEDIATE")
        commit.finish(answered(exchange()))
        await asyncio.sleep(0.3)
        assert commit.health()["written"] == 0
        other.execute("COMMIT")
        other.close()
        await until(lambda: commit.health()["written"] == 1)
        assert commit.health()["failures"] == 0


async def test_what_can_never_be_written_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is not the disk's loses its batch, counted, and the thread lives on."""

    def broken(*_: object, **__: object) -> None:
        raise sqlite3.IntegrityError("value")

    async with running(tmp_path) as commit:
        with monkeypatch.context() as patch:
            patch.setattr(commit.writer._files, "write_rows", broken)
            commit.finish(answered(exchange()))
            await until(lambda: commit.health()["lost"] == 1)
        commit.finish(answered(exchange()))
        await until(lambda: commit.health()["written"] == 1)
        assert not commit.writer.dead


async def test_what_is_cancelled_by_sigterm_is_not_lost(tmp_path: Path) -> None:
    """SIGTERM that is turned into stop() loses nothing (the engine's part is to call it)."""
    code = (
        "import asyncio, signal, sys\n"
        "from pathlib import Path\n"
        "from audits import answered, exchange, rules\n"
        "from mitmesh.stages.commit import Commit\n"
        "async def main():\n"
        "    done = asyncio.Event()\n"
        "    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)\n"
        "    commit = Commit(Path(sys.argv[1]), redacting=False)\n"
        "    commit.configure(rules())\n"
        "    await commit.start()\n"
        "    for n in range(500):\n"
        "        commit.finish(answered(exchange()))\n"
        "    print('ready', flush=True)\n"
        "    await done.wait()\n"
        "    await commit.stop()\n"
        "asyncio.run(main())\n"
    )
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'addons'}:{ROOT / 'tests'}"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert rows(tmp_path, "select count(*) as n from exchanges") == [{"n": 500}]
