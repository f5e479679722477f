"""scripts/cache: what the cache did and holds, and how entries are forgotten."""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from mitmesh.caching.database import FILE, KEY_FILE, File, remove
from mitmesh.caching.entry import Entry, Seal
from mitmesh.caching.values import mentions, same, value_hash
from mitmesh.globs import glob
from mitmesh.launch import home, printable
from mitmesh.store import queries
from mitmesh.store.errors import AuditError
from mitmesh.store.keys import load_key

_ORDER = {"hits": "hits desc, used desc", "saved": "saved_microusd desc, used desc", "newest": "created desc"}
_TEXT = 100
"""Characters of a question that are shown."""


def main(argv: list[str] | None = None) -> None:
    """Exits with one clear line where there is no cache, or it cannot be read."""
    given = sys.argv[1:] if argv is None else argv
    options = parser().parse_args(given)
    try:
        said = run(options, home(), time.time())
    except (sqlite3.Error, OSError) as error:
        hint = ". Make room; `scripts/cache clear --all` needs none" if "full" in str(error) else ""
        sys.exit(f"mitmesh: the cache in {home()} cannot be used: {printable(str(error))}{hint}")
    sys.stdout.write(said + "\n")


def run(options: argparse.Namespace, data: Path, now: float) -> str:
    """What the command answers."""
    if not (data / FILE).exists():
        sys.exit(f"mitmesh: there is no cache in {data} yet: scripts/run makes it")
    seal = _seal(data, options)
    try:
        return _told(options, data, seal, now)
    except sqlite3.Error:
        if not getattr(options, "all", False) or _conditions(options):
            raise
        remove(data)
        return f"{FILE} could not be written, so it was removed; running proxies forget what was in it within a second"


def _seal(data: Path, options: argparse.Namespace) -> Seal:
    """The folder's; without its key one that opens nothing, where nothing need be opened."""
    try:
        if (data / KEY_FILE).exists():
            return Seal(load_key(data, KEY_FILE))
        problem = f"{KEY_FILE} is gone from {data}"
    except AuditError as error:
        problem = str(error)
    if any(getattr(options, name, None) for name in ("texts", "text", "person")):
        sys.exit(
            f"mitmesh: {problem}: without it no text is to be read. clear knows --tenant, --model and --all, and"
            " a restart begins anew"
        )
    return Seal(b"\0" * 32)


def _told(options: argparse.Namespace, data: Path, seal: Seal, now: float) -> str:
    with closing(File(data, seal)) as file:
        if options.what == "clear":
            return clear(file, seal, options)
        if options.what == "top":
            entries = top(file, options.by, options.most, texts=options.texts)
            return json.dumps(entries, indent=2) if options.json else _table(entries, now)
        said = summary(file, data)
        if options.json:
            return json.dumps({**said, "top": top(file, "hits", 10)}, indent=2)
        return "\n".join([*_lines(said), "", _table(top(file, "hits", 10), now)])


# --- what it did ---


def summary(file: File, data: Path) -> dict[str, Any]:
    """Entries and bytes held, and by the audit: calls by layer, micro-dollars saved, the share of calls answered."""
    ((entries, size),) = file.rows("select count(*), coalesce(sum(size), 0) from entries")
    try:
        calls = queries.cached(data)
    except sqlite3.OperationalError:  # there is no audit
        calls = []
    layers = {row["layer"]: row["calls"] for row in calls}
    hits = layers.get("exact", 0) + layers.get("semantic", 0)
    asked = hits + layers.get("miss", 0)
    return {
        "entries": entries,
        "bytes": size,
        "calls": layers,
        "hit_rate": hits / asked if asked else None,
        "saved_microusd": {row["layer"]: row["saved"] for row in calls if row["layer"] in ("exact", "semantic")},
        "vendor_saved_microusd": sum(row["vendor_saved"] for row in calls),
        "vendor_by_rule_microusd": sum(row["by_rule"] for row in calls),
    }


def top(file: File, by: str, most: int, *, texts: bool = False) -> list[dict[str, Any]]:
    """The first entries in that order. `texts`: with the question of each, as it was sent (redacted)."""
    names = ("id", "hits", "saved_microusd", "created", "tenant", "provider", "model", "user", "exchange")
    rows = file.rows(f"select {', '.join(names)} from entries order by {_ORDER[by]}, id limit ?", (most,))
    found: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in rows]
    for row in found:
        number = row.pop("id")
        if texts:
            entry = file.by_id(number)
            row["text"] = entry.turn if entry else None
    return found


# --- forgetting ---


def _conditions(options: argparse.Namespace) -> bool:
    """Is a part of the entries meant?"""
    return any(getattr(options, name) is not None for name in ("tenant", "model", "text", "person"))


def clear(file: File, seal: Seal, options: argparse.Namespace) -> str:
    """Delete the entries that are all that was asked for; what was done, for people."""
    conditions: list[tuple[str, str]] = []
    if options.tenant is not None:
        conditions.append(("tenant in (select value from json_each(?))", json.dumps(_tenants(file, options.tenant))))
    if options.model is not None:
        models = [name for name in _distinct(file, "model") if glob(options.model).fullmatch(name)]
        conditions.append(("model in (select value from json_each(?))", json.dumps(models)))
    for wanted in (options.text, options.person):
        if wanted is not None and not wanted.strip():
            sys.exit("mitmesh: --text and --person must not be empty")
    if options.text is not None:
        conditions.append((_IN, _numbers(number for number, entry in file.texts() if _says(entry, options.text))))
    if options.person is not None:
        conditions.append((_IN, _numbers(_about(file, seal, options.person))))
    if not conditions and not options.all:
        sys.exit("mitmesh: say what: --tenant, --model, --text, --person, or --all")
    where = " and ".join(f"({sql})" for sql, _ in conditions)
    gone = file.clear(where or "true", tuple(value for _, value in conditions))
    return f"{gone} {'entry' if gone == 1 else 'entries'} forgotten; running proxies forget them within a second"


