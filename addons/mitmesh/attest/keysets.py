"""Issuers' public keys (JWKS), from a file or by HTTPS; kept, and read again where a key is missing."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import certifi
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet, RSAKey

# joserfc warns of short RSA keys by itself; they are left out, and the log says so.
warnings.filterwarnings("ignore", message="Key size should be >= 2048", module="joserfc")

log = logging.getLogger(__name__)

LARGEST = 512 * 1024
"""Bytes of a key set."""
SECONDS = 5
"""Time for one request. It must end before a stage's own time does."""
AGAIN = 30.0
"""Seconds between two attempts: tokens that name keys nobody has must not make us ask without end."""
OLD = 600.0
"""Seconds after which keys are read again, in the background: so long one that was withdrawn may still be good."""
LOOK = 1.0
"""Seconds between two looks at whether a file has changed."""
STALE = 24 * 3600.0
"""Keys older than that, which could not be read again since, are no longer good."""
SHORTEST_RSA = 2048
"""Bits of an RSA key (RFC 7518, section 3.3)."""
_KINDS = ("RSA", "EC", "OKP")
_MEMBERS = ("kty", "use", "key_ops", "alg", "kid", "n", "e", "crv", "x", "y")
"""What is looked at in a key. An issuer may say more of it, right or wrong, and null for what it does not say."""
_UNUSABLE = f"cannot be used: not readable, or RSA of less than {SHORTEST_RSA} bits"


class KeysUnavailable(Exception):
    """An issuer's keys are not to be had now; the message says of which source."""


