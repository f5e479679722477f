"""Loaded with `-s`: changes mitmproxy options of the running process as a test asks, and says what became of it.

The test writes {"name": value, ...} to the file MESH_TEST_TRY; the answer is in the file of that name and `.done`:
for each option what it was, what was raised, and what it is now.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from mitmproxy import ctx

FILE = Path(os.environ["MESH_TEST_TRY"])


def attempt(name: str, value: Any) -> dict[str, Any]:
    """Set one option."""
    if name not in ctx.options:
        return {"missing": True}
    before = getattr(ctx.options, name)
    raised = None
    try:
        ctx.options.update(**{name: value})
    except Exception as error:
        raised = f"{type(error).__name__}: {error}"
    return {"before": before, "after": getattr(ctx.options, name), "raised": raised}


class Tries:
    """Waits for the test."""

    def running(self) -> None:
        self.task = asyncio.create_task(self.wait())

    async def wait(self) -> None:
        while not FILE.exists():
            await asyncio.sleep(0.05)
        said = {name: attempt(name, value) for name, value in json.loads(FILE.read_text()).items()}
        draft = FILE.with_suffix(".draft")
        draft.write_text(json.dumps(said))
        draft.replace(FILE.with_suffix(".done"))


addons = [Tries()]
