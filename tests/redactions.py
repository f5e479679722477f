"""Small things for the tests of redaction: a finder that is a regex, calls of each dialect, streams cut anywhere."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from mitmesh.answering import Tap, changed_json, read_json
from mitmesh.dialects import DIALECTS
from mitmesh.dialects.base import Framing
from mitmesh.exchange import Exchange, Mode, Target
from mitmesh.guard import Guard
from mitmesh.reading import read
from mitmesh.redaction.findings import Finding, Health
from mitmesh.rules import HostRule, Limits, Mesh, load
from mitmesh.rules.models import Content
from mitmesh.rules.pii import Pii
from mitmesh.stages.redact import Redact

FINDS = re.compile(
    r"(?P<EMAIL>[\w.+-]+@[\w-]+\.[\w.]*\w)|(?P<PHONE>\+\d[\d ]{7,14}\d)|(?P<SECRET>sk-[A-Za-z0-9]{8,})"
    r'|(?<=my name is )(?P<PERSON>[A-Z]\w+(?: ["\\\w]+)*)'
)
"""Finds by pattern, and a name by its context only."""


def shipped_pii() -> Pii:
    """What rules/pii.yaml has searched for."""
    return load(Path(__file__).parents[1] / "rules").pii


class Finder:
    """Finds what FINDS says; `fails` makes it raise. Remembers what it was asked."""

    def __init__(self, pattern: re.Pattern[str] = FINDS, fails: Exception | None = None) -> None:
        self.pattern, self.fails = pattern, fails
        self.asked: list[str] = []

    def configure(self, rules: Any) -> None:
        pass

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def find(self, texts: Sequence[str]) -> list[list[Finding]]:
        self.asked += texts
        if self.fails:
            raise self.fails
        return [self.find_now(text) for text in texts]

    def remembered(self, texts: Sequence[str]) -> list[list[Finding]] | None:
        return [[]] * len(texts) if not any(texts) else None

    def find_now(self, text: str) -> list[Finding]:
        return [Finding(f.start(), f.end(), str(f.lastgroup), "test", 1.0) for f in self.pattern.finditer(text)]

    def health(self) -> Health:
        return Health(True, persons=False)


def rules(mode: Mode = Mode.ENFORCE, **pii: Any) -> Any:
    """Rules with this pii.yaml."""
    return SimpleNamespace(
        mesh=Mesh(), version="0123456789ab", mode=lambda _: mode, pii=Pii(**pii), content=lambda _: Content.REDACTED,
        fail_mode=lambda _: "closed",
    )  # fmt: skip


PATHS = {
    "anthropic": "/v1/messages",
    "openai_chat": "/v1/chat/completions",
    "openai_responses": "/v1/responses",
    "openai_embeddings": "/v1/embeddings",
    "gemini": "/v1beta/models/m:generateContent",
    "generic": "/v1/other",
}


def exchange(
    dialect: str, doc: Any, path: str = "", rules_: Any = None, content_type: str = "application/json", **headers: str
) -> Exchange:
    """A call as the engine would make it of this body."""
    raw = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
    spoken, path = DIALECTS[dialect], path or PATHS[dialect]
    reading = read(raw, spoken, path, {"content-type": content_type}, Limits())
    host = HostRule(id="test", match=["llm.example"], provider="test")
    x = Exchange(
        spoken, reading.call, host, Target("https", "llm.example", 443), path, cast(Any, dict(headers)),
        cast(Any, rules_ or rules()), client="10.0.0.1", body=reading.body,
    )  # fmt: skip
    x.framing = spoken.framing(x.call, path)
    return x


def sent(x: Exchange) -> bytes:
    """The body that leaves."""
    assert x.body
    return x.body.render()


def back_json(stage: Redact, x: Exchange, doc: Any) -> Any:
    """A JSON answer on its way back, as the client sees it."""
    raw = json.dumps(doc).encode()
    x.forwarded, x.status = True, 200
    x.answer = read_json(x, raw, "")
    stage.response(x)
    return json.loads(changed_json(x) or raw)


def back_stream(stage: Redact, x: Exchange, raw: bytes, sizes: Sequence[int] = (), framing: Any = Framing.SSE) -> bytes:
    """A stream on its way back, cut into chunks of these sizes, as the client sees it."""
    return b"".join(b"".join(out) for out in stream_chunks(stage, x, raw, sizes, framing))


def stream_chunks(
    stage: Redact, x: Exchange, raw: bytes, sizes: Sequence[int] = (), framing: Any = Framing.SSE
) -> list[list[bytes]]:
    """What goes to the client for each chunk, and for the end."""
    x.forwarded, x.status = True, 200
    transform = stage.stream(x)
    pairs = [(stage, transform)] if transform else []
    tap = Tap(x, framing, "", cast(Any, pairs), Guard(), lambda: None, lambda: stage.response(x) or b"")
    out, at, turn = [], 0, 0
    while at < len(raw):
        size = sizes[turn % len(sizes)] if sizes else len(raw)
        out.append(tap(raw[at : at + size]))
        at, turn = at + size, turn + 1
    out.append(tap(b""))
    return [[p for p in ([piece] if isinstance(piece, bytes) else piece) if p] for piece in out]