@dataclass
class _Held:
    ca: str | None = None
    """A file of the CAs that its server is trusted by."""
    keys: KeySet | None = None
    read: float = 0.0
    tried: float = float("-inf")
    looked: float = float("-inf")
    stamp: tuple[int, ...] = ()
    """Of a file, when it was changed; a set that was put in its place is another."""
    left_out: int = 0
    """Keys of the set that cannot be used."""
    problem: str = ""
    task: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeySets:
    """All key sets by their source. `trust` is a file of CA certificates in place of the usual ones; `clock` gives
    seconds that only grow."""

    def __init__(self, trust: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._trust, self._clock = trust, clock
        self._held: dict[str, _Held] = {}

    def configure(self, sources: Mapping[str, str | None]) -> None:
        """Hold these, each with a file of the CAs its server is trusted by (None: the usual ones), and forget others.
        What could not be read is tried again at once: perhaps that is what changed."""
        before, self._held = self._held, {}
        for source, ca in sources.items():
            held = before.get(source)
            self._held[source] = held = held if held and held.ca == ca else _Held(ca)
            if held.problem:
                held.tried = float("-inf")

    def read_ahead(self) -> None:
        """Read in the background what was not read yet: what is wrong shows before the first token comes."""
        for source, held in self._held.items():
            if held.keys is None and (held.task is None or held.task.done()):
                held.task = asyncio.create_task(self._renew(source, held), name="issuer's keys")

    async def get(self, source: str, *, anew: bool = False) -> KeySet:
        """The keys: another object whenever they were read again. `anew`: one was missing, so read them before, if that
        is not too soon. Raises KeysUnavailable."""
        held = self._held.get(source)
        if held is None:
            raise KeysUnavailable(f"the rules no longer name {source}")
        if held.keys is None or anew or self._changed(source, held):
            await self._renew(source, held)
        elif self._clock() - held.read > OLD and (held.task is None or held.task.done()):
            held.task = asyncio.create_task(self._renew(source, held), name="issuer's keys")
        if held.keys is None or self._clock() - held.read > STALE:
            raise KeysUnavailable(f"{source}: {held.problem or 'not read yet'}")
        return held.keys

    async def _renew(self, source: str, held: _Held) -> None:
        async with held.lock:
            if self._clock() - held.tried > AGAIN:
                held.tried = self._clock()
                await self._read(source, held)

    def _changed(self, source: str, held: _Held) -> bool:
        """Is it a file that is not what was read? Then it is read at once, however lately that was done."""
        if not source.startswith("file:") or self._clock() - held.looked < LOOK:
            return False
        held.looked = self._clock()
        changed = _stamp(source) != held.stamp
        if changed:
            held.tried = float("-inf")
        return changed

    async def stop(self) -> None:
        """Ask nobody any more."""
        tasks = [held.task for held in self._held.values() if held.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def health(self) -> dict[str, Any]:
        """Of each source how old its keys are (seconds), or what is wrong."""
        now = self._clock()
        return {
            source: held.problem or (f"{now - held.read:.0f} s old" if held.keys else "not read yet")
            for source, held in self._held.items()
        }

    def problems(self) -> list[str]:
        """Of each source that cannot be read what is wrong, and what becomes of tokens meanwhile."""
        return [
            f"keys of {source} {held.problem}; {self._meanwhile(held)}"
            for source, held in self._held.items()
            if held.problem
        ]

    def _meanwhile(self, held: _Held) -> str:
        left = STALE - (self._clock() - held.read)
        if held.keys is None or left <= 0:
            return "calls with its tokens are refused"
        return f"those that were read before are good for {left / 3600:.1f} h more"

    async def _read(self, source: str, held: _Held) -> None:
        try:
            if source.startswith("file:"):
                held.stamp = _stamp(source)
                raw = await asyncio.to_thread(_path(source).read_bytes)
            else:
                raw = await self._fetched(source, held.ca or self._trust)
            before = held.left_out
            held.keys, held.left_out = _parsed(raw)
            held.read, held.problem = self._clock(), ""
            if held.left_out not in (0, before):  # it is read every few minutes
                log.warning("identity: keys of %s: %s of the set %s", source, held.left_out, _UNUSABLE)
        except (OSError, ValueError, aiohttp.ClientError, TimeoutError) as error:
            held.problem = f"cannot be read: {_said(error)}"
            # No error: while it starts, mitmproxy would end the process for one, and with it everybody's calls.
            log.warning("identity: keys of %s: %s", source, held.problem)

    async def _fetched(self, source: str, trust: str | None) -> bytes:
        context = await asyncio.to_thread(trusting, trust or certifi.where())
        timeout = aiohttp.ClientTimeout(total=SECONDS)
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=timeout) as session,
            session.get(source, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise ValueError(f"HTTP {answer.status}")
            raw = bytearray()
            async for piece in answer.content.iter_chunked(2**16):
                raw += piece
                if len(raw) > LARGEST:
                    break
            return bytes(raw)


def trusting(file: str) -> ssl.SSLContext:
    """For a client that trusts the CAs in this file (PEM). Raises OSError (ssl.SSLError is one) where it has none."""
    return ssl.create_default_context(cafile=Path(file).expanduser())


def _path(source: str) -> Path:
    return Path(source.removeprefix("file:")).expanduser()


def _stamp(source: str) -> tuple[int, ...]:
    try:
        found = _path(source).stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_ino, found.st_size


def _parsed(raw: bytes) -> tuple[KeySet, int]:
    """The public keys that sign, and how many of those that say so were left out for they cannot be used: one that
    nobody understands is no reason to do without the others (RFC 7517, section 5). Shared secrets and keys for
    encryption do not count. Raises ValueError where no key is left."""
    if len(raw) > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes")
    try:
        found = list(json.loads(raw)["keys"])
    except (KeyError, TypeError, RecursionError):
        raise ValueError("no key set (JWKS)") from None
    signing = [each for each in found if not isinstance(each, dict) or _may_sign(each)]
    kept = [key for each in signing if (key := _key(each))]
    left_out = len(signing) - len(kept)
    if not kept:
        raise ValueError("no key that signs" + (f"; {left_out} {_UNUSABLE}" if left_out else ""))
    return KeySet(kept), left_out


def _may_sign(said: dict[str, Any]) -> bool:
    return said.get("kty") in _KINDS and said.get("use") in ("sig", None)


def _key(said: Any) -> Key | None:
    """The public key that this is (JWK); None where it cannot be read, or is too short to be believed."""
    try:
        key = JWKRegistry.import_key({name: said[name] for name in _MEMBERS if said.get(name) is not None})
        short = isinstance(key, RSAKey) and key.public_key.key_size < SHORTEST_RSA
    except (JoseError, ValueError, TypeError, AttributeError, LookupError, OverflowError):
        return None
    return None if short else key


def _said(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if type(error) is ValueError else type(error).__name__