_IN = "id in (select value from json_each(?))"
_BELOW = re.compile(r" (?:credential|key|namespace):.*", re.DOTALL)
"""What stands behind a tenant's name where it is part of one (caching/tenant.py)."""
_KINDS = ("team", "namespace", "user", "service_account", "pod", "credential", "key")


def _tenants(file: File, wanted: str) -> list[str]:
    """Those of that name, or of that team's or namespace's, with whatever credential."""
    meant = (wanted, *(f"{kind}:{wanted}" for kind in _KINDS))
    return [name for name in _distinct(file, "tenant") if any(_is_of(name, each) for each in meant)]


def _is_of(name: str, tenant: str) -> bool:
    rest = name.removeprefix(tenant)
    return name == tenant or (rest != name and _BELOW.fullmatch(rest) is not None)


def _distinct(file: File, column: str) -> list[str]:
    rows = file.rows(f"select distinct {column} from entries where {column} is not null")
    return [str(row[0]) for row in rows]


def _numbers(numbers: Iterable[int]) -> str:
    return json.dumps(list(numbers))


def _about(file: File, seal: Seal, person: str) -> set[int]:
    """Entries that this user's calls left, that had this value taken out, or that have it in clear (a rule let it)."""
    hashed = value_hash(seal.hash, person)
    users = json.dumps([name for name in _distinct(file, "user") if same(name, person)])
    sql = "select id from entries where user in (select value from json_each(?))"
    known = file.rows(f"{sql} union select entry from entry_values where value = ?", (users, hashed))
    return {int(str(row[0])) for row in known} | {number for number, entry in file.texts() if _says(entry, person)}


def _says(entry: Entry, words: str) -> bool:
    """Are these words in the question or the answer, whatever their spelling?"""
    answer = (text for part in entry.answer.parts for text in (part.text, part.name or ""))
    return any(mentions(text, words) for text in (entry.turn or "", *answer))


# --- for people ---


def _lines(said: dict[str, Any]) -> list[str]:
    calls, saved = said["calls"], said["saved_microusd"]
    rate = "no call yet" if said["hit_rate"] is None else f"{said['hit_rate']:.1%}"
    counts = ", ".join(f"{calls[name]} {name}" for name in ("exact", "semantic", "miss", "off") if calls.get(name))
    layers = ", ".join(f"{_usd(amount)} {name}" for name, amount in saved.items())
    return [
        f"hit rate  {rate}{f' ({counts})' if counts else ''}, in what the audit still has",
        f"saved     {_usd(sum(saved.values()))}{f' ({layers})' if len(saved) > 1 else ''};"
        f" by providers' own prompt caches {_usd(said['vendor_saved_microusd'])},"
        f" {_usd(said['vendor_by_rule_microusd'])} of it where mitmesh set the breakpoints",
        f"held      {said['entries']} entries, {said['bytes'] / 2**20:.1f} MiB",
    ]


def _usd(microusd: int) -> str:
    return f"{'-' if microusd < 0 else ''}${abs(microusd) // 10**6}.{abs(microusd) % 10**6:06d}"


def _table(entries: Sequence[dict[str, Any]], now: float) -> str:
    head = ("hits", "saved", "age", "tenant", "provider", "model", "exchange")
    lines = [head, *(_cells(entry, now) for entry in entries)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    for at, entry in reversed(list(enumerate(entries, 1))):
        if entry.get("text"):
            text = " ".join(str(entry["text"]).split())
            rows.insert(at + 1, f"      {text[:_TEXT]}{'...' if len(text) > _TEXT else ''}")
    return "\n".join(map(printable, rows))


def _cells(entry: dict[str, Any], now: float) -> tuple[str, ...]:
    age = max(0, int(now) - entry["created"])
    shown = f"{age // 86_400} d" if age >= 2 * 86_400 else f"{age // 3600} h" if age >= 7200 else f"{age // 60} min"
    named = (entry["tenant"], entry["provider"] or "-", entry["model"] or "-", entry["exchange"] or "-")
    return (str(entry["hits"]), _usd(entry["saved_microusd"]), shown, *named)


def parser() -> argparse.ArgumentParser:
    """The options of scripts/cache."""
    made = argparse.ArgumentParser(prog="scripts/cache")
    made.add_argument("--json", action="store_true", help="for programs")
    what = made.add_subparsers(dest="what")
    shown = what.add_parser("top", help="the entries given most often")
    shown.add_argument("--by", choices=list(_ORDER), default="hits", help="in which order")
    shown.add_argument("--most", type=int, default=20, metavar="N", help="how many")
    shown.add_argument("--texts", action="store_true", help="with the question of each, as it was sent (redacted)")
    shown.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="for programs")
    gone = what.add_parser("clear", help="forget entries; what is given together must hold together")
    gone.add_argument("--tenant", metavar="T", help="whose: as `top` shows it, or the team's name alone")
    gone.add_argument("--model", metavar="M", help="the model asked for; `*` is any text")
    gone.add_argument("--text", metavar="WORDS", help="words in the question or the answer")
    gone.add_argument("--person", metavar="WHO", help="a user, or a value that was taken out of a call")
    gone.add_argument("--all", action="store_true", help="all of them")
    return made


if __name__ == "__main__":
    main()
