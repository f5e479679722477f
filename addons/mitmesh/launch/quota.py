"""scripts/quota: how full the limits are, and grants for a while."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
import re
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import unquote

from mitmesh import runfile
from mitmesh.launch import ROOT, LaunchError, home, printable
from mitmesh.quotas import opening, plan, words
from mitmesh.quotas.ledger import ALL, Grant, Ledger, LedgerAway
from mitmesh.quotas.rows import Row, rows
from mitmesh.rules import RulesError, load
from mitmesh.rules.quotas import MOST, Limit, Quotas, team_limits

_SPAN = re.compile(r"([1-9]\d{0,4})([mhd])")
_SECONDS = {"m": 60, "h": 3600, "d": 86400}
LONGEST = 31 * 86400
"""Seconds a grant holds at most: it is for a while."""


def table(found: Sequence[Row]) -> str:
    """For people."""
    head = ("limit", "whose", "used", "reserved", "left", "of", "begins anew")
    lines = [head, *(_cells(row) for row in found)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join(map(printable, text))


def _cells(row: Row) -> tuple[str, ...]:
    unit = "" if row.unit == "dollars" else " tokens, unpriced" if row.unit == "unpriced" else f" {row.unit}"
    granted = f" + {words.number(row.unit, row.granted)} granted" if row.granted else ""
    amounts = (words.number(row.unit, amount) for amount in (row.used, row.reserved, row.left))
    resets = f"{datetime.fromtimestamp(row.resets, UTC):%Y-%m-%d %H:%M} UTC" if row.resets else "never"
    return row.limit, words.whose(row.subject), *amounts, f"{words.number(row.unit, row.of)}{unit}{granted}", resets


def granted(options: argparse.Namespace, rules: Quotas, now: float) -> Grant:
    """The grant that was asked for. Raises LaunchError that says what is wrong."""
    limit = next((each for each in rules.limits if each.id == options.limit), None)
    if limit is None:
        known = ", ".join(each.id for each in rules.limits) or "none"
        raise LaunchError(f"there is no limit {options.limit!r} in rules/quotas.yaml; there are: {known}")
    span = _SPAN.fullmatch(options.span)
    seconds = int(span[1]) * _SECONDS[span[2]] if span else 0
    if not 0 < seconds <= LONGEST:
        raise LaunchError("--for must be a time such as 90m, 2h or 7d, at most 31d")
    try:
        more = limit.model_validate({**limit.model_dump(exclude_none=True), "limit": options.amount}).amount
    except ValueError:
        more = 0
    if not 0 < more <= MOST * 1_000_000:
        raise LaunchError(f"--amount must be a number of {limit.unit}, more than 0")
    if not options.reason.strip():
        raise LaunchError("--reason must say why")
    subject = ALL if options.subject in (None, ALL) else _subject(limit, options.subject)
    until, by = int(now) + seconds, getpass.getuser()
    return Grant(secrets.token_hex(4), limit.id, subject, more, until, options.reason[:500], by, limit.unit)


def _subject(limit: Limit, asked: str) -> str:
    """One of the limit's subjects, as it is counted. Raises LaunchError for what it never counts."""
    if not limit.about:
        raise LaunchError(f"limit {limit.id} has one count for all calls: leave --subject out")
    values = dict(part.split("=", 1) for part in asked.split(",") if "=" in part)
    found, wanted = [], []
    for name, value in limit.about:
        given = plan.quoted(unquote(values.pop(name, "")))
        if value == plan.EACH:
            wanted.append(f"{name}=NAME")
        else:
            wanted.append(f"{name}={plan.quoted(value)}")
            given = given if given == plan.quoted(value) else ""
        found.append((name, given))
    if values or asked.count(",") != len(found) - 1 or not all(given for _, given in found):
        raise LaunchError(f"--subject of limit {limit.id} must be {','.join(wanted)}; scripts/quota --json shows them")
    return ",".join(f"{name}={given}" for name, given in found)


