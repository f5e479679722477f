"""scripts/cache: what it shows, what it forgets, and that nothing it shows steers a terminal."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cached import entry
from mitmesh.caching.database import KEY_FILE, File, now_on
from mitmesh.caching.entry import Seal
from mitmesh.caching.values import value_hash
from mitmesh.launch import cache
from mitmesh.store.keys import Hasher, load_key

ADDRESS, PHONE = "Ann@Example.com", "+49 170 1234567"


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    """Four entries, two of team red's."""
    seal = Seal(load_key(tmp_path, KEY_FILE))
    values = tuple(value_hash(Hasher(seal.secret).hash, value) for value in (ADDRESS, PHONE))
    entries = [
        entry("1", turn="Write to <EMAIL_1>", values=values, user="Bob"),
        entry("2", "Use  Kubernetes\nthere", model="gpt-4o-mini"),
        entry("3", tenant="team:blue", provider="anthropic", model="claude\x1b[2Jx", turn="\x1b]0;owned\x07"),
        entry("4", tenant="team:green credential:ab", user="ann@example.com"),
    ]
    with closing(File(tmp_path, seal)) as file:
        file.write(entries, [(1001, 2, 3_000_000, entries[1].key), (1001, 1, 500, entries[0].key)])
        yield file


def told(file: File, *words: str) -> str:
    """What the command says."""
    return cache.run(cache.parser().parse_args(words), file.path.parent, 1000 + 7200)


def left(file: File) -> set[int]:
    """Numbers of the entries that are left."""
    return {int(str(row[0])) for row in file.rows("select id from entries")}


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (("--tenant", "team:red"), {1, 2}),
        (("--tenant", "red"), {1, 2}),
        (("--tenant", "green"), {4}),
        (("--tenant", "team:green"), {4}),
        (("--tenant", "r"), set()),
        (("--model", "GPT-4o"), {1, 4}),
        (("--model", "gpt-*"), {1, 2, 4}),
        (("--text", "use kubernetes THERE"), {2}),
        (("--text", "write to"), {1}),
        (("--person", "ann@example.com"), {1, 4}),
        (("--person", "bob"), {1}),
        (("--person", "+49170-1234567"), {1}),
        (("--person", "Kubernetes"), {2}),  # in clear, where a rule let it through
        (("--tenant", "red", "--model", "gpt-4o-mini"), {2}),
        (("--tenant", "blue", "--person", "bob"), set()),
        (("--all",), {1, 2, 3, 4}),
    ],
)
def test_clear(file: File, words: tuple[str, ...], gone: set[int]) -> None:
    """What is asked for goes, with the hashes of its values, and nothing else; workers are told."""
    (before,) = file.rows("select number from epoch")
    assert told(file, "clear", *words).startswith(f"{len(gone)} ")
    assert left(file) == {1, 2, 3, 4} - gone
    assert file.rows("select entry from entry_values") == ([] if 1 in gone else [(1,), (1,)])
    assert file.rows("select number from epoch") == [(int(str(before[0])) + 1,)]


def test_a_name_is_not_the_beginning_of_another(file: File) -> None:
    """A team whose name goes on after a space is another team; what a name has of its own is no pattern."""
    tenants = ["team:a", "team:a b", "team:a credential:ab", "team:a key:k1", "user:a namespace:n"]
    models = ["gpt-4.1[1m]", "gpt-4.1m", "gpt-4.1[1M]"]
    file.write([entry(name, tenant=name, model="m") for name in tenants], [])
    assert told(file, "clear", "--tenant", "a").startswith("4 ")
    assert file.rows("select tenant from entries where model = 'm'") == [("team:a b",)]
    file.write([entry(name, model=name, exchange=now_on()) for name in models], [])
    assert told(file, "clear", "--model", "gpt-4.1[1m]").startswith("2 ")
    assert file.rows("select model from entries where model like 'gpt-4.1%'") == [("gpt-4.1m",)]


@pytest.mark.parametrize("words", [(), ("--text", " "), ("--person", "")])
def test_clear_what(file: File, words: tuple[str, ...]) -> None:
    """Nothing goes because nothing was said."""
    with pytest.raises(SystemExit, match="mitmesh: "):
        told(file, "clear", *words)
    assert left(file) == {1, 2, 3, 4}


