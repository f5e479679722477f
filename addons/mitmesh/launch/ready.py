"""Is it up: what the engine writes to run.json, and what its control port says."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from mitmesh import runfile
from mitmesh.launch import LaunchError

DEADLINE = 60
"""Seconds the proxy may take until it is ready."""
SILENT = "it does not answer on its control port"


def places(home: Path, pid: int) -> dict[str, str] | None:
    """Where the engine of this process listens, by name, once it has said so."""
    found = runfile.read(home)
    return found if found.get("pid") == pid else None


def running(home: Path) -> dict[str, str] | None:
    """Where the engine that runs on this folder listens, by name; None if none does."""
    found = runfile.read(home)
    return {name: str(value) for name, value in found.items()} if runfile.runs(found) else None


def problem(control: str) -> str | None:
    """What keeps the proxy from being ready, in its own words; None if nothing does. `control` is host:port."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # not through $HTTP_PROXY
    try:
        with opener.open(f"http://{control}/health", timeout=2):
            return None
    except urllib.error.HTTPError as error:
        return error.read(2000).decode("utf-8", "replace").strip()
    except OSError:
        return SILENT


def health(control: str) -> dict[str, Any]:
    """What /health says; empty if it says nothing. `control` is host:port."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{control}/health", timeout=2) as answer:
            found = json.load(answer)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


async def engine(home: Path, pid: int) -> dict[str, str]:
    """Where the engine listens, once it is ready. Raises LaunchError after DEADLINE seconds."""
    deadline = time.monotonic() + DEADLINE
    why: str | None = SILENT
    while time.monotonic() < deadline:
        if found := places(home, pid):
            control = found.get("control")  # none if the engine was asked to have none
            why = await asyncio.to_thread(problem, control) if control else None
            if why is None:
                return found
        await asyncio.sleep(0.05)
    raise LaunchError(f"not ready after {DEADLINE} s: {why}")


async def port(number: int) -> None:
    """Returns when something listens on this port of 127.0.0.1. Raises LaunchError after DEADLINE seconds."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", number)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            return writer.close()
    raise LaunchError(f"nothing listens on port {number} after {DEADLINE} s")
