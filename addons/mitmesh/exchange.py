"""Exchange: one LLM call and everything known about it.

The engine makes one from each request in scope; the stages read and write it; audit, metrics and traces read it when
it is finished. It knows no mitmproxy and no SQLite.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from mitmesh.dialects.base import Answer, AnswerReader, Call, Dialect, Framing, Operation, Usage

if TYPE_CHECKING:
    from mitmesh.kernel import Caller
    from mitmesh.loopback import Head
    from mitmesh.rules import HostRule, Rules
    from mitmesh.wire.jsontext import Body


class Mode(StrEnum):
    """Whether a rule's verdict is acted on, or only recorded."""

    ENFORCE = "enforce"
    OBSERVE = "observe"


class Action(StrEnum):
    """What a stage decided."""

    ALLOW = "allow"
    REDACT = "redact"
    REFUSE = "refuse"
    ANSWER = "answer"
    WARN = "warn"


class Origin(StrEnum):
    """Who made the answer."""

    PROVIDER = "provider"
    CACHE = "cache"
    PROXY = "proxy"


class Billing(StrEnum):
    """How the call is paid for; dollars count against budgets only where metered."""

    METERED = "metered"
    SUBSCRIPTION = "subscription"
    LOCAL = "local"
    UNKNOWN = "unknown"


class Inspected(StrEnum):
    """How much of the request's body was read: all of it, all but media and encrypted parts, or none."""

    FULL = "full"
    PARTIAL = "partial"
    OPAQUE = "opaque"


class Outcome(StrEnum):
    """How an exchange ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    CLIENT_GONE = "client_gone"
    UPSTREAM_FAILED = "upstream_failed"
    UPSTREAM_CUT = "upstream_cut"
    MALFORMED = "malformed"
    INTERRUPTED = "interrupted"


@dataclass(slots=True, frozen=True)
class Verdict:
    """A stage's decision with its reason. `status` and `retry_after` (seconds) matter for a refusal only."""

    stage: str
    action: Action
    rule_id: str
    mode: Mode
    policy_version: str
    reason: str
    status: int = 403
    type: str = "refused"
    retry_after: int | None = None

    @property
    def refuses(self) -> bool:
        """Does this verdict keep the call from being forwarded?"""
        return self.action is Action.REFUSE and self.mode is Mode.ENFORCE


@dataclass(slots=True)
class Identity:
    """Who calls. `sources` names for each field what attested it, e.g. `{"team": "network"}`."""

    team: str | None = None
    user: str | None = None
    tool: str | None = None
    tool_version: str | None = None
    namespace: str | None = None
    service_account: str | None = None
    pod: str | None = None
    process: str | None = None
    key: str | None = None
    """Id of the virtual key it came with."""
    tier: str | None = None
    owner: str | None = None
    """What runs the pod: `deployment/checkout`."""
    roles: tuple[str, ...] = ()
    sources: dict[str, str] = field(default_factory=dict)
    heard: set[str] = field(default_factory=set)
    """All sources that spoke, those too that set no field."""

    def attest(self, source: str, **claims: str | None) -> None:
        """Set the fields that no earlier (stronger) source has set; call in order of strength."""
        self.heard.add(source)
        for name, value in claims.items():
            if value and getattr(self, name) is None:
                setattr(self, name, value)
                self.sources[name] = source

    def take_roles(self, source: str, roles: tuple[str, ...]) -> None:
        """Set the roles, unless a stronger source did."""
        if roles and not self.roles:
            self.roles = roles
            self.sources["roles"] = source


class ConnectionKind(StrEnum):
    """What became of a connection."""

    DECRYPTED = "decrypted"
    TUNNELLED = "tunnelled"
    REFUSED = "refused"
    CERTIFICATE_REJECTED = "certificate_rejected"
    UPSTREAM_FAILED = "upstream_failed"
    UPGRADE_REFUSED = "upgrade_refused"


