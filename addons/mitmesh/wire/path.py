"""Request paths: one spelling for each."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_END = re.compile(r"[?#]")
_WEIRD = re.compile(r"[\x00-\x20\x7f%?#]")
_LONGEST = 2048


def normalise(path: str) -> str | None:
    """A path as servers read it: without query, fragment and `;params`, percent-decoded once, `\\` as `/`, without
    empty, `.` and `..` segments and trailing slash, in lower case (Azure ignores case). None where servers may differ.
    """
    path = _END.split(path, maxsplit=1)[0]
    if not path.startswith("/") or len(path) > _LONGEST:
        return None
    if "%" in path:
        try:
            path = unquote_to_bytes(path).decode()
        except UnicodeDecodeError:
            return None
    if _WEIRD.search(path):
        return None
    segments: list[str] = []
    for segment in path.replace("\\", "/").lower().split("/"):
        segment = segment.partition(";")[0]
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return "/" + "/".join(segments)
