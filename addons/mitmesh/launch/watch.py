"""What the audit saw of a command while it ran."""

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
from mitmesh.launch.relay import Relay
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
    others: int = 0
    """Calls that came meanwhile and are not the command's, or are not known to be."""


@contextmanager
def watched(folder: Path, through: Relay) -> Iterator[Seen]:
    """What came to the proxy within the block by this relay; from anybody, where that cannot be told apart."""
    seen, began, before = Seen(), datetime.now(UTC), _tunnels(folder)
    yield seen
    time.sleep(SETTLED)
    first = id_at(int(began.timestamp() * 1000))
    calls = _rows(folder, "select * from exchanges where id >= ? order by id", first)
    seen.calls = [call for call in calls if through.client in (None, call["client"])]
    seen.others = len(calls) - len(seen.calls)
    query = "select distinct kind, host, detail from connections where started >= ? and client = coalesce(?, client)"
    for row in _rows(folder, query, stamp(began), through.client):
        if row["kind"] == "certificate_rejected":
            seen.rejected.append(row["host"])
        elif row["kind"] == "refused":
            seen.refused.append((row["host"], row["detail"] or "by rule"))
        elif row["kind"] == "upstream_failed":
            seen.unreachable.append((row["host"], row["detail"] or "no answer"))
    seen.rejected = list(dict.fromkeys(seen.rejected))
    grown = {host for host, count in _tunnels(folder).items() if count > before.get(host, 0)}
    seen.tunnelled = sorted(grown & through.hosts)


def rejected_since(folder: Path, since: datetime) -> dict[str, int]:
    """Hosts whose certificate clients rejected, and how often."""
    query = "select host from connections where kind = 'certificate_rejected' and started >= ?"
    return dict(Counter(row["host"] for row in _rows(folder, query, stamp(since))))


def _tunnels(folder: Path) -> dict[str, int]:
    rows = _rows(folder, "select host, sum(connections) as n from tunnels group by host")
    return {row["host"]: row["n"] for row in rows}


def _rows(folder: Path, query: str, *values: str | None) -> list[dict[str, Any]]:
    try:
        with closing(read_only(folder / AUDIT)) as db:
            return list(db.query(query, values))
    except sqlite3.OperationalError:
        return []
