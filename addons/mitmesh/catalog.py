"""Which stages there are, and how each is made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from mitmesh.exchange import Exchange
from mitmesh.quotas import opening
from mitmesh.quotas.repeats import Repeats
from mitmesh.redaction.finder import Finder
from mitmesh.redaction.output import Proxy
from mitmesh.stage import Stage
from mitmesh.stages.cache import Cache
from mitmesh.stages.commit import Commit
from mitmesh.stages.identity import Identity
from mitmesh.stages.live import Live
from mitmesh.stages.meter import Meter
from mitmesh.stages.metrics import Metrics
from mitmesh.stages.quota import Quota
from mitmesh.stages.redact import Redact
from mitmesh.stages.route import Route
from mitmesh.stages.scope import Scope
from mitmesh.stages.vendor import Vendor


@dataclass(frozen=True)
class Site:
    """What a stage is made with: the data folder, the names of all stages loaded, the demo's provider, and whom it
    trusts."""

    data: Path
    names: frozenset[str]
    demo: Callable[[Exchange], AsyncIterator[bytes]] | None = None
    trust: str | None = None
    """A file of CA certificates for providers, in place of the usual ones."""
    proxy: Proxy | None = None
    """The corporate proxy through which all leaves (mitmproxy's mode `upstream:`)."""


CATALOG: dict[str, Callable[[Site], Stage]] = {
    "scope": lambda _: Scope(),
    "identity": lambda site: Identity(site.data, site.trust),
    "redact": lambda site: Redact(site.data, Finder(), site.trust, site.proxy),
    "route": lambda site: Route(site.demo),
    "cache": lambda site: Cache(site.data),
    "vendor": lambda _: Vendor(),
    # The demo keeps texts as they are: seeing them is what it is for, and nothing leaves.
    "commit": lambda site: Commit(site.data, redacting="redact" in site.names or site.demo is not None),
    "meter": lambda _: Meter(),
    "quota": lambda site: Quota(lambda rules: opening.ledger(rules, site.data), repeats=lambda: Repeats(site.data)),
    "metrics": lambda _: Metrics(),
    "live": lambda _: Live(),
}
"""By name; `stage.ORDER` says in which order they run, and names those still to come."""
