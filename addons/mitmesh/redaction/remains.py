"""What an answer says where its dialect has no text position: in fields that are new or unknown, in names and ids.

Never touched, there as elsewhere: what a provider signed or encrypted, and media.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any

from mitmesh.dialects.base import AnswerText, Kind, Path
from mitmesh.dialects.openai_texts import MEDIA, is_media
from mitmesh.dialects.walk import count, is_sealed

_SIGNATURES = frozenset({"signature", "thoughtSignature", "thought_signature"})
_SEALED = _SIGNATURES | {"encrypted_content", "encryptedContent", "encrypted_index", "data"}
_WALKED = (str, dict, list)
_LEAST_SEALED = 32
"""Characters of the shortest signature."""
_MEDIA = MEDIA | {"thumbnail", "bytes", "partial_image_b64"}
_THINKING = frozenset({"thinking", "redacted_thinking", "thinking_delta", "signature_delta"})
"""Types of what Anthropic signs as a whole."""
_NAMES = frozenset({"role", "id", "call_id", "type", "name", "format", "index", "object", "model"})
"""Fields of a delta that come whole; others may be pieces of a text."""
MAY_BE_SIGNED = frozenset({"reasoning_details"})
"""OpenRouter's: in a stream the signature comes behind what it signs."""
TOKENS = frozenset({"logprobs", "logprobsResult"})
"""Where an answer says itself once more, token by token."""


def remains(doc: Any, taken: Iterable[Path], skip: Set[str] = frozenset()) -> list[AnswerText]:
    """Every string of an answer or event but those at the paths in `taken` and below fields in `skip`. Each is a text
    of its own (an empty channel), but for those of a delta of Chat Completions, which continue what stood at the same
    place before."""
    known, found = set(taken), []
    todo: list[tuple[Path, Any]] = [((), doc)]
    while todo:
        path, node = todo.pop()
        if isinstance(node, list):
            todo += [((*path, n), node[n]) for n in range(len(node) - 1, -1, -1) if isinstance(node[n], _WALKED)]
        elif isinstance(node, dict):
            if node.get("type") in _THINKING:
                continue
            signed = any(_is_sealed(node[key]) for key in _SIGNATURES & node.keys())
            for key in reversed(node):
                if isinstance(below := node[key], str):
                    if signed or (key in _SEALED and _is_sealed(below)) or (key in _MEDIA and is_media(below)):
                        continue
                elif not isinstance(below, _WALKED) or key in skip:
                    continue
                todo.append(((*path, key), below))
        elif node and path not in known:
            found.append(AnswerText(path, _channel(doc, path), Kind.OPAQUE, node))
    return found


def _is_sealed(value: Any) -> bool:
    return isinstance(value, str) and len(value) >= _LEAST_SEALED and is_sealed(value)


def _channel(doc: Any, path: Path) -> str:
    if len(path) < 4 or path[0] != "choices" or path[2] != "delta" or path[-1] in _NAMES:
        return ""
    return f"{count(doc['choices'][path[1]].get('index'))}.~{'.'.join(map(str, path[3:]))}"


def token_lists(doc: Any) -> list[tuple[Path, Any]]:
    """Where an answer has TOKENS, and what may stand there instead: a value that lies in several tokens is found in
    none of them."""
    found: list[tuple[Path, Any]] = []
    todo: list[tuple[Path, Any]] = [((), doc)]
    while todo:
        path, node = todo.pop()
        for key, below in node.items() if isinstance(node, dict) else enumerate(node):
            if not isinstance(below, (dict, list)):
                continue
            if key not in TOKENS:
                todo.append(((*path, key), below))
            elif below:
                found.append(((*path, key), [] if isinstance(below, list) else None))
    return found
