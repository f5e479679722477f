"""Datasette over the audit's files: what scripts/browse starts alone, and scripts/run beside the proxy."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mitmesh.browse.users import Kind, Role, Users
from mitmesh.launch import LaunchError, home, ports, printable

FILES = ("audit.db", "content.db")
PORT = 8001
NAME = 64
"""Characters that a name may have."""
SERVE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from mitmesh.browse.serve import main; main()"
"""Not `-m`: the processes that scripts/run starts are given no PYTHONPATH."""


def command(folder: Path, port: int) -> list[str]:
    """The command that serves those of the audit's files in `folder` that exist; empty if none does."""
    if not any((folder / name).exists() for name in FILES):
        return []
    return [sys.executable, "-c", SERVE, str(Path(__file__).parents[2]), str(folder), str(port)]


def first_login(folder: Path) -> str:
    """How to log in, for the person at the terminal: with the password where it was made just now, and only then."""
    password = Users(folder).begin()
    if password is None:
        return "log in as before; `scripts/browse --user NAME` makes a new password"
    return f"user auditor, password {password} (shown this once)"


def change(folder: Path, options: argparse.Namespace) -> str | None:
    """Do what the options ask about who may log in, and say it; None if they ask nothing."""
    users, role = Users(folder), Role.AUDITOR if options.auditor else Role.VIEWER
    if options.users:
        users.begin()
        return "\n".join(f"{printable(key.name)}  {key.role}  {key.kind}" for key in users.all())
    if options.remove is not None:
        return f"{printable(options.remove)} {'is removed' if users.remove(options.remove) else 'was not there'}"
    for kind, name in ((Kind.PASSWORD, options.user), (Kind.TOKEN, options.token)):
        if name is not None:
            _check(users, name, role)
            return f"{role} {name}, {kind} {users.add(name, role, kind)} (shown this once)"
    return None


def _check(users: Users, name: str, role: Role) -> None:
    """Raises LaunchError for a name that is none, or whose role this would take away without a word."""
    if not name.strip() or not name.isprintable() or len(name) > NAME:
        raise LaunchError(f"a name has 1 to {NAME} letters or other signs that can be seen")
    users.begin()
    if role is Role.VIEWER and any(key.name == name and key.role is Role.AUDITOR for key in users.all()):
        raise LaunchError(f"{name} is an auditor: say --auditor to keep it so, or --remove {name} first")


def parser() -> argparse.ArgumentParser:
    """The options of scripts/browse; its own --help repeats them."""
    options = argparse.ArgumentParser(prog="scripts/browse", description="Browse the audit in Datasette.")
    options.add_argument("--port", type=int, default=PORT, metavar="N", help=f"default {PORT}; 0 is any free port")
    options.add_argument("--auditor", action="store_true", help="NAME may read content; without it, metadata only")
    one = options.add_mutually_exclusive_group()
    one.add_argument("--user", metavar="NAME", help="print a new password for NAME, and end")
    one.add_argument("--token", metavar="NAME", help="print a new token for NAME, and end")
    one.add_argument("--remove", metavar="NAME", help="end NAME's passwords, tokens and sessions")
    one.add_argument("--users", action="store_true", help="list who may log in, and end")
    return options


def main(argv: list[str] | None = None) -> None:
    """Become Datasette; exits with one clear line if that cannot be."""
    options, folder = parser().parse_args(argv), home()
    try:
        if not folder.is_dir():
            raise LaunchError(f"there is no audit in {folder} yet: scripts/run makes it")
        if said := change(folder, options):
            sys.stdout.write(said + "\n")
            return
        ports.check({"--port": options.port})
        port = options.port or ports.free()
        if not (wanted := command(folder, port)):
            raise LaunchError(f"there is no audit in {folder} yet: scripts/run makes it")
        sys.stdout.write(f"http://127.0.0.1:{port}  ({first_login(folder)})\n")
        sys.stdout.flush()
    except LaunchError as error:
        sys.exit(f"mitmesh: {error}")
    os.execv(wanted[0], wanted)


if __name__ == "__main__":
    main()
