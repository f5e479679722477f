"""Retention by age and by size."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from audits import answered, exchange, rows, rules, until
from mitmesh.exchange import Action, Connection, ConnectionKind, Exchange, id_at
from mitmesh.stages.commit import Commit
from mitmesh.store import queries

NOW = datetime.now(UTC)


def aged(days: float, words: str, n: int = 0) -> Exchange:
    """An exchange of some days ago."""
    when = NOW - timedelta(days=days)
    return exchange(("system", "be kind"), ("user", words), started=when, id=id_at(int(when.timestamp() * 1000), n))


async def fill(data: Path, *calls: Exchange) -> None:
    """Record these exchanges, and one connection and one tunnel of the age of each, with no retention."""
    commit = Commit(data, redacting=False)
    commit.configure(rules(keep_days=10_000))
    await commit.start()
    for x in calls:
        x.decide("guard", Action.WARN, "rule", "reason")
        commit.finish(answered(x, f"answer to {x.call.texts[1].text}"))
        for kind in (ConnectionKind.DECRYPTED, ConnectionKind.TUNNELLED):
            commit.connection(Connection(kind, "10.0.0.1", "host", 443, when=x.started))
    await commit.stop()


async def retain(data: Path, **audit: int) -> None:
    """Let a writer with these rules run until there is nothing more to delete."""
    commit = Commit(data, redacting=False)
    commit.configure(rules(**audit))
    await commit.start()
    await until(lambda: commit.writer._retention_due > 0, 30)
    assert commit.health()["failures"] == 0
    await commit.stop()


async def test_what_is_too_old_goes(tmp_path: Path) -> None:
    """Exchanges, verdicts, connections, tunnels, texts and their index go by age; what is younger stays."""
    old = [aged(40, f"ancient {n}", n) for n in range(450)]
    await fill(tmp_path, *old, aged(1, "recent words"))
    await retain(tmp_path, keep_days=30)
    assert len(rows(tmp_path, "select 1 from exchanges")) == 1
    assert len(rows(tmp_path, "select 1 from verdicts")) == 1
    assert len(queries.connections(tmp_path, 1000)) == len(queries.tunnels(tmp_path)) == 1
    assert [row["text"] for row in rows(tmp_path, "select text from messages order by id")] == [
        "be kind", "recent words", "answer to recent words",
    ]  # fmt: skip
    assert queries.search(tmp_path, "ancient") == []
    assert [hit["text"] for hit in queries.search(tmp_path, "recent")] == ["recent words", "answer to recent words"]


async def test_erased_text_is_gone_from_the_file(tmp_path: Path) -> None:
    """No byte of a deleted text is left behind, in the index neither."""
    await fill(tmp_path, aged(40, "zanzibarsecret"), *(aged(1, f"words{n} " * 50, n) for n in range(300)))
    for n in range(6):  # each a part of the index of its own
        await fill(tmp_path, aged(1, f"recent {n}", 1000 + n))
    assert b"zanzibarsecret" in (tmp_path / "content.db").read_bytes()
    await retain(tmp_path, keep_days=30)
    for file in tmp_path.glob("content.db*"):
        assert b"zanzibarsecret" not in file.read_bytes(), file.name


async def test_what_is_too_much_goes_oldest_texts_first(tmp_path: Path) -> None:
    """Over the size, the oldest texts are deleted until the files fit; rows stay as long as texts can go."""
    calls = [aged(5 - n / 1000, f"{n:05d} " + " ".join(f"w{n}x{i}" for i in range(200)), n) for n in range(1500)]
    await fill(tmp_path, *calls)
    size = sum((tmp_path / name).stat().st_size for name in ("audit.db", "content.db"))
    assert size > 6_000_000
    await retain(tmp_path, keep_bytes=4_000_000)
    left = sum((tmp_path / name).stat().st_size for name in ("audit.db", "content.db"))
    assert left <= 4_200_000
    assert len(rows(tmp_path, "select 1 from exchanges")) == 1500
    kept = {row["exchange"] for row in rows(tmp_path, "select distinct exchange from exchange_messages")}
    assert 0 < len(kept) < 1500 and kept == {x.id for x in calls[-len(kept) :]}
    dangling = "select 1 from exchange_messages where message not in (select id from messages)"
    assert not rows(tmp_path, dangling)


async def test_rows_are_written_between_the_steps(tmp_path: Path) -> None:
    """While much has to be deleted, new calls still get their rows soon."""
    await fill(tmp_path, *(aged(40, f"ancient {n}", n) for n in range(2000)))
    commit = Commit(tmp_path, redacting=False)
    commit.configure(rules(keep_days=30, durability="strict"))
    await commit.start()
    async with asyncio.timeout(2):
        for _ in range(20):
            await commit.request(exchange())
    await commit.stop()