@dataclass(slots=True, frozen=True)
class Connection:
    """One connection, for the audit. `host` is what named it (CONNECT, SNI or address), `rule` the host rule's id."""

    kind: ConnectionKind
    client: str
    host: str
    port: int
    sni: str | None = None
    rule: str | None = None
    detail: str = ""
    when: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(slots=True)
class Target:
    """Where the call goes. A redirected connection only has an address for `host`; `named` is then its host's name, and
    `certified` says that the provider's certificate must bear it."""

    scheme: str
    host: str
    port: int
    named: str | None = None
    certified: bool = False

    @property
    def name(self) -> str:
        """The host as people know it."""
        return self.named or self.host

    @property
    def proven(self) -> str:
        """The host as decisions may take it: a name that the client cannot merely have said, else the address."""
        return self.name if self.certified else self.host


@dataclass(slots=True)
class Times:
    """Points on the monotonic clock, in seconds; None while not reached."""

    received: float = field(default_factory=time.monotonic)
    sent: float | None = None
    headers: float | None = None
    first_token: float | None = None
    done: float | None = None
    stages: dict[str, float] = field(default_factory=dict)
    """Seconds each stage took before the call left."""
    own: float = 0.0
    """Seconds the call spent in our hands: request, response and stream hooks together."""


@dataclass(slots=True)
class Reply:
    """An answer of our own, in place of a provider's. `body` is the JSON document that says it, where `answer` cannot;
    `usage` whether the client asked for usage in a stream; `shown` the bytes that are given, once they are known."""

    answer: Answer
    origin: Origin
    body: bytes | None = None
    usage: bool = True
    shown: bytes | None = None


class Layer(StrEnum):
    """Which layer of the cache answered, or why none did."""

    EXACT = "exact"
    SEMANTIC = "semantic"
    MISS = "miss"
    OFF = "off"


@dataclass(slots=True, frozen=True)
class Cached:
    """What the cache had for a call. `source` is the exchange whose answer it was and `age` how old that is (seconds),
    `similarity` the cosine of a semantic hit, `saved` micro-dollars (None: unknown), `reason` why it was off."""

    layer: Layer
    source: str | None = None
    age: int | None = None
    similarity: float | None = None
    saved: int | None = None
    reason: str | None = None

    @property
    def hit(self) -> bool:
        """Was the call answered from the cache?"""
        return self.layer in (Layer.EXACT, Layer.SEMANTIC)


