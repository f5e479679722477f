"""Issuers' public keys (JWKS), from a file or by HTTPS; kept, and read again where a key is missing."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import certifi
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

log = logging.getLogger(__name__)

LARGEST = 512 * 1024
"""Bytes of a key set."""
SECONDS = 5
"""Time for one request. It must end before a stage's own time does."""
AGAIN = 30.0
"""Seconds between two attempts: tokens that name keys nobody has must not make us ask without end."""
HOUR = 3600.0
STALE = 24 * HOUR
"""Keys older than that, which could not be read again since, are no longer good."""
_KINDS = ("RSA", "EC", "OKP")


class KeysUnavailable(Exception):
    """An issuer's keys are not to be had now; the message says of which source."""


@dataclass
class _Held:
    keys: KeySet | None = None
    read: float = 0.0
    tried: float = float("-inf")
    problem: str = ""


class KeySets:
    """All key sets by their source. `trust` is a file of CA certificates in place of the usual ones; `clock` gives
    seconds that only grow."""

    def __init__(self, trust: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._trust, self._clock = trust, clock
        self._held: dict[str, _Held] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    def configure(self, sources: Iterable[str]) -> None:
        """Hold these, and forget others."""
        self._held = {source: self._held.get(source, _Held()) for source in sources}
        self._locks = {source: self._locks.get(source) or asyncio.Lock() for source in self._held}

    async def get(self, source: str, *, anew: bool = False) -> KeySet:
        """The keys; `anew`: one was missing, so read them again, if that is not too soon. Raises KeysUnavailable."""
        held = self._held.get(source)
        if held is None:
            raise KeysUnavailable(f"the rules no longer name {source}")
        if anew or held.keys is None or self._clock() - held.read > HOUR:
            async with self._locks[source]:
                if self._clock() - held.tried > AGAIN:
                    held.tried = self._clock()
                    await self._read(source, held)
        if held.keys is None or self._clock() - held.read > STALE:
            raise KeysUnavailable(f"{source}: {held.problem or 'not read yet'}")
        return held.keys

    def health(self) -> dict[str, Any]:
        """Of each source how old its keys are (seconds), or what is wrong."""
        now = self._clock()
        return {
            source: held.problem or (f"{now - held.read:.0f} s old" if held.keys else "not read yet")
            for source, held in self._held.items()
        }

    async def _read(self, source: str, held: _Held) -> None:
        try:
            if source.startswith("file:"):
                raw = await asyncio.to_thread(_of_file, source.removeprefix("file:"))
            else:
                raw = await self._fetched(source)
            held.keys, held.read, held.problem = _parsed(raw), self._clock(), ""
        except (OSError, ValueError, aiohttp.ClientError, TimeoutError) as error:
            held.problem = f"cannot be read: {_said(error)}"
            log.error("identity: keys of %s: %s", source, held.problem)

    async def _fetched(self, source: str) -> bytes:
        context = await asyncio.to_thread(ssl.create_default_context, cafile=self._trust or certifi.where())
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=timeout) as session,
            session.get(source, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"HTTP {answer.status}")
            return await answer.content.read(LARGEST + 1)


def _of_file(path: str) -> bytes:
    return Path(path).expanduser().read_bytes()


def _parsed(raw: bytes) -> KeySet:
    """The public keys that sign; others in the set (shared secrets, keys for encryption) are left out."""
    if len(raw) > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes")
    try:
        found = json.loads(raw)["keys"]
        kept = [key for key in found if key.get("kty") in _KINDS and key.get("use", "sig") == "sig"]
        if not kept:
            raise ValueError("no key that signs")
        return KeySet.import_key_set({"keys": kept})
    except (KeyError, TypeError, AttributeError, JoseError):
        raise ValueError("no key set (JWKS)") from None


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if type(error) is ValueError else type(error).__name__
