"""Texts as messages, each stored once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mitmesh.dialects.base import Kind, Part, Provenance, Text
from mitmesh.store import migrations
from mitmesh.store.content import ANSWER, REQUEST, Texts, messages, write
from mitmesh.store.database import connect, migrate
from mitmesh.store.keys import Hasher

HASHER = Hasher(b"k" * 32)
ROLES = st.sampled_from([Provenance.USER, Provenance.SYSTEM])


@pytest.fixture
def conn(tmp_path: Path) -> Iterator[Connection]:
    with closing(connect(tmp_path / "content.db")) as conn:
        migrate(conn, migrations.content)
        yield conn


def request(exchange: str, *texts: tuple[int, Provenance, str]) -> Texts:
    parts = tuple(Text(("m", n), role, words, message) for n, (message, role, words) in enumerate(texts))
    return Texts(exchange, REQUEST, "now", parts, True, 1)


def test_the_texts_of_one_message_and_role_are_one() -> None:
    """Parts of a message are its lines; another message or role begins a new one, in conversation order."""
    user, tool = Provenance.USER, Provenance.TOOL_RESULT
    found = messages(
        request("a", (0, Provenance.SYSTEM, "s"), (1, user, "x"), (1, user, "y"), (1, tool, "t"), (2, user, "z"))
    )
    assert found == [("system", "s"), ("user", "x\ny"), ("tool_result", "t"), ("user", "z")]


def test_what_is_stored_in_place_of_a_text_is_found_by_its_path() -> None:
    """Only the text at the path is replaced."""
    texts = request("a", (0, Provenance.USER, "Ann"), (1, Provenance.USER, "Ann"))
    replaced = Texts("a", REQUEST, "now", texts.parts, True, 1, {("m", 1): "<PERSON_1>"})
    assert messages(replaced) == [("user", "Ann"), ("user", "<PERSON_1>")]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(st.tuples(ROLES, st.text(st.characters(exclude_categories=["Cs"]), max_size=5)), max_size=6),
        max_size=6,
    )
)
def test_every_exchange_gives_its_texts_back_and_none_is_stored_twice(
    conn: Connection, batch: list[list[tuple[Provenance, str]]]
) -> None:
    """Whatever is repeated, each exchange lists its own texts in order and each text is there once."""
    for table in ("exchange_histories", "history_messages", "histories", "own_messages", "messages"):
        conn.execute(f"delete from {table}")
    given_ = [request(f"x{n}", *((i, *text) for i, text in enumerate(texts))) for n, texts in enumerate(batch)]
    half = len(given_) // 2
    write(conn, given_[:half], HASHER)
    write(conn, given_[half:] + given_[:half], HASHER)  # as after a commit whose success was not seen
    for n, texts in enumerate(batch):
        sql = "select role, text from conversations where exchange = ? order by position"
        assert conn.execute(sql, (f"x{n}",)).fetchall() == [(role.value, text) for role, text in texts]
    stored = conn.execute("select role, text from messages").fetchall()
    assert sorted(stored) == sorted({(role.value, text) for texts in batch for role, text in texts})


def test_texts_of_a_failed_batch_leave_nothing_behind(conn: Connection) -> None:
    """A batch is written whole or not at all."""
    conn.execute("create trigger fail before insert on own_messages begin select raise(abort, 'no'); end")
    with pytest.raises(Exception, match="no"):
        write(conn, [request("a", (0, Provenance.USER, "text"))], HASHER)
    assert conn.execute("select count(*) from messages").fetchone() == (0,)
    assert not conn.in_transaction


def test_the_tool_that_was_called_stands_beside_its_text(conn: Connection) -> None:
    """Its name is a column where the text is kept, as that is stored (redacted); nowhere else."""
    parts = (
        Part(Kind.OPAQUE),
        Part(Kind.TEXT, "Let me look."),
        Part(Kind.TOOL_CALL, '{"command": "ls"}', "Bash", "c1"),
        Part(Kind.TOOL_CALL, "{}"),
    )
    write(conn, [Texts(name, ANSWER, "", parts, keep, 0) for name, keep in (("a", True), ("b", False))], HASHER)
    rows = conn.execute("select exchange, role, tool from conversations").fetchall()
    assert [tuple(row) for row in rows] == [
        ("a", "assistant", None), ("a", "tool_call", "Bash"), ("a", "tool_call", None),
        ("b", "assistant", None), ("b", "tool_call", None), ("b", "tool_call", None),
    ]  # fmt: skip