def test_top(file: File) -> None:
    """By hits or by dollars, texts only where asked for, and no character that a terminal obeys."""
    shown = told(file, "top", "--texts")
    assert not [char for char in shown if char != "\n" and not char.isprintable()]
    lines = shown.splitlines()
    assert lines[1].split()[:4] == ["2", "$3.000000", "2", "h"]
    assert "Write to <EMAIL_1>" in shown and "Write" not in told(file, "top")
    rows: list[dict[str, Any]] = json.loads(told(file, "top", "--by", "saved", "--most", "2", "--json"))
    assert [row["saved_microusd"] for row in rows] == [3_000_000, 500]


def test_summary(file: File) -> None:
    """Without an audit there is no hit rate, but what is held is told."""
    assert "no call yet" in told(file)
    said = json.loads(told(file, "--json"))
    assert (said["entries"], said["hit_rate"], len(said["top"])) == (4, None, 4)


def test_summary_by_the_audit(file: File) -> None:
    """The rate is of calls in which the cache had a part."""
    columns = "id text, cache text, cache_saved_microusd integer, vendor_saved_microusd integer"
    with closing(sqlite3.connect(file.path.parent / "audit.db")) as audit:
        audit.execute(f"create table exchanges ({columns})")
        audit.execute("create table verdicts (exchange text, stage text, mode text)")
        rows = [("exact", 1_500_000, None), ("semantic", 250, None), ("miss", None, -40), ("miss", None, 100)]
        rows += [("off", None, None), (None, None, None), ("miss", None, 7)]
        numbered = [(str(n), *row) for n, row in enumerate(rows)]
        audit.executemany("insert into exchanges values (?, ?, ?, ?)", numbered)
        told_by = [
            ("2", "vendor", "enforce"),
            ("2", "vendor", "enforce"),
            ("3", "vendor", "observe"),
            ("6", "redact", "enforce"),
        ]
        audit.executemany("insert into verdicts values (?, ?, ?)", told_by)
        audit.commit()
    shown = told(file).splitlines()
    assert shown[0].startswith("hit rate  40.0% (1 exact, 1 semantic, 3 miss, 1 off)")
    assert "saved     $1.500250 ($1.500000 exact, $0.000250 semantic)" in shown[1]
    assert shown[1].endswith("prompt caches $0.000067, -$0.000040 of it where mitmesh set the breakpoints")


def test_without_its_key(file: File) -> None:
    """What can be forgotten without reading it, can be; no other key is made in its place."""
    (file.path.parent / KEY_FILE).unlink()
    for words in (("top", "--texts"), ("clear", "--text", "x"), ("clear", "--person", "x")):
        with pytest.raises(SystemExit, match=r"cache\.key is gone"):
            told(file, *words)
    assert "team:blue" in told(file, "top")
    assert told(file, "clear", "--tenant", "blue").startswith("1 ")
    assert told(file, "clear", "--all").startswith("3 ")
    assert not (file.path.parent / KEY_FILE).exists()


def full(file: File, *_: Any) -> int:
    raise sqlite3.OperationalError("database or disk is full")


def test_a_full_disk(file: File, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can be deleted from the file, but the file can; else it says what to do."""
    monkeypatch.setattr(File, "clear", full)
    monkeypatch.setenv("MITMESH_HOME", str(file.path.parent))
    with pytest.raises(SystemExit, match=r"full\. Make room; `scripts/cache clear --all` needs none"):
        cache.main(["clear", "--tenant", "red"])
    with pytest.raises(SystemExit, match="full"):
        cache.main(["clear", "--tenant", "red", "--all"])
    assert left(file) == {1, 2, 3, 4}
    cache.main(["clear", "--all"])
    assert "was removed" in capsys.readouterr().out
    assert file.moved and not list(file.path.parent.glob("cache.db*"))


def test_it_writes_nothing_to_show(file: File) -> None:
    """So it works on a full disk."""
    before = file.rows("pragma data_version")
    assert told(file) and told(file, "top")
    assert file.rows("pragma data_version") == before


def test_no_cache(tmp_path: Path) -> None:
    """Asking makes no file."""
    with pytest.raises(SystemExit, match="no cache in"):
        cache.run(cache.parser().parse_args([]), tmp_path, 0)
    assert list(tmp_path.iterdir()) == []
