"""Open the audit's row before anything leaves; complete it at the end."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitmesh.exchange import Billing, Mode
from mitmesh.rules import Content
from mitmesh.stage import Stage
from mitmesh.store.content import answer_texts, kept, request_texts
from mitmesh.store.errors import AuditUnavailable
from mitmesh.store.ndjson import Line
from mitmesh.store.pending import Entry
from mitmesh.store.rows import OPEN, outcome_columns, request_columns, short, stamp, verdict_rows
from mitmesh.store.writer import Writer

if TYPE_CHECKING:
    from mitmesh.exchange import Connection, Exchange
    from mitmesh.rules import Rules
    from mitmesh.store.database import Row

log = logging.getLogger(__name__)


class Commit(Stage):
    """The audit. `data` is the folder of its files; `redacting` tells whether the redact stage is loaded: without it
    no text is kept, unless the rules say `text: raw`.

    finish() reads what meter found out: the engine runs it after meter's."""

    name = "commit"

    def __init__(self, data: Path, redacting: bool) -> None:
        self.writer = Writer(data)
        self.redacting = redacting

    def configure(self, rules: Rules) -> None:
        """Take durability, content and retention from the rules; says so where they ask for text that is not kept."""
        audit = rules.mesh.audit
        wanted = {audit.content, *audit.content_by_team.values()} & {Content.FULL, Content.REDACTED}
        if wanted and not self.redacting and audit.text != "raw":
            log.warning("audit: no text is kept: redact is not loaded and the rules do not say `text: raw`")
        self.writer.configure(audit)

    async def start(self) -> None:
        """Open the files. Raises AuditError."""
        await self.writer.start()

    async def stop(self) -> None:
        """Write what waits, within a deadline."""
        await self.writer.stop()

    async def request(self, x: Exchange) -> None:
        """Open the row: strict waits until it is on disk and refuses the call when it cannot be."""
        columns = request_columns(x, self.writer.hasher)
        entry = Entry((*columns, *OPEN), verdict_rows(x))
        x.notes[self.name] = columns
        if self.writer.strict:
            try:
                await self.writer.commit(entry)
            except AuditUnavailable as error:
                reason = f"the audit cannot be written ({error}), and the rules let no call leave without it; try later"
                # Enforced whatever the mode: a call that leaves without its row cannot be told of afterwards.
                kind = {"status": 503, "type": "audit_unavailable", "retry_after": 5, "mode": Mode.ENFORCE}
                x.refuse(self.name, "audit", reason, **kind)
                del x.notes[self.name]
                return
        else:
            self.writer.pending.put(entry)
        content = kept(x, redacting=self.redacting, passed=True)
        if content is not Content.NONE and x.call.texts:
            self.writer.pending.put_texts(request_texts(x, content, columns[1]))

    def finish(self, x: Exchange) -> None:
        """Complete the row, or write the whole of it for a call that did not come as far as `request`."""
        opened: Row | None = x.notes.pop(self.name, None)
        columns = opened or request_columns(x, self.writer.hasher)
        pending = self.writer.pending
        pending.put(Entry((*columns, *outcome_columns(x)), verdict_rows(x), new=opened is None))
        content = kept(x, redacting=self.redacting, passed=opened is not None)
        if content is not Content.NONE:
            if opened is None and x.call.texts:
                pending.put_texts(request_texts(x, content, columns[1]))
            if x.answer is not None and x.answer.parts:
                pending.put_texts(answer_texts(x, content, columns[1]))
        if self.writer.rules.ndjson:
            pending.put_line(_line(x, content))

    def connection(self, row: Connection) -> None:
        """Record what became of a connection."""
        self.writer.pending.put_connection(row)

    def counters(self) -> dict[str, float]:
        """For metrics: rows queued now, and since the start rows written, dropped, lost, texts dropped, failed
        batches, batches, and seconds spent in commits."""
        pending, done = self.writer.pending, self.writer.counters
        return {
            "queued": len(pending),
            "dropped": pending.dropped,
            "dropped_texts": pending.dropped_texts,
            "written": done.written,
            "lost": done.lost,
            "failures": done.failures,
            "batches": done.batches,
            "commit_seconds": done.commit_seconds,
            "interrupted": done.interrupted,
        }

    def health(self) -> dict[str, Any]:
        """The counters; while nothing can be written a `problem` where calls are refused for it, else a `warning`."""
        state: dict[str, Any] = self.counters()
        if self.writer.dead:
            state["problem"] = "the writer has ended"
        elif self.writer.failure is not None:
            state["problem" if self.writer.strict else "warning"] = f"cannot be written: {self.writer.failure}"
        return state


def _line(x: Exchange, content: Content) -> Line:
    when = stamp(x.started)
    cost = None if x.billing is Billing.SUBSCRIPTION else x.cost
    return Line(
        id=x.id, timestamp=when, namespace=x.identity.namespace, team=x.identity.team, model=short(x.call.model),
        prompt=request_texts(x, content, when), completion=answer_texts(x, content, when),
        total_tokens=x.usage.total if x.usage else None, cost=cost, status=x.status,
        outcome=x.outcome.value if x.outcome else None,
    )  # fmt: skip
