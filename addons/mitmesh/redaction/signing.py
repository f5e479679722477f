"""AWS Signature Version 4 over a body that was changed.

As https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html describes it. Region and
service are those the client signed for; the credentials are ours, for we do not have the client's secret.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, quote, urlsplit

_SCOPE = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/,\s]+/\d{8}/(?P<region>[\w-]+)/(?P<service>[\w-]+)/aws4_request\b")
_SAFE = "-_.~"


@dataclass(frozen=True)
class Credentials:
    """An AWS key."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


class CannotSign(ValueError):
    """The client's signature is none whose scope we can read."""


def is_signed(headers: Mapping[str, str]) -> bool:
    """Did the client sign this request's body?"""
    return headers.get("authorization", "").startswith("AWS4-")


def sign(
    method: str, host: str, path: str, headers: Mapping[str, str], body: bytes, key: Credentials, when: datetime
) -> dict[str, str]:
    """The headers to set so that the request is validly signed at `when` (UTC). `path` with its query, as on the wire.
    Raises CannotSign."""
    scope = _SCOPE.match(headers.get("authorization", ""))
    if scope is None:
        raise CannotSign("the Authorization header has no scope that can be read")
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
