"""Datasette over the audit's files: what scripts/browse starts alone, and scripts/run beside the proxy."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from mitmesh.launch import LaunchError, home, ports

FILES = ("audit.db", "content.db")
PORT = 8001
PLUGINS = Path(__file__).with_name("datasette_plugins")


def command(folder: Path, port: int) -> list[str]:
    """The command that serves those of the audit's files in `folder` that exist; empty if none does.

    Datasette opens files read-only unless a plugin writes, and ours does not.
    """
    files = [str(folder / name) for name in FILES if (folder / name).exists()]
    if not files:
        return []
    serve = [sys.executable, "-m", "datasette", "serve", "--host", "127.0.0.1", "--port", str(port)]
    return [*serve, "--plugins-dir", str(PLUGINS), "--setting", "allow_download", "off", *files]


def main(argv: list[str] | None = None) -> None:
    """Become Datasette; exits with one clear line if that cannot be."""
    parser = argparse.ArgumentParser(prog="scripts/browse", description="Browse the audit in Datasette.")
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"default {PORT}; 0 is any free port")
    options = parser.parse_args(argv)
    try:
        ports.check({"--port": options.port})
        if not (wanted := command(home(), options.port or ports.free())):
            raise LaunchError(f"there is no audit in {home()} yet: scripts/run makes it")
    except LaunchError as error:
        sys.exit(f"mitmesh: {error}")
    os.execv(wanted[0], wanted)


if __name__ == "__main__":
    main()