@dataclass(slots=True)
class Exchange:
    """One LLM call. The fields down to `rules` are as the client sent them; from `verdicts` on, what became of it."""

    dialect: Dialect
    call: Call
    host: HostRule
    target: Target | None
    """Where it goes; None for a call to the gateway that nothing has routed yet."""
    path: str = field(repr=False)
    """With the query string, which may hold a key: never logged, never stored."""
    headers: dict[str, str] = field(repr=False)
    """The request's headers, names in lower case; what a stage changes here changes in what leaves."""
    rules: Rules
    via: str = "forward"
    """How it came in: forward, gateway, transparent."""
    client: str = ""
    """The client's IP address."""
    caller: Caller | None = None
    """Who connected, where the kernel attests it."""
    proxy_credential: str | None = field(default=None, repr=False)
    """Proxy-Authorization of this call or of its connection; never logged, never stored."""
    certificates: tuple[bytes, ...] = field(default=(), repr=False)
    """The client's certificate chain (DER), its own first; not verified yet."""
    method: str = "POST"
    """The request's HTTP method."""
    body: Body | None = None
    """The request's JSON; None where it has none or could not be read."""
    sent_headers: dict[str, str] = field(default_factory=dict, repr=False)
    """The same as the client sent them."""
    request_bytes: int = 0
    traceparent: str | None = None
    user_agent: str | None = None
    """The header as audit may show it: redact takes out what it finds there. What is sent is in `headers`."""
    framing: Framing = Framing.NONE

    id: str = field(default_factory=lambda: new_id())
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    times: Times = field(default_factory=Times)
    identity: Identity = field(default_factory=Identity)
    billing: Billing = Billing.UNKNOWN
    wants_key: bool = False
    """It came with a virtual key: the route puts the provider's own in its place."""
    credential: str | None = field(default=None, repr=False)
    """The credentials the client sent, for keyed hashing alone; never logged, never stored in clear."""
    inspected: Inspected = Inspected.FULL

    verdicts: list[Verdict] = field(default_factory=list)
    reply: Reply | None = None
    route: str | None = None
    origin: Origin = Origin.PROVIDER
    forwarded: bool = False
    """Did any byte of it leave for a provider?"""
    status: int | None = None
    answer: Answer | None = None
    answer_body: Body | None = None
    """A JSON answer that a stage's `response` may still change; None for streams. A cached answer is always seen so,
    whichever form it is given in afterwards."""
    answer_cut: bool = False
    """Did the stream say more than `answer` keeps (limits.answer_text_bytes)?"""
    cache: Cached | None = None
    """What the cache had for it; None where that stage did not run."""
    vendor_saved: int | None = None
    """Micro-dollars that the provider's own prompt cache saved; negative where writing to it cost more."""
    response_bytes: int = 0
    usage: Usage | None = None
    cost: int | None = None
    """Micro-dollars; None is unknown, never 0 for want of a price."""
    outcome: Outcome | None = None
    stop_reading: Callable[[], None] | None = None
    """Ends the reading of a stream, at its own end or not, so that `answer` has all that was delivered."""
    show: Callable[[Exchange], None] | None = None
    """Shows the finished call where the proxy has a screen; the engine sets it."""
    reading: AnswerReader | None = None
    """What reads a stream while it runs."""
    answer_headers: dict[str, str] = field(default_factory=dict)
    """Headers of ours that stages set on the answer, names in lower case."""
    edits_stream: bool = False
    """Will a stage change the answer's stream? Then the provider is asked for identity encoding."""
    local: Callable[[Exchange], AsyncIterator[bytes | Head]] | None = None
    """Serves it from inside this process, through the loopback upstream, in place of `target`."""
    upstream: Target | None = None
    """The `target` in whose place it is served so."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What a stage keeps for itself between its methods, under its own name."""

    @property
    def provider(self) -> str:
        """Who serves it."""
        return self.host.provider

    @property
    def operation(self) -> Operation:
        """What it asks for."""
        return self.call.operation

    @property
    def refusal(self) -> Verdict | None:
        """The verdict that keeps it from being forwarded, if any."""
        for verdict in self.verdicts:  # asked many times in each call: no generator for it
            if verdict.refuses:
                return verdict
        return None

    def decide(self, stage: str, action: Action, rule_id: str, reason: str, **rest: Any) -> Verdict:
        """Record a verdict; `mode` (default: the rules' own) and the refusal's fields by keyword.

        The engine decides whether it is acted on."""
        rest.setdefault("mode", self.rules.mode(self.identity.team))
        verdict = Verdict(stage, action, rule_id, policy_version=self.rules.version, reason=reason, **rest)
        self.verdicts.append(verdict)
        return verdict

    def refuse(self, stage: str, rule_id: str, reason: str, **rest: Any) -> Verdict:
        """Record that this call should not be served."""
        return self.decide(stage, Action.REFUSE, rule_id, reason, **rest)

    def reply_with(self, stage: str, rule_id: str, answer: Answer, origin: Origin, reason: str, **rest: Any) -> None:
        """Answer in the provider's place; further fields of Reply by keyword."""
        self.decide(stage, Action.ANSWER, rule_id, reason)
        self.reply = Reply(answer, origin, **rest)


def new_id() -> str:
    """A new exchange id: 26 characters, sortable by time (48 bits of milliseconds, then 80 random bits; within one
    millisecond each is the one before and one more)."""
    now = time.time_ns() // 1_000_000
    _latest[:] = now, _latest[1] + 1 if now == _latest[0] else secrets.randbits(79)
    return id_at(*_latest)


_latest = [0, 0]
"""Milliseconds and random bits of the last id."""


def id_at(milliseconds: int, random: int = 0) -> str:
    """The id of a moment (milliseconds since 1970); with no random bits, the first of that moment."""
    value = milliseconds << 80 | random
    return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
