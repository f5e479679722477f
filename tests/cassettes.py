"""Recorded calls of real providers (data/cassettes), as plain values.

`calls("chat_plain")` gives the calls of one recording in order; `names("openai")` the recordings that hold a call to a
host with that word in it. The files are VCR YAML; see data/cassettes/SOURCE.txt for where they come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML

FOLDER = Path(__file__).parent / "data" / "cassettes"


@dataclass(frozen=True)
class Recorded:
    """One recorded call. `doc` and `answer` are parsed JSON, None where a body was none; `stream` is the answer's raw
    text where it was one (`answer` is None then). Header names are lower-case, of several values the first is kept."""

    method: str
    uri: str
    headers: Mapping[str, str]
    doc: Any
    status: int
    answer_headers: Mapping[str, str]
    answer: Any
    stream: bytes

    @property
    def host(self) -> str:
        """The host that was called."""
        return urlsplit(self.uri).netloc

    @property
    def path(self) -> str:
        """Path and query, as a request line has them."""
        parts = urlsplit(self.uri)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    @property
    def body(self) -> bytes:
        """The request's body as compact JSON, empty where there was none."""
        return b"" if self.doc is None else json.dumps(self.doc, ensure_ascii=False, separators=(",", ":")).encode()


@cache
def calls(name: str) -> tuple[Recorded, ...]:
    """The calls of data/cassettes/`name`.yaml, in order. Parsed once per test run: do not change what you get."""
    document = YAML(typ="safe").load(FOLDER / f"{name}.yaml")
    return tuple(_recorded(entry["request"], entry["response"]) for entry in document["interactions"])


def names(host: str = "") -> list[str]:
    """Names of the recordings with a call to a host that has `host` in it, sorted."""
    return sorted(
        file.stem for file in FOLDER.glob("*.yaml") if not host or any(host in call.host for call in calls(file.stem))
    )


def _recorded(request: Mapping[str, Any], response: Mapping[str, Any]) -> Recorded:
    raw = (response.get("body") or {}).get("string") or ""
    return Recorded(
        method=request["method"],
        uri=request["uri"],
        headers=_headers(request),
        doc=request.get("parsed_body"),
        status=response["status"]["code"],
        answer_headers=_headers(response),
        answer=response.get("parsed_body"),
        stream=raw.encode() if isinstance(raw, str) else raw,
    )


def _headers(message: Mapping[str, Any]) -> dict[str, str]:
    return {name.lower(): values[0] for name, values in (message.get("headers") or {}).items()}
