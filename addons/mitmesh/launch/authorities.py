"""scripts/ca: who signs, and a successor for it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256

from mitmesh import ca
from mitmesh.launch import ROOT, home, ready
from mitmesh.rules import RulesError, load

OVERLAP = 14
"""Days in which the old CA and the new one both sign."""


def main(argv: list[str] | None = None) -> None:
    """Exits with one clear line where the rules or the CA cannot be used."""
    options = _parser().parse_args(argv)
    folder = home() / "ca"
    try:
        rules = load(options.rules or rules_folder())
        if options.what == "rotate":
            signers = ca.rotate(folder, rules, timedelta(days=0 if options.now else options.days))
        elif (found := ca.look(folder, rules)) is None:
            sys.exit(f"mitmesh: there is no CA in {folder} yet: scripts/run makes it")
        else:
            signers = found
    except RulesError as error:
        sys.exit(f"mitmesh: {error}")
    except OSError as error:
        sys.exit(f"mitmesh: {folder} cannot be used: {error.strerror}")
    sys.stdout.write("\n".join(_said(signers)) + "\n")
    if signers.wider(rules):
        sys.stdout.write(f"mitmesh: {ca.WIDE}\n")
    if options.what == "rotate":
        sys.stdout.write(f"Clients must trust the new one: scripts/install-ca install, or {folder / ca.TRUSTED}\n")


def rules_folder() -> Path:
    """The rules of the engine that runs on this folder, else the project's own."""
    return Path((ready.running(home()) or {}).get("rules") or ROOT / "rules")


def _said(signers: ca.Signers) -> Iterator[str]:
    for number, authority in enumerate(signers.authorities):
        when = "signs" if not number else f"signs what the one above may not, and all from {signers.switch:%Y-%m-%d} on"
        yield f"{authority.signer.subject.rfc4514_string()}: {when}; expires {authority.expires:%Y-%m-%d}"
        yield f"  clients trust  {authority.anchor.subject.rfc4514_string()}"
        yield f"  sha256         {authority.anchor.fingerprint(SHA256()).hex(':').upper()}"
        for names in dict.fromkeys(each for each in authority.limits if each != ca.EVERYTHING):
            yield f"  for            {', '.join([*names.dns, *map(str, names.networks)])}, and all below these names"
        if all(each == ca.EVERYTHING for each in authority.limits):
            yield "  for            EVERY host: it has no name constraints"


def _days(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 366:
        raise argparse.ArgumentTypeError("must be from 1 to 365")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/ca")
    parser.add_argument("what", choices=["show", "rotate"])
    parser.add_argument("--days", type=_days, default=OVERLAP, metavar="N", help="1 to 365")
    parser.add_argument("--now", action="store_true", help="without an overlap")
    parser.add_argument("--rules", type=Path, help="the folder of the rules")
    return parser


if __name__ == "__main__":
    main()
