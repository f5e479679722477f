"""AWS Signature Version 4 over a body that was changed.

As https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html describes it. Region and
service are those the client signed for; the credentials are ours, for we do not have the client's secret. And for the
same reason nobody can tell whether the client's signature was worth anything: so ours is good for Bedrock alone.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

if TYPE_CHECKING:
    from mitmesh.exchange import Target

_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/,\s]+/\d{8}/(?P<region>[\w-]+)/(?P<service>[\w-]+)/aws4_request\b")
_SAFE = "-_.~"
SERVICES = frozenset({"bedrock", "bedrock-mantle"})
"""What we sign for; the first is the name of Bedrock's runtimes too."""
_AWS = re.compile(
    r"(?:[\w-]+\.)?bedrock(?:-[a-z]+)*\.(?P<region>[a-z0-9-]+)\.(?:(?:vpce\.)?amazonaws\.com(?:\.cn)?|api\.aws)",
    re.ASCII,
)
"""Bedrock's own hosts."""
_IN_URL = re.compile(r"[?&](?:x|%78)(?:-|%2d)amz(?:-|%2d)signature=", re.IGNORECASE)


@dataclass(frozen=True)
class Credentials:
    """An AWS key."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class CannotSign(ValueError):
    """This request is none that we sign; the message says why."""


def is_signed(headers: Mapping[str, str], path: str) -> bool:
    """Did the client sign this request's body? In its headers, or in its URL (`path` with its query)."""
    return headers.get("authorization", "")[:5].upper() == "AWS4-" or _in_url(path)


def _in_url(path: str) -> bool:
    return "=" in path and _IN_URL.search(path) is not None


def permit(headers: Mapping[str, str], path: str, target: Target | None, *, is_bedrock: bool) -> str:
    """May our credentials sign this request? Only for Bedrock, at AWS's own hosts for the host's region, and where
    `is_bedrock` says that the rules call this host Bedrock. Returns the host to sign for. Raises CannotSign."""
    if target is None:
        raise CannotSign("calls to the gateway are not signed again")
    if _in_url(path):
        raise CannotSign("a signature in the URL is not made anew: sign in the headers")
    scope, aws = _scope(headers), _AWS.fullmatch(target.proven.lower())
    if aws is None and not is_bedrock:
        raise CannotSign("this host is not Bedrock, for which alone we sign")
    if scope["service"] not in SERVICES:
        raise CannotSign("it was signed for another service than Bedrock, for which alone we sign")
    if aws and aws["region"] != scope["region"]:
        raise CannotSign("it was signed for another region than its host's")
    usual = {"https": 443, "http": 80}.get(target.scheme) == target.port
    host = headers.get("host") or (target.name if usual else f"{target.name}:{target.port}")
    if host.lower() not in (target.name.lower(), f"{target.name.lower()}:{target.port}"):
        raise CannotSign("its Host header names another host")
    return host


def _scope(headers: Mapping[str, str]) -> re.Match[str]:
    if scope := _SCOPE.match(headers.get("authorization", "")):
        return scope
    raise CannotSign("the Authorization header has no scope that can be read")


def sign(
    method: str, host: str, path: str, headers: Mapping[str, str], body: bytes, key: Credentials, when: datetime
) -> dict[str, str]:
    """The headers to set so that the request is validly signed at `when` (UTC). `path` with its query, as on the wire.
    Raises CannotSign."""
    scope = _scope(headers)
    stamp = when.strftime("%Y%m%dT%H%M%SZ")
    new = {"x-amz-date": stamp}
    if headers.get("x-amz-content-sha256"):
        new["x-amz-content-sha256"] = hashlib.sha256(body).hexdigest()
    if key.session_token:
        new["x-amz-security-token"] = key.session_token
    signed = {"host": host, **_kept(headers), **new}
    names = ";".join(sorted(signed))
    lines = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in sorted(signed))
    url = urlsplit(path)
    request = "\n".join(
        (method, quote(url.path or "/", safe="/" + _SAFE), _query(url.query), lines, names, _sha256(body))
    )
    place = f"{stamp[:8]}/{scope['region']}/{scope['service']}/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", stamp, place, _sha256(request.encode())))
    secret = f"AWS4{key.secret_key}".encode()
    for step in place.split("/"):
        secret = hmac.digest(secret, step.encode(), "sha256")
    signature = hmac.digest(secret, text.encode(), "sha256").hex()
    new["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key.access_key}/{place}, SignedHeaders={names}, Signature={signature}"
    )
    return new


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """What is signed of the client's headers: not those that we, or proxies after us, may change."""
    names = {name.lower(): value for name, value in headers.items()}
    dropped = ("x-amz-date", "x-amz-security-token")
    return {n: v for n, v in names.items() if (n.startswith("x-amz-") or n == "content-type") and n not in dropped}


def _query(query: str) -> str:
    pairs = sorted((quote(k, safe=_SAFE), quote(v, safe=_SAFE)) for k, v in parse_qsl(query, keep_blank_values=True))
    return "&".join(f"{key}={value}" for key, value in pairs)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
