"""A request's headers as the stages see them: a plain dict with names in lower case.

mitmproxy's own take a few microseconds for each look. Stages look a dozen times at every call and rarely change one;
the changes alone are carried back, so that all other headers leave as they came, with spelling, order and repetition.
"""

from __future__ import annotations

from mitmproxy import http


def snapshot(headers: http.Headers) -> dict[str, str]:
    """All headers by lower-case name; a repeated one's values joined by `, `."""
    seen: dict[str, str] = {}
    for raw_name, raw_value in headers.fields:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("utf-8", "surrogateescape")
        seen[name] = f"{seen[name]}, {value}" if name in seen else value
    return seen


def carry_back(before: dict[str, str], after: dict[str, str], headers: http.Headers) -> None:
    """Make the changes from `before` to `after` in `headers`."""
    if before == after:
        return
    for name in before.keys() - after.keys():
        headers.pop(name, None)  # an addon of mitmproxy may have been there first
    for name, value in after.items():
        if before.get(name) != value:
            headers[name] = value


def put(headers: http.Headers, new: dict[str, str], *, prefix: bytes) -> None:
    """Set the `new` headers, and drop all others whose name begins with `prefix` (lower case)."""
    kept = tuple(field for field in headers.fields if not field[0].lower().startswith(prefix))
    ours = ((name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in new.items())
    headers.fields = (*kept, *ours)
