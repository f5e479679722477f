"""A live watch of the pods of a Kubernetes cluster: list, watch, resume, list anew; see docs/kubernetes.md."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from mitmesh.attest.apiserver import ApiServer, Refused, Rule
from mitmesh.attest.podinfo import Malformed, PodInfo
from mitmesh.attest.podlist import Gone, PodTable, WatchError
from mitmesh.attest.podwire import lines, members, parsed

STALE_SECONDS = 60.0
"""The API server was silent for longer: nobody is answered."""
BACKOFF_SECONDS = (0.5, 20.0)
"""Between two attempts, doubling; each is cut by up to a half at random, so that proxies do not come all at once."""
CONNECT_SECONDS = 5
PAGE_SECONDS = 60
PAGE = 250
"""Pods in one answer of a list."""
log = logging.getLogger(__name__)


class PodWatch:
    """The pods of a cluster in memory, as the API server tells them. `start` returns at once, whether it is there or
    not. `clock` gives seconds that only grow."""

    def __init__(
        self, rule: Rule, stale_seconds: float = STALE_SECONDS, backoff: tuple[float, float] = BACKOFF_SECONDS,
        clock: Callable[[], float] = time.monotonic, page: int = PAGE,
    ) -> None:  # fmt: skip
        self._rule, self._server = rule, ApiServer(rule)
        self._stale, self._backoff, self._clock, self._page = stale_seconds, backoff, clock, page
        self._table = PodTable(labels=[rule.team_label] if rule.team_label else [], most=rule.pods)
        self._version: str | None = None
        """Up to which version everything is known; None: list first."""
        self._heard = float("-inf")
        self._failures, self._failure = 0, ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to list and watch."""
        self._task = asyncio.create_task(self._run(), name="pods")

    async def stop(self) -> None:
        """End it. Nobody is answered afterwards."""
        self._heard = float("-inf")
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def find(self, ip: str) -> PodInfo | None:
        """The pod that has this address; None where there is none, or nothing certain is known."""
        return self._table.find(ip) if self._in_sync() else None

    def health(self) -> dict[str, Any]:
        """Whether pods are known now, how many, seconds since the API server was heard of last, and what is wrong."""
        silent = self._clock() - self._heard
        found: dict[str, Any] = {"in_sync": self._in_sync(), "pods": len(self._table)}
        if silent != float("inf"):
            found["last_heard_seconds"] = round(silent, 1)
        if problem := self._problem():
            found["problem"] = problem
        return found

    def _in_sync(self) -> bool:
        return self._clock() - self._heard <= self._stale

    def _problem(self) -> str:
        if self._task and self._task.done():
            return "the watch of pods has ended by a bug; nobody is answered: see the log, and start anew"
        if not self._in_sync():
            return f"pods are not known: {self._failure or 'not read yet'}"
        if left_out := self._table.left_out:
            return f"{left_out} pods found no room: raise `pods` ({self._rule.pods}), or set `namespace` or `node`"
        return ""

    async def _run(self) -> None:
        while True:
            wait = 0.0
            try:
                await self._once()
            except Gone:
                self._version = None
                wait = self._failed("the version was gone (410); listing anew")
            except Refused as refused:
                wait = max(self._failed(str(refused)), refused.wait)
            except (Malformed, WatchError, aiohttp.ClientError, OSError, RecursionError) as error:
                wait = self._failed(self._server.what_failed(error))
            else:
                self._failures = 0
            await asyncio.sleep(wait)

    def _failed(self, why: str) -> float:
        """Note it; return seconds to wait."""
        if why != self._failure:
            log.warning("identity: pods of %s: %s", self._rule.server, why)
        self._failure = why
        first, longest = self._backoff
        wait = min(first * 2.0 ** min(self._failures, 16), longest)
        self._failures += 1
        return wait * random.uniform(0.5, 1.0)

    async def _once(self) -> None:
        """One connection: a list if one is due, and a watch to its end."""
        async with self._server.connect() as session:
            if self._version is None or (self._table.left_out and len(self._table) < 0.9 * self._rule.pods):
                await self._list(session)
            await self._watch(session)

    async def _list(self, session: aiohttp.ClientSession) -> None:
        table, token, version = self._table.successor(), "", None
        while True:
            page = {"limit": str(self._page)} | ({"continue": token} if token else {})
            timeout = aiohttp.ClientTimeout(total=PAGE_SECONDS, sock_connect=CONNECT_SECONDS)
            token = ""
            async with self._server.pods(session, page, timeout) as content:
                async for key, value in members(content):
                    if key == "items":
                        table.listed(value)
                    elif key == "metadata":
                        version, token = _list_meta(value)
            if version is None:
                raise Malformed("no list of pods")
            if not token:
                break
        table.complete()
        self._table, self._version = table, version
        self._hear()

    async def _watch(self, session: aiohttp.ClientSession) -> None:
        # So short that the next beginning, or this end, proves in time that the API server is there: a connection that
        # a network dropped without a word looks like a cluster in which nothing happens.
        seconds = max(1, int(self._stale * random.uniform(0.5, 0.65)))
        assert self._version is not None
        asked = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        timeout = aiohttp.ClientTimeout(total=seconds + max(1.0, self._stale / 6), sock_connect=CONNECT_SECONDS)
        began = self._clock()
        async with self._server.pods(session, asked | {"resourceVersion": self._version}, timeout) as content:
            self._hear()
            async for line in lines(content):
                self._version = self._table.event(parsed(line))
                self._hear()
        if self._clock() - began < 0.5:
            raise WatchError("ended as it began")

    def _hear(self) -> None:
        if self._failure:
            log.info("identity: pods of %s: known again", self._rule.server)
        self._heard, self._failure = self._clock(), ""


def _list_meta(meta: Any) -> tuple[str, str]:
    """A list's version, and where it goes on ("": it is whole)."""
    try:
        version, token = meta["resourceVersion"], meta.get("continue") or ""
    except (KeyError, TypeError, AttributeError):
        version, token = None, ""
    if not isinstance(version, str) or not isinstance(token, str) or not version:
        raise Malformed("a list of pods without a version")
    return version, token
