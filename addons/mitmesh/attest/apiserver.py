"""How a Kubernetes API server is asked for pods: TLS, token, address, and what its refusals mean."""

from __future__ import annotations

import asyncio
import errno
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import aiohttp

from mitmesh.attest.podinfo import Malformed
from mitmesh.attest.podlist import Gone, WatchError

LARGEST_TOKEN = 64 * 1024
LONGEST_WAIT = 60.0
"""Seconds that a Retry-After is obeyed."""
_HINTS = {
    401: ": the token is not taken",
    403: ": the token's account must be allowed to get, list and watch pods (docs/kubernetes.md)",
    404: ": is `server` an API server?",
}


class Rule(Protocol):
    """What is asked of `kubernetes` in rules/identities.yaml."""

    @property
    def server(self) -> str: ...
    @property
    def ca(self) -> str: ...
    @property
    def token(self) -> str: ...
    @property
    def namespace(self) -> str | None: ...
    @property
    def node(self) -> str | None: ...
    @property
    def team_label(self) -> str | None: ...
    @property
    def pods(self) -> int: ...


class Refused(Exception):
    """The API server answered with this error status; `wait` is how long it asks us to stay away (seconds)."""

    def __init__(self, status: int, retry_after: str) -> None:
        super().__init__(f"HTTP {status}{_HINTS.get(status, '')}")
        self.wait = min(float(retry_after), LONGEST_WAIT) if re.fullmatch(r"[0-9]{1,9}", retry_after) else 0.0


class ApiServer:
    """The server that a rule names."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A session with the token and the CA as their files are now. Raises OSError."""
        token = await asyncio.to_thread(_token, self._rule.token)
        context = await asyncio.to_thread(_context, self._rule.ca)
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",  # nothing to unpack on the event loop
        }
        connector, no_cookies = aiohttp.TCPConnector(ssl=context), aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=no_cookies) as session:
            yield session

    @asynccontextmanager
    async def pods(
        self, session: aiohttp.ClientSession, asked: dict[str, str], limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """What the server answers for pods with these parameters. Raises Gone, Refused, ClientError, TimeoutError."""
        rule = self._rule
        place = f"namespaces/{quote(rule.namespace, safe='')}/pods" if rule.namespace else "pods"
        if rule.node:
            asked = asked | {"fieldSelector": f"spec.nodeName={rule.node}"}
        url = f"{rule.server}/api/v1/{place}"
        async with session.get(url, params=asked, timeout=limits, allow_redirects=False) as answer:
            if answer.status == 410:
                raise Gone
            if answer.status != 200:
                raise Refused(answer.status, answer.headers.get("Retry-After", ""))
            yield answer.content

    def what_failed(self, error: Exception) -> str:
        """What is wrong, for the log and /health: nothing that the server sent."""
        if isinstance(error, Malformed | WatchError):
            return str(error)
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
            return f"TLS fails: is its certificate signed by {self._rule.ca}, and for this name?"
        if isinstance(error, ssl.SSLError):
            return f"{self._rule.ca} is no PEM file of certificates"
        if isinstance(error, TimeoutError):
            return "no answer in time"
        if isinstance(error, aiohttp.ClientConnectorError):
            return f"cannot be reached: {error.strerror or type(error).__name__}"
        if isinstance(error, OSError) and error.filename:
            return f"{error.filename}: {error.strerror}"
        return f"the connection broke: {type(error).__name__}"


def _context(ca: str) -> ssl.SSLContext:
    """TLS that believes this CA alone. The file is read here, for ssl's own errors do not name it, and not given to
    `create_default_context`, which believes the system's CAs where it is empty."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=Path(ca).read_bytes().decode("ascii", "ignore") or " ")
    return context


def _token(path: str) -> str:
    with Path(path).open("rb") as file:
        raw = file.read(LARGEST_TOKEN)
    token = raw.decode("latin-1").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise OSError(errno.EINVAL, "holds no token", path)
    return token
