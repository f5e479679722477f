"""The ledger of several machines: Redis. One Lua call a decision, by Redis' own clock where leases are concerned."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from mitmesh.quotas.ledger import DEFERRED, REFUSED, Count, Grant, Key, LedgerAway, Standing, Want

PREFIX = "{mitmesh}:quota:"
"""Every key begins with it; the braces keep them on one node of a cluster."""
SECONDS = 2.0
"""How long Redis has to answer."""
CONNECTIONS = 16
"""At most so many to Redis; who finds none free waits."""
_LUA = (Path(__file__).parent / "ledger.lua").read_text()


class RedisLedger:
    """The ledger in Redis at `url`. `clock` (seconds since 1970) stands in for Redis' own in tests."""

    meanwhile = REFUSED

    def __init__(self, url: str, clock: Callable[[], float] | None = None, prefix: str = PREFIX) -> None:
        # No retries: a decision that was carried out and whose answer was lost must not be made twice.
        pool = BlockingConnectionPool.from_url(
            url,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            retry=Retry(NoBackoff(), 0),
            max_connections=CONNECTIONS,
            timeout=SECONDS,
        )
        self._redis: Redis = Redis(connection_pool=pool)
        self._script, self._clock, self._prefix = self._redis.register_script(_LUA), clock, prefix

    async def reserve(self, call: str, wants: Sequence[Want], lease: int) -> list[Standing]:
        """See Ledger."""
        found = await self._run("reserve", call=call, lease=lease, wants=[_asked(want) for want in wants])
        return [
            Standing(used, reserved, granted, bool(over), None if leaves < 0 else leaves)
            for used, reserved, granted, over, leaves in found
        ]

    async def settle(self, call: str, spent: Mapping[str, int]) -> None:
        """See Ledger."""
        await self._run("settle", call=call, spent=dict(spent))

    async def beat(self, calls: Sequence[str], lease: int) -> list[str]:
        """See Ledger."""
        return [call.decode() for call in await self._run("beat", calls=list(calls), lease=lease)]

    def holds(self, call: str) -> bool:
        """No."""
        return False

    async def counts(self) -> list[Count]:
        """See Ledger."""
        found: list[Count] = []
        for key, flat in await self._run("counts"):
            fields = {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}
            for slot in sorted({int(name[2:]) for name in fields}):
                used, reserved = fields.get(f"u:{slot}", 0), fields.get(f"r:{slot}", 0)
                found.append(Count(Key.of(key.decode()), slot, used, reserved))
        return found

    async def grants(self) -> list[Grant]:
        """See Ledger."""
        return sorted((Grant(**json.loads(text)) for text in await self._run("grants")), key=lambda grant: grant.id)

    async def grant(self, grant: Grant) -> None:
        """See Ledger."""
        await self._run("grant", limit=grant.limit, id=grant.id, text=json.dumps(asdict(grant)))

    async def revoke(self, grant: str) -> bool:
        """See Ledger."""
        return bool(await self._run("revoke", grant=grant))

    async def defer(self, answer: str, told: str) -> None:
        """See Ledger."""
        await self._run("defer", answer=answer, told=told, seconds=DEFERRED)

    async def due(self, answer: str) -> str | None:
        """See Ledger."""
        told: bytes | None = await self._run("due", answer=answer)
        return told.decode() if told else None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()

    async def _run(self, op: str, **asked: Any) -> Any:
        if self._clock is not None:
            asked["now"] = int(self._clock())
        try:
            return await self._script(keys=[self._prefix], args=[op, json.dumps(asked)])
        except (RedisError, OSError) as error:
            raise LedgerAway(f"Redis: {type(error).__name__}") from None  # its words may have the address


def _asked(want: Want) -> dict[str, Any]:
    return {
        "key": want.key.text,
        "limit": want.key.limit,
        "subject": want.key.subject,
        "unit": want.key.unit,
        "slot": want.slot,
        "first": want.first,
        "last": want.last,
        "expires": want.expires,
        "most": want.most,
        "sunk": want.sunk,
        "rest": want.rest,
        "binding": want.binding,
    }
