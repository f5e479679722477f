"""What an operator decides: the files of rules/, checked field by field, as one immutable snapshot."""

from mitmesh.rules.cache import Cache
from mitmesh.rules.errors import RulesError
from mitmesh.rules.identities import Identities
from mitmesh.rules.models import (
    Audit,
    Ca,
    Content,
    Egress,
    FailMode,
    HostRule,
    Hosts,
    Limits,
    Mesh,
    NetworkIdentity,
    Opaque,
    PathRule,
    Price,
    Prices,
    Provider,
    RouteRule,
    Routes,
    TeamRules,
    When,
)
from mitmesh.rules.pii import Pii, PiiAction, PiiFinder, PiiModel, PiiPattern, PiiTerm, Treatment
from mitmesh.rules.snapshot import FILES, Rules, fingerprint, load

__all__ = [
    "FILES",
    "Audit",
    "Ca",
    "Cache",
    "Content",
    "Egress",
    "FailMode",
    "HostRule",
    "Hosts",
    "Identities",
    "Limits",
    "Mesh",
    "NetworkIdentity",
    "Opaque",
    "PathRule",
    "Pii",
    "PiiAction",
    "PiiFinder",
    "PiiModel",
    "PiiPattern",
    "PiiTerm",
    "Price",
    "Prices",
    "Provider",
    "RouteRule",
    "Routes",
    "Rules",
    "RulesError",
    "TeamRules",
    "Treatment",
    "When",
    "fingerprint",
    "load",
]
