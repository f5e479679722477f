"""The strings of an OpenAI-shaped request: which are texts, which mere identifiers, which media or sealed.

A string is always one of the three, so nothing passes unseen: identifiers only under the keys in IDENTIFIERS or
SETTINGS and only where they look like one, media and sealed parts are counted, everything else is a text position.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from mitmesh.dialects.base import Call, Path, Provenance, Text
from mitmesh.dialects.walk import SCHEMA_TYPES, is_sealed, size, strings

# fmt: off
IDENTIFIERS = frozenset({
    "type", "role", "id", "call_id", "tool_call_id", "file_id", "image_id", "container_id", "item_id",
    "approval_request_id", "status", "phase", "model", "detail", "format", "ttl", "object", "execution",
})
"""Keys of messages, parts, items and tools whose value is a name of the API or an id, and no text, if it looks so."""
SETTINGS = IDENTIFIERS | {
    "service_tier", "reasoning_effort", "tool_choice", "truncation", "encoding_format", "verbosity",
    "prompt_cache_retention", "previous_response_id", "conversation", "modalities", "include", "effort", "summary",
    "generate_summary", "context", "mode", "search_context_size", "voice", "reasoning",
}
"""The same for a call's settings, outside of messages and tools."""
# fmt: on
UNKNOWN: frozenset[str] = frozenset()
"""No identifiers: what is below a field we do not know."""

SEALED = frozenset({"encrypted_content", "signature", "thought_signature", "redacted_thinking"})
"""Keys of what a provider signed or encrypted: never touched, or it is rejected when it is sent back. That holds in the
provider's own messages, where it looks so."""
MEDIA = frozenset({"url", "image_url", "video_url", "audio_url", "file_url", "file_data", "data", "result", "b64_json"})
"""Keys that may hold base64 or a `data:` URL. What is neither is a text."""
LINKS = frozenset({"url", "image_url", "video_url", "audio_url", "file_url"})
"""Keys whose text is where to find something, so metadata."""
FREE = frozenset({"parameters", "schema", "input_schema", "output_schema", "arguments", "metadata", "attributes"})
"""Keys of documents that are not the API's own: below them no key means anything, every string is a text."""

_SPECIAL = SETTINGS | SEALED | MEDIA | {"arguments"}
_IDENTIFIER = re.compile(r"(?=[^A-Za-z]*[A-Za-z])[A-Za-z0-9_.:/-]{1,128}")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-\r\n"
_SHORTEST_MEDIA = 64
"""Characters; raw base64 shorter than this may as well be a word."""
_LONG_MEDIA = 512
"""Characters; longer is no token and no signature."""


def is_identifier(value: str) -> bool:
    """Does it look like an id or a name of the API: no spaces, no `@`, not digits alone, at most 128 characters?"""
    return _IDENTIFIER.fullmatch(value) is not None


def is_media(value: str) -> bool:
    """Is it base64, bare or in a `data:` URL, to its last character?"""
    if value.startswith("data:"):
        start = value.find(";base64,", 0, 256)
        return start > 0 and " " not in value[:start] and not _besides_base64(value[start + 8 :])
    return len(value) >= _SHORTEST_MEDIA and not _besides_base64(value)


def is_long_media(value: str) -> bool:
    """The same of a text whose key does not say so: longer than tokens and signatures are, and no number."""
    return len(value) > _LONG_MEDIA and is_media(value) and (value.startswith("data:") or is_sealed(value))


def _besides_base64(value: str) -> bool:
    return not value.isascii() or bool(value.encode().translate(None, _BASE64))


class Finder:
    """Collects the text positions of one request and counts its opaque bytes.

    `names` of its methods are the keys that may hold identifiers; None means a document of its own (a schema, a tool's
    arguments), in which no key has a meaning. `provider`: is what is walked now the provider's own?
    """

    __slots__ = ("metadata", "opaque", "provider", "spoken", "token_bytes", "token_ids")

    def __init__(self) -> None:
        self.spoken: list[Text] = []
        self.metadata: list[Text] = []
        self.opaque = self.token_ids = self.token_bytes = 0
        self.provider = False

    @property
    def texts(self) -> list[Text]:
        """All that was found: the conversation in the order it was walked, then metadata."""
        return self.spoken + self.metadata

    def walk(
        self,
        value: Any,
        path: Path,
        provenance: Provenance,
        message: int = -1,
        names: frozenset[str] | None = IDENTIFIERS,
    ) -> None:
        """Sort every string at and below `value`. Iterative: as deep as the document goes."""
        if type(value) is str:
            self._sort(value, path, _last_key(path), provenance, message, names)
            return
        key = _last_key(path) if type(value) is list else ""
        todo: list[tuple[Path, Any, str, frozenset[str] | None]] = [(path, value, key, names)]
        while todo:
            at, item, key, known = todo.pop()
            kind = type(item)
            if kind is str:
                self._sort(item, at, key, provenance, message, known)
            elif kind is list:
                todo += [((*at, i), item[i], key, known) for i in range(len(item) - 1, -1, -1)]
            elif kind is dict:
                todo += [
                    ((*at, k), v, k, None if k in FREE and type(v) is not str else known)
                    for k, v in reversed(item.items())
                    if type(v) in _WALKED
                ]

    def _sort(
        self, value: str, at: Path, key: str, provenance: Provenance, message: int, names: frozenset[str] | None
    ) -> None:
        is_json = False
        if names is None:
            if key == "type" and value in SCHEMA_TYPES and provenance is Provenance.TOOL_DEFINITION:
                return
        elif key in _SPECIAL:
            if key in names and _IDENTIFIER.fullmatch(value):
                return
            if (key in SEALED and self.provider and is_sealed(value)) or (key in MEDIA and is_media(value)):
                self.opaque += size(value)
                return
            if key in LINKS:
                provenance, message = Provenance.METADATA, -1
            is_json = key == "arguments" and provenance is Provenance.TOOL_CALL
        if value:
            into = self.metadata if provenance is Provenance.METADATA else self.spoken
            into.append(Text(at, provenance, value, message, is_json))

    def text(self, value: str, at: Path, provenance: Provenance, message: int) -> None:
        """One text position of the conversation; an empty string is none."""
        if value:
            self.spoken.append(Text(at, provenance, value, message))

    def seal(self, value: Any) -> None:
        """Count all strings at and below `value` as opaque."""
        self.opaque += sum(size(text) for _, text in strings(value))

    def tokens(self, value: list[Any]) -> None:
        """Count the numbers in `value`, and in the lists of it: a prompt given as tokens, or several. Opaque."""
        for listed in (value, *(one for one in value if isinstance(one, list))):
            if numbers := [one for one in listed if isinstance(one, (int, float))]:
                self.token_ids += len(numbers)
                self.token_bytes += len(str(numbers))

    def fill(self, call: Call) -> None:
        """Tell the call what was found."""
        call.texts, call.token_ids, call.token_bytes = self.texts, self.token_ids, self.token_bytes
        call.opaque_bytes = self.opaque + self.token_bytes

    def fields(self, doc: dict[str, Any], done: Iterable[str]) -> None:
        """A request's other top-level fields: settings, and whatever we do not know, are metadata."""
        for key, value in doc.items():
            if type(value) in _WALKED and key not in done:
                names = None if key in FREE else SETTINGS if key in SETTINGS else UNKNOWN
                self.walk(value, (key,), Provenance.METADATA, -1, names)


_WALKED = (str, dict, list)


def _last_key(path: Path) -> str:
    last = path[-1] if path else ""
    return last if isinstance(last, str) else next((step for step in reversed(path) if isinstance(step, str)), "")
