"""The tables of the rules that name the dialect spoken at a path, and paths at which no model runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from mitmesh.wire.path import normalise

if TYPE_CHECKING:
    from mitmesh.rules import PathRule

_DATA = re.compile(
    r"/(files|uploads|moderations|conversations|vector_stores|oauth|traces|telemetry|guardrail)(/|$)"
    r"|/event_logging/|/claude_code/|[/:]cancel$|/v1/(rgstr|initialize)$|/check-api-key$"
    r"|/api/(show|pull|push|create|copy|delete|ps|tags|version)$"  # Ollama's
    r"|:(loadCodeAssist|onboardUser|recordCodeAssistMetrics)$"
)
_ODD = re.compile(r"//|/\.|[;\\%]")
"""A path that a provider may read as another one is not known to be anything."""


def is_about_data(path: str, provider: str) -> bool:
    """Is a path (with its query) about files, cancelling, telemetry, where no model runs?"""
    path = path.partition("?")[0].rstrip("/")
    if provider == "mistral" and "/conversations" in path:
        return False  # OpenAI's only keep what is said
    return _DATA.search(path) is not None and _ODD.search(path) is None


def compile_path(pattern: str) -> re.Pattern[str]:
    """A path pattern of the rules, to be matched in full against a normalised path; ValueError says what is wrong.

    `*` is one segment or a part of one, `**` any number of segments.
    """
    if not pattern.startswith(("/", "**/")) or "?" in pattern or "#" in pattern:
        raise ValueError("must begin with `/` or `**/` and have no query")
    regex = ""
    for segment in pattern.strip("/").lower().split("/"):
        if segment == "**":
            regex += "(?:/[^/]+)*"
        elif "**" in segment:
            raise ValueError("`**` stands for whole segments")
        elif segment == "*":
            regex += "/[^/]+"
        else:
            regex += "/" + re.escape(segment).replace(r"\*", "[^/]*")
    return re.compile(regex + "/?")  # only the root keeps its slash


class PathTable:
    """One table of `apis` in rules/hosts.yaml, compiled."""

    def __init__(self, rules: Iterable[PathRule]) -> None:
        self._rules = [(rule.method.upper(), compile_path(rule.path), rule.dialect) for rule in rules]
        # Paths carry ids, so the cache is bounded in number here and in length below.
        self._known = lru_cache(maxsize=1024)(self._find)

    def find(self, method: str, path: str) -> str | None:
        """The dialect of the first rule that fits, or None."""
        return self._known(method, path) if len(path) < 256 else self._find(method, path)

    def _find(self, method: str, path: str) -> str | None:
        usual = normalise(path)
        if usual is None:
            return None
        method = method.upper()
        return next((d for m, regex, d in self._rules if m in ("*", method) and regex.fullmatch(usual)), None)


def find_path(table: PathTable, method: str, path: str) -> str | None:
    """The dialect spoken at a path (which may have a query), or None: the caller falls back to generic."""
    return table.find(method, path)
