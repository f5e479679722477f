"""Deleting what is too old or too much: a little at a time, in the writer's thread, between batches.

An exchange's id begins with its time, so its age is known in both files.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta

from mitmesh.exchange import id_at
from mitmesh.rules import Audit
from mitmesh.store import histories
from mitmesh.store.database import transaction
from mitmesh.store.rows import stamp

CHUNK = 200
"""Exchanges deleted in one step: some milliseconds."""

PAGES = 200
"""Pages moved in one step, of the full-text index or back to the file system."""

COMPACT_EVERY = timedelta(days=1)
"""FTS5 only marks deleted texts in its index; their words leave the file when it is compacted, which rewrites it."""

_LAST = "~"
"""Sorts after every id."""

_OLDEST_IN = "select * from (select distinct exchange from {} where exchange < :before order by exchange limit :most)"
_OLDEST_TEXTS = (
    f"{_OLDEST_IN.format('own_messages')} union {_OLDEST_IN.format('exchange_histories')} order by exchange limit :most"
)
_OLDEST_ROWS = "select id from exchanges where id < :before order by id limit :most"
_OLDEST_CONNECTIONS = "select id from connections where started < ? order by started limit ?"
_CHOSEN = "in (select value from json_each(?))"
_UNUSED = (
    f"id {_CHOSEN} and not exists (select 1 from own_messages where message = messages.id)"
    " and not exists (select 1 from history_messages where message = messages.id)"
)


def used(*conns: sqlite3.Connection) -> int:
    """Bytes that the files hold, free pages not counted."""

    def pragma(conn: sqlite3.Connection, name: str) -> int:
        return int(conn.execute(f"PRAGMA {name}").fetchone()[0])

    return sum((pragma(c, "page_count") - pragma(c, "freelist_count")) * pragma(c, "page_size") for c in conns)


class Retention:
    """Keeps the two files within the rules. Each `step` is short, so that rows do not wait."""

    def __init__(self, audit: sqlite3.Connection, content: sqlite3.Connection) -> None:
        self._audit = audit
        self._content = content
        self._stale = 0
        """Characters of deleted texts whose words are still in the index: about the bytes it will shrink by."""
        self._compacting = False
        self._compacted = datetime.min.replace(tzinfo=UTC)

    def step(self, rules: Audit, now: datetime) -> bool:
        """Do one step; True if there may be more to do at once. Raises sqlite3.Error."""
        if self._compacting:
            self._compacting = self._merge(PAGES)
            return True
        cutoff = now - timedelta(days=rules.keep_days)
        floor = id_at(int(cutoff.timestamp() * 1000))
        if self._forget_texts(floor) or self._forget_exchanges(floor) or self._forget_connections(cutoff):
            return True
        size = used(self._audit, self._content)
        if size - self._stale > rules.keep_bytes:
            return self._forget_texts(_LAST) or self._forget_exchanges(_LAST)
        if self._stale and (size > rules.keep_bytes or now - self._compacted >= COMPACT_EVERY):
            self._compact(now)
            return True
        return _shrink(self._audit) or _shrink(self._content)

    def _forget_texts(self, before: str) -> bool:
        """Delete the texts of the oldest exchanges, and every message that no exchange points at any more."""
        conn = self._content
        with transaction(conn):
            exchanges = _ids(conn, _OLDEST_TEXTS, before)
            if exchanges is None:
                return False
            sql = f"select distinct message from own_messages where exchange {_CHOSEN} and message is not null"
            messages = {row[0] for row in conn.execute(sql, (exchanges,))} | histories.forget(conn, exchanges)
            conn.execute(f"delete from own_messages where exchange {_CHOSEN}", (exchanges,))
            ids = json.dumps(list(messages))
            gone = conn.execute(f"select sum(length(text)) from messages where {_UNUSED}", (ids,)).fetchone()[0]
            conn.execute(f"delete from messages where {_UNUSED}", (ids,))
        self._stale += gone or 0
        return True

    def _forget_exchanges(self, before: str) -> bool:
        conn = self._audit
        with transaction(conn):
            ids = _ids(conn, _OLDEST_ROWS, before)
            if ids is None:
                return False
            conn.execute(f"delete from verdicts where exchange {_CHOSEN}", (ids,))
            conn.execute(f"delete from exchanges where id {_CHOSEN}", (ids,))
        return True

    def _forget_connections(self, cutoff: datetime) -> bool:
        conn, moment = self._audit, stamp(cutoff)
        with transaction(conn):
            gone = conn.execute(f"delete from connections where id in ({_OLDEST_CONNECTIONS})", (moment, CHUNK))
            conn.execute("delete from tunnels where day < ?", (moment[:10],))
        return gone.rowcount > 0

    def _compact(self, now: datetime) -> None:
        """Begin to merge the full-text index into one part without the deleted words (negative: all of it)."""
        self._stale, self._compacted = 0, now
        self._merge(-PAGES)
        self._compacting = True

    def _merge(self, pages: int) -> bool:
        """Merge some pages of the full-text index; False when nothing is left to merge (as FTS5's manual tells it)."""
        before = self._content.total_changes
        self._content.execute("insert into messages_fts (messages_fts, rank) values ('merge', ?)", (pages,))
        return self._content.total_changes - before >= 2


def _shrink(conn: sqlite3.Connection) -> bool:
    """Give freed pages back to the file system; True if there are more."""
    free = int(conn.execute("PRAGMA freelist_count").fetchone()[0])
    if free:
        conn.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
    return free > PAGES


def _ids(conn: sqlite3.Connection, sql: str, before: str) -> str | None:
    """The ids as a JSON list, or None where there are none."""
    ids = [row[0] for row in conn.execute(sql, {"before": before, "most": CHUNK})]
    return json.dumps(ids) if ids else None
