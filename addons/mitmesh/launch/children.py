"""Processes that live and die together."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque

GRACE = 20
"""Seconds they have to end when told to; more than the `mesh_drain` seconds mitmdump gives to calls in flight."""
LAST_LINES = 10


class Children:
    """The processes started here. `ended` is done when the first of them ends unasked: its name and exit code."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        self._processes: list[Process] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._lines: dict[str, deque[str]] = {}

    async def start(self, name: str, command: list[str], *, quiet: bool = False) -> int:
        """Start one; returns its pid. What a quiet one writes is not shown, its last lines are kept."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            stdout=DEVNULL if quiet else None,
            stderr=PIPE if quiet else None,
            env={name: value for name, value in os.environ.items() if name not in ("SSLKEYLOGFILE", "PYTHONPATH")},
            preexec_fn=die_with_parent,
            process_group=0,  # Ctrl-C comes to us alone: we tell each child to end, once
        )
        self._processes.append(process)
        self._watchers.append(asyncio.create_task(self._watch(name, process)))
        return process.pid

    async def _watch(self, name: str, process: Process) -> None:
        lines = self._lines[name] = deque[str](maxlen=LAST_LINES)
        while process.stderr and (chunk := await process.stderr.read(2**16)):
            lines.extend(chunk.decode("utf-8", "replace").splitlines())
        code = await process.wait()
        if not self.ended.done():
            self.ended.set_result((name, code))

    def last_lines(self, name: str) -> list[str]:
        """The last lines a quiet child wrote."""
        return list(self._lines.get(name, ()))

    async def end(self) -> None:
        """Tell all to end; kill those that have not after GRACE seconds."""
        self._signal("terminate")
        if self._watchers:
            await asyncio.wait(self._watchers, timeout=GRACE)
            self.kill()
            await asyncio.wait(self._watchers)

    def kill(self) -> None:
        """End all at once."""
        self._signal("kill")

    def _signal(self, how: str) -> None:
        for process in self._processes:
            if process.returncode is None:
                getattr(process, how)()


def die_with_parent() -> None:
    """In a child: end when the launcher is killed (Linux; elsewhere it stays, and the next start names its port)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
