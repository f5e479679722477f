"""run.json in the data folder: where a process that runs on it is, for scripts, tests and people.

Several workers may share a folder, and the file: it names one of them that runs. Of those that ended the settings stay
in it, for the counts in the folder go by them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

NAME = "run.json"


def read(data: Path) -> dict[str, Any]:
    """What the file in this folder says; empty where there is none."""
    try:
        found = json.loads((data / NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def runs(told: Mapping[str, Any]) -> bool:
    """Is the process that it names there?"""
    try:
        os.kill(told["pid"], 0)
    except PermissionError:
        pass  # it is another user's
    except (OSError, KeyError, TypeError, OverflowError):
        return False
    return True


class RunFile:
    """What this process says: `places` by name, and the `settings` of its run."""

    def __init__(self, data: Path, places: Mapping[str, str], settings: Mapping[str, Any]) -> None:
        self._data, self._settings = data, dict(settings)
        self._told = {"pid": os.getpid(), **settings, **places}

    def write(self) -> None:
        """Say where we are. Raises OSError."""
        self._replace(self._told)

    def keep(self) -> None:
        """Say it again where the one that said so last has gone; where it cannot be written now, next time."""
        if not runs(read(self._data)):
            with suppress(OSError):
                self.write()

    def leave(self) -> None:
        """We are gone: the settings stay, unless another has written them."""
        if read(self._data).get("pid") == self._told["pid"]:
            self._replace(self._settings)

    def _replace(self, told: Mapping[str, Any]) -> None:
        new = self._data / f"{NAME}.{os.getpid()}.new"
        new.write_text(json.dumps(told, indent=2) + "\n")
        new.replace(self._data / NAME)
