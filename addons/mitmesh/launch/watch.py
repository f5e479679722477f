"""What the audit saw while a command ran."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mitmesh.exchange import id_at
from mitmesh.store.database import AUDIT, read_only
from mitmesh.store.rows import stamp

SETTLED = 1.0
"""Seconds after which the writer has written what there was (it gathers rows for 200 ms)."""


@dataclass
class Seen:
    """Filled in when the time is over."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unreachable: list[tuple[str, str]] = field(default_factory=list)
    tunnelled: list[str] = field(default_factory=list)


@contextmanager
def watched(folder: Path) -> Iterator[Seen]:
    """What came to the proxy within the block, from anybody."""
    seen, began, before = Seen(), datetime.now(UTC), _tunnels(folder)
    yield seen
    time.sleep(SETTLED)
    first = id_at(int(began.timestamp() * 1000))
    seen.calls = _rows(folder, "select * from exchanges where id >= ? order by id", first)
    for row in _rows(folder, "select distinct kind, host, detail from connections where started >= ?", stamp(began)):
        if row["kind"] == "certificate_rejected":
            seen.rejected.append(row["host"])
        elif row["kind"] == "refused":
            seen.refused.append((row["host"], row["detail"] or "by rule"))
        elif row["kind"] == "upstream_failed":
            seen.unreachable.append((row["host"], row["detail"] or "no answer"))
    seen.rejected = list(dict.fromkeys(seen.rejected))
    seen.tunnelled = sorted(host for host, count in _tunnels(folder).items() if count > before.get(host, 0))


def rejected_since(folder: Path, since: datetime) -> dict[str, int]:
    """Hosts whose certificate clients rejected, and how often."""
    query = "select host from connections where kind = 'certificate_rejected' and started >= ?"
    return dict(Counter(row["host"] for row in _rows(folder, query, stamp(since))))


def _tunnels(folder: Path) -> dict[str, int]:
    rows = _rows(folder, "select host, sum(connections) as n from tunnels group by host")
    return {row["host"]: row["n"] for row in rows}


def _rows(folder: Path, query: str, *values: str) -> list[dict[str, Any]]:
    try:
        with closing(read_only(folder / AUDIT)) as db:
            return list(db.query(query, values))
    except sqlite3.OperationalError:
        return []
