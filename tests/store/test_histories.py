"""What requests begin with is written once, shared, and goes with the last that uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from mitmesh.dialects.base import Kind, Part, Provenance, Text
from mitmesh.store import migrations
from mitmesh.store.content import ANSWER, REQUEST, Texts, write
from mitmesh.store.database import connect, migrate
from mitmesh.store.histories import LATEST, LOOK_BACK, forget
from mitmesh.store.keys import Hasher

HASHER = Hasher(b"k" * 32)


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[Connection]:
    with closing(connect(tmp_path / "content.db")) as conn:
        migrate(conn, migrations.content)
        yield conn


def request(exchange: str, *said: str, keep: bool = True) -> Texts:
    parts = tuple(Text(("m", n), Provenance.USER, words, n) for n, words in enumerate(said))
    return Texts(exchange, REQUEST, "now", parts, keep, 1)


def said(conn: Connection, exchange: str) -> list[str | None]:
    sql = "select text from conversations where exchange = ? order by direction desc, position"
    return [row[0] for row in conn.execute(sql, (exchange,))]


def count(conn: Connection, table: str) -> int:
    found: int = conn.execute(f"select count(*) from {table}").fetchone()[0]
    return found


def test_a_turn_costs_rows_for_what_is_new_in_it(conn: Connection) -> None:
    """However long the history is that an agent sends again: the rows of a turn are as many as its new messages."""
    turn = [f"message {n}" for n in range(200)]
    write(conn, [request("a", *turn)], HASHER)
    tables = ("own_messages", "exchange_histories", "histories", "history_messages", "messages")
    before = {table: count(conn, table) for table in tables}
    write(conn, [request("b", *turn, "answer", "another question")], HASHER)
    assert {table: count(conn, table) - before[table] for table in tables} == {
        "own_messages": 1, "exchange_histories": 1, "histories": 1, "history_messages": 2, "messages": 2,
    }  # fmt: skip
    write(conn, [request("c", *turn, "answer", "one more")], HASHER)
    assert count(conn, "histories") == before["histories"] + 1
    assert said(conn, "b") == [*turn, "answer", "another question"]
    assert said(conn, "c") == [*turn, "answer", "one more"]


def test_many_new_messages_in_a_turn(conn: Connection) -> None:
    """A history that is not found begins anew, and says the same."""
    turn = [f"message {n}" for n in range(30)]
    write(conn, [request("a", *turn)], HASHER)
    more = [f"result {n}" for n in range(LOOK_BACK + 5)]
    write(conn, [request("b", *turn, *more)], HASHER)
    assert said(conn, "b") == [*turn, *more]


def test_what_is_not_kept_is_no_text_that_is(conn: Connection) -> None:
    """Sizes and roles alone are another history than texts of these sizes, an empty text included."""
    for n, words in enumerate([("", "x"), ("None", "x"), ("text", "x")]):
        write(conn, [request(f"k{n}", *words), request(f"n{n}", *words, keep=False)], HASHER)
        assert said(conn, f"k{n}") == list(words)
        assert said(conn, f"n{n}") == [None, None]
    assert conn.execute("select chars from conversations where exchange = 'n2' order by position").fetchall() == [
        (4,), (1,),
    ]  # fmt: skip


def test_a_message_knows_who_uses_it(conn: Connection) -> None:
    """Said newly, or in the history of an exchange, of whose ancestors' exchanges none may be left."""
    write(conn, [request("a", "one", "two")], HASHER)
    write(
        conn,
        [request("b", "one", "two", "three", "four"), request("c", "one", "two", "three", "four", "5", "6")],
        HASHER,
    )

    def latest(words: str) -> str | None:
        return conn.execute(f"select {LATEST} from messages where text = ?", (words,)).fetchone()[0]

    assert [latest(each) for each in ("one", "two", "three", "6")] == ["c", "a", "c", "c"]
    forget_all(conn, "a", "b")
    assert [latest(each) for each in ("one", "two", "three", "6")] == ["c", "c", "c", "c"]


def forget_all(conn: Connection, *exchanges: str) -> set[int]:
    ids = json.dumps(exchanges)
    conn.execute("delete from own_messages where exchange in (select value from json_each(?))", (ids,))
    return forget(conn, ids)


WORDS = st.lists(st.sampled_from("abc"), min_size=1, max_size=5)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, min_size=1, max_size=8), st.data())
def test_what_goes_takes_nothing_from_others(conn: Connection, calls: list[list[str]], data: st.DataObject) -> None:
    """Whichever exchanges go, the others have all their messages, and no history stays that nobody uses."""
    for table in ("exchange_histories", "history_messages", "histories", "own_messages", "messages"):
        conn.execute(f"delete from {table}")
    batches = data.draw(st.integers(1, len(calls)))
    made = [request(f"x{n}", *words) for n, words in enumerate(calls)]
    for n in range(batches):
        write(conn, made[n::batches], HASHER)
    gone = data.draw(st.sets(st.integers(0, len(calls) - 1)))
    forget_all(conn, *(f"x{n}" for n in gone))
    for n, words in enumerate(calls):
        assert said(conn, f"x{n}") == ([] if n in gone else words)
    used = {row[0] for row in conn.execute("select message from exchange_messages")}
    assert {row[0] for row in conn.execute("select message from history_messages")} <= used
    if len(gone) == len(calls):
        assert count(conn, "histories") == count(conn, "history_messages") == 0


def test_an_older_file_keeps_its_messages(tmp_path: Path) -> None:
    """What was written before there were histories is shown as it was, with the tools called."""
    with closing(connect(tmp_path / "content.db")) as conn:
        migrations.content.apply(Database(conn), stop_before="004_own_messages")
        conn.execute("insert into messages (id, hash, role, text) values (7, 'h', 'user', 'old words')")
        conn.execute("insert into exchange_messages values ('o', 'request', 0, 'user', 9, 7, null)")
        conn.execute("insert into exchange_messages values ('o', 'answer', 0, 'tool_call', 2, null, 'ls')")
        migrate(conn, migrations.content)
        rows = conn.execute("select * from conversations order by direction desc").fetchall()
        assert rows == [
            ("o", "request", 0, "user", 9, "old words", None),
            ("o", "answer", 0, "tool_call", 2, None, "ls"),
        ]
        answer = Texts("o2", ANSWER, "now", (Part(Kind.TEXT, "new"),), True, 1)
        write(conn, [request("o2", "old words", "more"), answer], HASHER)
        assert said(conn, "o2") == ["old words", "more", "new"]
