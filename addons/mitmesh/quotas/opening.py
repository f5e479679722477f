"""Which ledger the rules name, and where its address is."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

from mitmesh.quotas.in_sqlite import SqliteLedger
from mitmesh.quotas.journal import Journal
from mitmesh.quotas.ledger import Ledger
from mitmesh.quotas.share import SharingLedger
from mitmesh.rules.errors import RulesError
from mitmesh.rules.quotas import Quotas


def ledger(rules: Quotas, data: Path) -> Ledger:
    """The ledger for these rules; `data` is the data folder. Raises RulesError where Redis' address is not to be found:
    the address may have a password, so it is never in the message."""
    if rules.redis is None or rules.redis == "none":
        return SqliteLedger(data)
    from mitmesh.quotas.in_redis import RedisLedger  # redis is 0.2 s of a start that may not need it

    kind, _, where = rules.redis.partition(":")
    try:
        url = os.environ.get(where, "") if kind == "env" else Path(where).expanduser().read_text().strip()
        ledger = RedisLedger(url)
    except (OSError, ValueError):
        raise RulesError(
            f"quotas.yaml: redis: {rules.redis} does not hold an address such as redis://host:6379"
        ) from None
    if rules.redis_away == "refuse":
        return ledger
    node = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    return SharingLedger(ledger, rules.share, node, Journal(data))
