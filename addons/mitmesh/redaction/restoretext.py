"""Putting the caller's own values back into a text that comes as bytes: a file that was uploaded, a batch's results."""

from __future__ import annotations

from mitmesh.redaction.nesting import Nesting
from mitmesh.redaction.placeholders import Table


class RestoreText:
    """One such answer. Only what may be the beginning of a placeholder of this call waits for the next chunk."""

    def __init__(self, table: Table) -> None:
        # Placeholders are ASCII: read as Latin-1 every byte is a character, and stays the byte it was.
        self._table = Table({name: value.encode().decode("latin-1") for name, value in table.values.items()})
        self._held = ""
        self._begun = False
        self._nesting: Nesting | None = None

    def feed(self, chunk: bytes) -> bytes:
        """See Rewrite."""
        text = self._held + chunk.decode("latin-1")
        if not self._begun and (seen := text.lstrip()):
            self._begun = True
            self._nesting = Nesting() if seen[0] in "{[" else None  # JSON lines: values are escaped as in JSON
        kept = self._table.held(text)
        self._held = text[len(text) - kept :]
        return self._table.restore(text[: len(text) - kept], self._nesting).encode("latin-1")

    def end(self) -> bytes:
        """See Rewrite."""
        held, self._held = self._held, ""
        return self._table.restore(held, self._nesting).encode("latin-1")
