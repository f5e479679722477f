"""What scripts/run starts: mitmdump with the whole suite, Datasette beside it, both ended together.

It imports no mitmproxy: mitmdump is a process of its own, as it is when started by hand.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[3]
"""The project's folder."""


class LaunchError(Exception):
    """The suite cannot be started; the message is the one line that says why and what to do."""


def home() -> Path:
    """The folder of all state: $MITMESH_HOME, by default ~/.mitmesh."""
    return Path(os.environ.get("MITMESH_HOME") or "~/.mitmesh").expanduser().absolute()


def printable(text: str) -> str:
    """A line for a terminal: what a client or a provider named must not steer it."""
    return "".join(char if char.isprintable() else "?" for char in text)
