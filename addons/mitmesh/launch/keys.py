"""scripts/keys: virtual keys, made, listed and taken back."""

from __future__ import annotations

import argparse
import re
import sqlite3
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mitmesh.attest.keys import MOST, Key, KeyFile, TooManyKeys
from mitmesh.dialects.base import Operation
from mitmesh.launch import home, printable
from mitmesh.store.errors import AuditError

_SPAN = re.compile(r"([1-9]\d{0,4})([hd])")
_SECONDS = {"h": 3600, "d": 86_400}


def main(argv: list[str] | None = None) -> None:
    """Exits with one clear line where the file of keys cannot be used."""
    options = _parser().parse_args(argv)
    file = KeyFile(home())
    try:
        match options.what:
            case "create":
                _create(file, options)
            case "revoke":
                if not file.revoke(options.id):
                    sys.exit(f"mitmesh: there is no key {options.id} that holds; scripts/keys list shows them")
                sys.stdout.write(f"{options.id} is revoked; running proxies take it no more within a second\n")
            case _:
                keys = [key for key in file.all() if options.id in (None, key.id)]
                if options.id and not keys:
                    sys.exit(f"mitmesh: there is no key {options.id}")
                sys.stdout.write(table(keys, time.time()) + "\n")
    except TooManyKeys:
        sys.exit(f"mitmesh: there are {MOST} keys already, and no more fit")
    except (sqlite3.Error, OSError, AuditError) as error:
        sys.exit(f"mitmesh: the file of keys in {home()} cannot be used: {error}")


def _create(file: KeyFile, options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in ("team", "user", "tier", "scopes", "models", "expires")}
    if empty := [name for name, said in given.items() if said is not None and not said.replace(",", "").strip()]:
        sys.exit(f"mitmesh: --{empty[0]} is empty (a variable that is not set?); leave it out, or name something")
    span = _SPAN.fullmatch(options.expires) if options.expires else None
    if options.expires and not span:
        sys.exit("mitmesh: --expires must be a time such as 12h or 90d")
    scopes = _listed(options.scopes)
    if unknown := [scope for scope in scopes if scope not in {each.value for each in Operation}]:
        sys.exit(f"mitmesh: there is no scope {unknown[0]!r}; there are {', '.join(each.value for each in Operation)}")
    expires = int(time.time()) + int(span[1]) * _SECONDS[span[2]] if span else None
    models = _listed(options.models)
    what: dict[str, Any] = {name: getattr(options, name) for name in ("team", "user", "tier", "note")}
    if odd := [name for name, said in what.items() if said and not said.isprintable()]:
        sys.exit(f"mitmesh: --{odd[0]} may have printable characters only")
    key, text = file.create(scopes=scopes, models=models, expires=expires, **what)
    sys.stderr.write(f"{key.id} for {_whose(key)}; the key is shown this once:\n")
    if not (key.team or key.user):
        sys.stderr.write("it names no team and no user: limits and rules that go by these do not count its calls\n")
    sys.stdout.write(text + "\n")


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (each.strip() for each in (text or "").split(","))))


def table(keys: Sequence[Key], now: float) -> str:
    """For people; a key itself is in no line, for it is kept nowhere."""
    head = ("id", "whose", "state", "expires", "scopes", "models", "note")
    lines = [head, *(_cells(key, now) for key in keys)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rows = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join(map(printable, rows))


def _cells(key: Key, now: float) -> tuple[str, ...]:
    state = "revoked" if key.revoked else "expired" if key.expires and key.expires <= now else "holds"
    expires = f"{datetime.fromtimestamp(key.expires, UTC):%Y-%m-%d %H:%M} UTC" if key.expires else "never"
    return (
        key.id, _whose(key), state, expires, ",".join(key.scopes) or "any", ",".join(key.models) or "any", key.note,
    )  # fmt: skip


def _whose(key: Key) -> str:
    return " ".join(f"{name} {said}" for name in ("team", "user", "tier") if (said := getattr(key, name))) or "anybody"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/keys")
    what = parser.add_subparsers(dest="what", required=True)
    create = what.add_parser("create", help="make a key and print it, this once")
    create.add_argument("--team", help="whose calls it makes")
    create.add_argument("--user", help="the user it stands for")
    create.add_argument("--tier", help="a word that rules may go by")
    create.add_argument("--scopes", metavar="A,B", help="operations it is for (chat,embeddings); any if not given")
    create.add_argument("--models", metavar="A,B", help="models it is for, `*` is any text; any if not given")
    create.add_argument("--expires", metavar="90d", help="until when it holds (12h, 90d); for ever if not given")
    create.add_argument("--note", default="", help="what it is for")
    for name, text in (("list", "all keys"), ("show", "one key"), ("revoke", "take a key back")):
        parser_of = what.add_parser(name, help=text)
        if name == "list":
            parser_of.set_defaults(id=None)
        else:
            parser_of.add_argument("id", help="its id, as `list` shows it")
    return parser


if __name__ == "__main__":
    main()