def settings(folder: Path) -> Quotas:
    """The rules of the run on this folder, or of the last one, else the project's own. Raises LaunchError."""
    run = runfile.read(folder)
    try:
        rules = load(Path(run.get("rules") or ROOT / "rules")).quotas
    except RulesError as error:
        raise LaunchError(str(error)) from None
    if spec := run.get("mesh_team_limits"):
        rules = team_limits(rules, spec, run["mesh_warn_at"], run["mesh_hard_stop_at"])
    return rules


def parser() -> argparse.ArgumentParser:
    """The options of scripts/quota; its own --help repeats them."""
    made = argparse.ArgumentParser(prog="scripts/quota")
    made.add_argument("--json", action="store_true")
    commands = made.add_subparsers(dest="command")
    grant = commands.add_parser("grant")
    grant.add_argument("limit")
    grant.add_argument("--amount", required=True)
    grant.add_argument("--for", dest="span", required=True)
    grant.add_argument("--reason", required=True)
    grant.add_argument("--subject")
    commands.add_parser("revoke").add_argument("id")
    return made


async def run(options: argparse.Namespace, rules: Quotas, ledger: Ledger, now: float) -> str:
    """Do what was asked; what to print. Raises LaunchError and LedgerAway."""
    if options.command == "grant":
        grant = granted(options, rules, now)
        await ledger.grant(grant)
        until = f"{datetime.fromtimestamp(grant.expires, UTC):%Y-%m-%d %H:%M} UTC"
        said = f"granted until {until}; end it earlier with: scripts/quota revoke {grant.id}"
        if grant.subject != ALL and all(
            (grant.limit, grant.subject) != (count.key.limit, count.key.subject) for count in await ledger.counts()
        ):
            said += printable(f"\nnothing is counted for {words.whose(grant.subject)} so far: is it spelt so?")
        return said
    if options.command == "revoke":
        if not await ledger.revoke(options.id):
            raise LaunchError(f"there is no grant {options.id!r}; scripts/quota lists those that hold")
        return "revoked"
    grants = await ledger.grants()
    found = list(rows(rules.limits, await ledger.counts(), grants, now))
    if options.json:
        shown = [{**asdict(row), "left": row.left} for row in found]
        return json.dumps({"limits": shown, "grants": [asdict(grant) for grant in grants]}, indent=2)
    if not rules.limits:
        return "there are no limits; set some in rules/local/quotas.yaml (docs/quotas.md)"
    units = {limit.id: limit.unit for limit in rules.limits}
    return "\n".join([table(found), *(_said(grant, units.get(grant.limit)) for grant in grants)])


def _said(grant: Grant, counted: str | None) -> str:
    """A grant, where the rules have its limit in the unit `counted`."""
    unit = grant.unit or counted or ""
    until = f"{datetime.fromtimestamp(grant.expires, UTC):%Y-%m-%d %H:%M} UTC"
    whose = "each" if grant.subject == ALL else words.whose(grant.subject)
    more = f"{words.number(unit, grant.amount)} more of {grant.limit} for {whose} until {until}"
    if counted != unit:
        more += f" (without effect: the rules have no limit {grant.limit} in {unit})"
    return printable(f"grant {grant.id}: {more}, by {grant.by}: {grant.reason}")


async def _main(options: argparse.Namespace) -> str:
    folder = home()
    rules = settings(folder)
    # What is set aside while Redis is away is the running nodes' business, not this command's.
    try:
        ledger = opening.ledger(replace_policy(rules), folder)
    except RulesError as error:
        raise LaunchError(str(error)) from None
    try:
        return await run(options, rules, ledger, time.time())
    finally:
        await ledger.close()


def replace_policy(rules: Quotas) -> Quotas:
    """The rules with Redis asked and nothing else."""
    return rules.model_copy(update={"redis_away": "refuse"})


def main(argv: list[str] | None = None) -> None:
    """Exits with one clear line where it cannot be done."""
    options = parser().parse_args(argv)
    try:
        sys.stdout.write(asyncio.run(_main(options)) + "\n")
    except LaunchError as error:
        sys.exit(f"mitmesh: {error}")
    except LedgerAway as away:
        sys.exit(f"mitmesh: the ledger cannot be asked: {away}")
