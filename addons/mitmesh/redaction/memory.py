"""What was found in texts searched before: agents send the whole conversation again on every turn."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from hashlib import blake2b

from mitmesh.redaction.findings import Finding

_NOTHING: list[Finding] = []
"""What was found in most texts; one list for all of them saves a third of their memory."""
_ENTRY, _FINDING = 250, 160
"""Bytes that an entry and each of its findings take, roughly, measured with sys.getsizeof."""


class Memory:
    """Findings by a keyed hash of the text, never the text; the key is this process's own. Holds at most `limit` bytes,
    and forgets what was not asked for the longest."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._keyed = blake2b(digest_size=16, key=secrets.token_bytes(32))
        self._found: OrderedDict[bytes, list[Finding]] = OrderedDict()

    def key(self, text: str) -> bytes:
        """The text's keyed hash."""
        hashed = self._keyed.copy()  # takes a third less time than to begin with the key
        hashed.update(text.encode("utf-8", "surrogatepass"))
        return hashed.digest()

    def get(self, key: bytes) -> list[Finding] | None:
        """What was found in the text, or None where it is not remembered."""
        found = self._found.get(key)
        if found is not None:
            self._found.move_to_end(key)
        return found

    def put(self, key: bytes, found: list[Finding]) -> None:
        """Remember it."""
        old = self._found.pop(key, None)
        if old is not None:
            self.bytes -= _size(old)
        self._found[key] = found or _NOTHING
        self.bytes += _size(found)
        while self.bytes > self.limit and self._found:
            self.bytes -= _size(self._found.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget everything."""
        self._found.clear()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._found)


def _size(found: list[Finding]) -> int:
    return _ENTRY + _FINDING * len(found)
