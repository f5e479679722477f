"""Checks of single fields, as types that pydantic applies. Their messages never quote the value."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from mitmesh.egress import parse_allow
from mitmesh.hostnames import parse_host, parse_network, parse_pattern
from mitmesh.paths import compile_path
from mitmesh.stage import ORDER

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_FRAMING = frozenset({"host", "connection", "content-length", "transfer-encoding", "content-encoding", "upgrade", "te"})


def _parses(parse: Callable[[str], Any]) -> AfterValidator:
    """The text must pass `parse`, which raises ValueError with what to do."""

    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def _stage(text: str) -> None:
    if text not in ORDER:
        raise ValueError(f"must be a stage: {', '.join(ORDER)}")


def _header_name(text: str) -> None:
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be a header's name")
    if text.lower() in _FRAMING:
        raise ValueError("must not be a header that says where a message goes or how it is framed")


def _header_value(text: str) -> None:
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII in one line")


def _base_url(text: str) -> None:
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or parse_host(url.hostname) is None:
        raise ValueError("must be http:// or https:// with a host, such as https://api.example.com")
    if "@" in url.netloc or url.query or url.fragment:
        raise ValueError("must have no user, query or fragment; a key belongs into api_key")
    if text.endswith("/"):
        raise ValueError("must not end in a slash")


def _key_source(text: str) -> None:
    if not re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\s].*|none", text):
        raise ValueError("must be env:NAME, file:PATH or none; never write the key itself here")


def _regex(text: str) -> None:
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError):
        raise ValueError("must be a regular expression of Python's re module") from None
    if pattern.search("") is not None:
        raise ValueError("must not match nothing at all")


def _digits(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _number(value: object) -> object:
    """YAML's numbers with a point come as text, for prices are kept to the digit (tree.py)."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value) else value


type HostPattern = Annotated[str, _parses(parse_pattern)]
type Cidr = Annotated[str, _parses(parse_network)]
type Allowed = Annotated[str, _parses(parse_allow)]
type PathPattern = Annotated[str, _parses(compile_path)]
type StageName = Annotated[str, _parses(_stage)]
type HeaderName = Annotated[str, _parses(_header_name)]
type HeaderValue = Annotated[str, _parses(_header_value)]
type BaseUrl = Annotated[str, _parses(_base_url)]
type KeySource = Annotated[str, _parses(_key_source)]
type Dollars = Annotated[str, BeforeValidator(_digits), Field(pattern=r"^\d{1,9}(\.\d{1,9})?$")]
type Number = Annotated[float, BeforeValidator(_number)]
type PiiRegex = Annotated[str, Field(max_length=2000), _parses(_regex)]
type Word = Annotated[str, Field(min_length=1, max_length=128)]
