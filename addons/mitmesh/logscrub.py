"""Keep credentials out of every log line, mitmproxy's own included, and whatever bytes a client or provider sent.

A filter on a logger does not see its children's records and handlers come and go, so the text is cleaned where every
record is made: in the record factory.
"""

from __future__ import annotations

import logging
import re
import traceback
from typing import Any

_PORT = r"[0-9]{1,5}@(?:(?:127\.0\.0\.1|localhost|\[::1\]):)?[0-9]{1,5}(?![\w.:-])"
"""After a host's name: its port and where we listen, as mitmproxy writes modes (`upstream:http://proxy:3128@8080`)."""
_SECRETS = re.compile(
    rf"""
    (?P<bytes> \bb' (?:[^'\\]++|\\.)*+ '? | \bb" (?:[^"\\]++|\\.)*+ "? )     # what a peer sent, quoted by Python
    | (?P<keep> [?&](?:key|api[-_]?key|access_token|token|sig|signature|code)=   # query strings
      | (?:authorization|x-api-key|x-goog-api-key|api-key|subscription-key|proxy-authorization)   # headers
        ["']?\s*[:=,]\s*["']?
        (?:(?:bearer|basic)\s+)?
      | \bbearer\s+ ) [^\s"'&,;)]+
    | (?P<cookie> cookie["']?\s*[:=,]\s*["']? ) [^"'\n]+                                # a list with spaces
    | (?P<user> ://[^/\s:@]*: ) (?!{_PORT}) [^/\s@]+ (?=@)                                  # https://user:password@host
    | \b(?:sk|pk|rk|mk|gsk|xai|hf|pplx|ghp|gho|ghs|github_pat)[-_][A-Za-z0-9_\-]{{8,}}   # provider keys
    | \bAIza[A-Za-z0-9_\-]{{20,}}
    """,
    re.IGNORECASE | re.VERBOSE,
)

_LOGIN = re.compile(r"Web server listening at http://[^\s?]+/\?token=[0-9a-f]+\s*")


def scrub(text: str) -> str:
    """The text with whatever looks like a credential, and the `repr` of any bytes, replaced by `***`.

    mitmproxy quotes what it could not parse: the head of a request, what followed an answer's end."""
    return _SECRETS.sub(_stars, text)


def _stars(found: re.Match[str]) -> str:
    if found["bytes"] is not None:
        return "b'***'"
    return (found["keep"] or found["cookie"] or found["user"] or "") + "***"


def _is_login(record: logging.LogRecord, text: str) -> bool:
    """Is it mitmweb telling the person at the terminal how to log in? Nothing but its own link is in that line."""
    return record.name == "mitmproxy.tools.web.master" and _LOGIN.fullmatch(text) is not None


def install() -> None:
    """Make every log record of this process go through `scrub`. Calling it again changes nothing."""
    current = logging.getLogRecordFactory()
    if getattr(current, "scrubs", False):
        return

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = current(*args, **kwargs)
        text = record.getMessage()
        record.msg, record.args = (text if _is_login(record, text) else scrub(text)), ()
        if record.exc_info and record.exc_info[0]:
            record.exc_text = scrub("".join(traceback.format_exception(*record.exc_info)).rstrip())
        return record

    factory.scrubs = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)
