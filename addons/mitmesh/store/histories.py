"""What an exchange's request begins with: its history, all messages but the last. Each is written once.

An agent sends its whole history again on every turn, with a little more; others ask one question after another behind
the same instructions. So exchanges point at their history, and a history names its `parent`, one that it begins with:
only what it adds to that is its own in `history_messages`. A turn costs rows for what is new in it, and still each
message knows who uses it. A parent stays as long as a child does.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mitmesh.store.database import Row, insert

if TYPE_CHECKING:
    from mitmesh.store.keys import Hasher

LOOK_BACK = 16
"""So many messages may be new in a turn for the history before it to be found; with more it has no parent."""

LATEST = """coalesce((select max(exchange) from own_messages where message = messages.id),
    (with recursive uses(history) as (
        select max(history) from history_messages where message = messages.id
        union all select (select max(id) from histories where parent = uses.history)
        from uses where uses.history is not null
    ) select max(exchange) from exchange_histories where history in (select history from uses)))"""
"""SQL, beside a row of `messages`: the last exchange that said it newly; else a late one that has it in its history,
along the newest histories."""

_FIND = "select json_group_object(hash, id) from histories where hash in (select value from json_each(?))"
_LISTED = "select messages from histories where id = ?"
_ADD = "insert into histories (hash, parent, messages) values (?, ?, ?)"
_OWN = "insert or ignore into history_messages (message, history) values (?, ?)"
_LINK = "insert or ignore into exchange_histories (exchange, history) values (?, ?)"
_CHOSEN = "in (select value from json_each(?))"
_UNUSED = (
    f"select id, parent from histories where id {_CHOSEN}"
    " and not exists (select 1 from exchange_histories where history = histories.id)"
    " and not exists (select 1 from histories as later where later.parent = histories.id)"
)


class Said(NamedTuple):
    """One message; of one that is not `kept`, size and role alone are written."""

    role: str
    text: str
    kept: bool


@dataclass(slots=True)
class History:
    """The history of an exchange, and the hashes of its last beginnings by their length; the longest is all of it.
    `known`: so many of its messages are there already, as a history."""

    exchange: str
    when: str
    said: list[Said]
    hashes: dict[int, str]
    known: int = 0

    @property
    def new(self) -> list[Said]:
        """The messages that are not there as one."""
        return self.said[self.known :]

    def find(self, ids: dict[str, int]) -> int | None:
        """Set `known` by the histories that are there; the id of the longest."""
        self.known = max((length for length, each in self.hashes.items() if each in ids), default=0)
        return ids[self.hashes[self.known]] if self.known else None


def history(exchange: str, when: str, said: list[Said], hasher: Hasher) -> History:
    """The history that says this, at least one message."""
    words = (f"{role} {len(text)} {text}" if kept else f"{role} {len(text)}" for role, text, kept in said)
    return History(exchange, when, said, hasher.beginnings(words, len(said) - LOOK_BACK))


def known(conn: sqlite3.Connection, histories: list[History]) -> dict[str, int]:
    """The ids of these histories and their beginnings by hash, as far as they are there. Asked in the transaction and
    not remembered between batches: another worker's retention may have deleted them."""
    if not histories:
        return {}
    wanted = json.dumps([each for one in histories for each in one.hashes.values()])
    ids: dict[str, int] = json.loads(conn.execute(_FIND, (wanted,)).fetchone()[0])
    for one in histories:
        one.find(ids)
    return ids


def link(conn: sqlite3.Connection, histories: list[History], ids: dict[str, int], messages: dict[Said, int]) -> None:
    """Point exchanges at their histories, and add those that are new, in a transaction that is open. `ids` are the
    known ones, `messages` the ids of all their new messages that are kept."""
    links: list[Row] = []
    for one in histories:
        found = one.find(ids)  # another one of this batch, perhaps
        if one.new:
            found = ids[one.hashes[len(one.said)]] = _add(conn, one, found, messages)
        links.append((one.exchange, found))
    insert(conn, _LINK, links)


def _add(conn: sqlite3.Connection, one: History, parent: int | None, messages: dict[Said, int]) -> int:
    added = [(each, messages[each] if each.kept else None) for each in one.new]
    listed = ",".join(f'["{each.role}",{len(each.text)},{message or "null"}]' for each, message in added)
    if parent is not None:
        before: str = conn.execute(_LISTED, (parent,)).fetchone()[0]
        listed = f"{before[1:-1]},{listed}"
    id = conn.execute(_ADD, (one.hashes[len(one.said)], parent, f"[{listed}]")).lastrowid
    assert id is not None
    conn.executemany(_OWN, [(message, id) for _, message in added if message is not None])
    return id


def forget(conn: sqlite3.Connection, exchanges: str) -> set[int]:
    """Delete the histories of these exchanges (ids as JSON) and of nobody else, in a transaction that is open; the
    messages that were in them."""
    histories = _list(conn, f"select distinct history from exchange_histories where exchange {_CHOSEN}", exchanges)
    conn.execute(f"delete from exchange_histories where exchange {_CHOSEN}", (exchanges,))
    messages: set[int] = set()
    while histories:  # from each that goes to its parent, which it may have been the last to use
        unused = conn.execute(_UNUSED, (json.dumps(histories),)).fetchall()
        ids = json.dumps([id for id, _ in unused])
        messages.update(_list(conn, f"select message from history_messages where history {_CHOSEN}", ids))
        conn.execute(f"delete from history_messages where history {_CHOSEN}", (ids,))
        conn.execute(f"delete from histories where id {_CHOSEN}", (ids,))
        histories = list({parent for _, parent in unused if parent is not None})
    return messages


def _list(conn: sqlite3.Connection, sql: str, ids: str) -> list[int]:
    return [row[0] for row in conn.execute(sql, (ids,))]
