"""A line of JSON for each exchange, under SemaMesh's field names and a few of ours."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mitmesh.store.content import Texts, messages


@dataclass(slots=True, frozen=True)
class Line:
    """What one line says. Texts follow the audit's rule of content; cost is micro-dollars, None where unknown."""

    id: str
    timestamp: str
    namespace: str | None
    team: str | None
    model: str | None
    prompt: Texts
    completion: Texts
    total_tokens: int | None
    cost: int | None
    status: int | None
    outcome: str | None

    @property
    def size(self) -> int:
        """About how many bytes it holds in memory."""
        return self.prompt.size + self.completion.size


def dollars(micro: int | None) -> str:
    """Micro-dollars as a JSON number of dollars: exact, as no float is made of it."""
    if micro is None:
        return "null"
    sign, micro = ("-", -micro) if micro < 0 else ("", micro)
    fraction = f"{micro % 1_000_000:06d}".rstrip("0")
    return f"{sign}{micro // 1_000_000}" + (f".{fraction}" if fraction else "")


def render(line: Line) -> bytes:
    """The line with its end. `prompt_text` is what users said, `completion_text` what was answered; null where the
    rules keep no text."""
    fields: dict[str, Any] = {
        "timestamp": line.timestamp,
        "namespace": line.namespace,
        "model": line.model,
        "prompt_text": _text(line.prompt, "user"),
        "completion_text": _text(line.completion, "assistant"),
        "total_tokens": line.total_tokens,
        "cost_usd": None,
        "id": line.id,
        "status": line.status,
        "outcome": line.outcome,
        "team": line.team,
    }
    pairs = (f'"{name}":{dollars(line.cost) if name == "cost_usd" else json.dumps(v)}' for name, v in fields.items())
    return ("{" + ",".join(pairs) + "}\n").encode()


def append(path: Path, lines: list[Line]) -> None:
    """Append lines with one write, so that those of several workers do not mix. Opened anew each time: logrotate may
    move the file. Raises OSError, also where the disk took a part only."""
    data = b"".join(map(render, lines))
    fd = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) < len(data):
            os.write(fd, b"\n")  # so that the next line is whole
            raise OSError("the disk took only a part of the lines")
    finally:
        os.close(fd)


def _text(texts: Texts, role: str) -> str | None:
    return "\n".join(text for who, text in messages(texts) if who == role) if texts.keep else None
