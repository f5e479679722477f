"""The shape of each rules file. The descriptions are the reference: docs/rules.md is made from them."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mitmesh.exchange import Billing, Mode
from mitmesh.rules.checks import (
    Allowed,
    BaseUrl,
    Cidr,
    Dollars,
    HeaderName,
    HeaderValue,
    HostPattern,
    KeySource,
    PathPattern,
    StageName,
    Word,
)


class _Model(BaseModel):
    """Unknown fields are errors: a misspelt rule must not be silently without effect."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FailMode(StrEnum):
    """What happens to a call when a stage fails on it."""

    CLOSED = "closed"
    OPEN = "open"


class Opaque(StrEnum):
    """What happens to a body on an LLM host that no dialect can read."""

    ALLOW = "allow"
    WARN = "warn"
    REFUSE = "refuse"


class Content(StrEnum):
    """What the audit keeps of the texts of a call."""

    FULL = "full"
    REDACTED = "redacted"
    METADATA = "metadata"
    NONE = "none"


class Limits(_Model):
    """Bounds on what one call may cost the proxy."""

    body_bytes: int = Field(
        default=64 * 2**20,
        ge=2**20,
        description="Largest request body, decompressed, in bytes; above it the call is refused with 413.",
    )
    json_depth: int = Field(default=200, ge=10, le=900, description="Deepest nesting of a request's JSON.")
    stage_seconds: int = Field(
        default=10, ge=1, description="Time limit of each stage, in seconds; a stage that takes longer has failed."
    )
    answer_text_bytes: int = Field(
        default=8 * 2**20, ge=2**16, description="Text of one answer kept for meter and audit, in bytes."
    )


class Audit(_Model):
    """What is kept, how surely, and for how long."""

    durability: Literal["async", "strict"] = Field(
        default="async",
        description="async: at most 200 ms of rows are lost to a crash. "
        "strict: a call's row is on disk before its first byte leaves.",
    )
    content: Content = Field(
        default=Content.REDACTED, description="Texts kept: full, redacted, metadata (sizes and roles only) or none."
    )
    content_by_team: dict[str, Content] = Field(default_factory=dict, description="The same, per team.")
    text: Literal["redacted", "raw"] = Field(
        default="redacted",
        description="raw stores texts although no redact stage runs; without it no text is stored then.",
    )
    keep_days: int = Field(default=90, ge=1, description="Exchanges older than this are deleted, in days.")
    keep_bytes: int = Field(
        default=10 * 2**30,
        ge=2**20,
        description="The two files together are kept under this size, oldest texts first, in bytes.",
    )
    queue_rows: int = Field(
        default=10_000,
        ge=100,
        description="Rows that may wait for the writer; beyond it async drops and counts, strict refuses.",
    )
    ndjson: str | None = Field(
        default=None,
        description="File that also gets a JSON line per exchange (SemaMesh's field names); none if empty.",
    )


class Ca(_Model):
    """Who signs for the hosts that are decrypted: a CA made for this install, unless one is named here."""

    cert: str | None = Field(
        default=None,
        description="PEM file of a company's own intermediate (`~` is the home folder); then it signs, none is made.",
    )
    key: str | None = Field(default=None, description="PEM file of its key, EC or RSA, without a passphrase.")
    chain: str | None = Field(
        default=None,
        description="PEM file of the certificates above it, each signed by the next; the last is what clients trust.",
    )
    constrained: bool = Field(
        default=True,
        description="Whether a CA made here is good for the names in hosts.yaml alone. false is for clients that "
        "refuse name constraints, and holds from the next `scripts/ca rotate` on.",
    )

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.cert is None) != (self.key is None) or (self.chain is not None and self.cert is None):
            raise ValueError("must have both `cert` and `key`, and `chain` only with them")
        return self


class TeamRules(_Model):
    """What holds for one team instead of the defaults."""

    mode: Mode | None = Field(default=None, description="observe or enforce, for this team.")


class Mesh(_Model):
    """rules/mesh.yaml: what holds everywhere unless a rule says otherwise."""

    mode: Mode = Field(
        default=Mode.ENFORCE, description="enforce acts on verdicts; observe only records what would have happened."
    )
    fail_mode: dict[StageName, FailMode] = Field(
        default_factory=dict, description="What a stage's failure means: closed (default) or open, per stage."
    )
    teams: dict[str, TeamRules] = Field(default_factory=dict, description="What holds for single teams, by name.")
    opaque: Opaque = Field(
        default=Opaque.WARN, description="Bodies on LLM hosts that cannot be read: allow, warn or refuse."
    )
    ask_usage: bool = Field(
        default=True,
        description="Ask for usage in streams that would not carry it, and take it out again on the way back.",
    )
    stream_cost: bool = Field(
        default=False, description="Gateway streams end with an SSE comment that tells tokens and cost."
    )
    ca: Ca = Field(default_factory=Ca, description="Who signs for the hosts that are decrypted.")
    limits: Limits = Field(default_factory=Limits, description="Bounds on what one call may cost the proxy.")
    audit: Audit = Field(default_factory=Audit, description="What is kept of calls.")


class When(_Model):
    """For whom a host's rule holds; all that are given must hold."""

    team: Word | None = Field(
        default=None, description="The caller's team, as known when the connection opens (by network)."
    )
    network: Cidr | None = Field(default=None, description="The client's address is in this CIDR range.")
    process: Word | None = Field(
        default=None,
        description="The client's systemd unit, container (12 digits) or pod (`namespace/name`), as the kernel attests "
        "it (docs/transparent.md); never what a process calls itself.",
    )


class HostRule(_Model):
    """One entry of rules/hosts.yaml: what a host is, and what is done with connections to it."""

    id: Word = Field(description="Name of this rule, unique; refusals and the audit name it.")
    match: list[HostPattern] = Field(
        min_length=1,
        description="Host names (`*` is one label or a part of one, a leading `**.` any number of labels, none "
        "included), addresses or CIDR ranges, each with an optional `:port`.",
    )
    provider: Word = Field(description="Who serves it: openai, anthropic, google ...")
    api: str = Field(
        default="none", description="Which table of `apis` says the dialect of each path; `none` has none."
    )
    status: Literal["sanctioned", "tolerated", "blocked"] = Field(
        default="sanctioned", description="What the company thinks of it; blocked refuses."
    )
    action: Literal["decrypt", "tunnel", "refuse"] = Field(
        default="decrypt", description="decrypt governs; tunnel passes unread and is counted; refuse closes."
    )
    mode: Mode | None = Field(
        default=None,
        description="observe or enforce, for what this entry refuses; default as mesh.yaml says. "
        "What is only observed is decrypted.",
    )
    when: When | None = Field(
        default=None, description="For whom this entry holds; the first entry that matches and holds decides."
    )
    inject_headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, description="Headers set on each request (tenant restriction)."
    )
    on_pin_failure: Literal["refuse", "tunnel"] = Field(
        default="refuse",
        description="When a client rejects our certificate: refuse goes on refusing, "
        "tunnel lets that client pass unread from then on.",
    )
    opaque: Opaque | None = Field(default=None, description="As in mesh.yaml, for this host.")
    ask_usage: bool = Field(
        default=False,
        description="Ask for usage in streams that would not carry it (mesh.yaml's ask_usage allows it); only for "
        "hosts that know `stream_options`, others refuse the call.",
    )
    billing: Billing | None = Field(
        default=None, description="How calls to it are paid for, where the credential does not tell."
    )
    reason: str | None = Field(default=None, max_length=500, description="Why, for those who meet this rule.")
    owner: str | None = Field(default=None, max_length=200, description="Whom to ask.")
    expires: date | None = Field(
        default=None, description="Last day (UTC) on which an exception holds; after it the host is refused."
    )


class PathRule(_Model):
    """One line of an API's table: a path and the dialect spoken there."""

    path: PathPattern = Field(
        description="Path without query; `*` is one segment or part of one, `**` any number of them. Anchored at both "
        "ends; letter case makes no difference."
    )
    dialect: Literal["openai_chat", "openai_responses", "openai_embeddings", "anthropic", "gemini", "generic"] = Field(
        description="The wire format spoken there."
    )
    method: str = Field(default="POST", pattern=r"^(\*|[A-Z]{1,16})$", description="HTTP method; `*` is any.")


class Hosts(_Model):
    """rules/hosts.yaml: which hosts are LLM hosts. What is not listed is tunnelled untouched."""

    apis: dict[str, list[PathRule]] = Field(default_factory=dict, description="Path tables, by name.")
    hosts: list[HostRule] = Field(
        default_factory=list, description="The hosts; first match wins, rules/local/ comes first."
    )


class Egress(_Model):
    """rules/egress.yaml: destinations inside the machine that the forward proxy may reach."""

    allow: list[Allowed] = Field(
        default_factory=list,
        description="`host:port` (or `host:*`) of loopback or link-local destinations; everything else there is "
        "refused. `localhost`, 127.0.0.1 and ::1 are one.",
    )


class NetworkIdentity(_Model):
    """A range of addresses and who is behind it."""

    network: Cidr = Field(description="CIDR range.")
    team: Word | None = Field(default=None, description="Team of its callers.")
    user: Word | None = Field(default=None, description="User behind it.")
    namespace: Word | None = Field(default=None, description="Kubernetes namespace behind it.")


class Price(_Model):
    """What a model costs, in dollars per million tokens."""

    model: Word = Field(description="Model name or its beginning; the longest that fits wins.")
    provider: Word | None = Field(default=None, description="Only for this provider.")
    input: Dollars = Field(description="Prompt tokens.")
    output: Dollars = Field(description="Completion tokens.")
    cache_read: Dollars | None = Field(
        default=None, description="Prompt tokens read from the provider's cache; default as input."
    )
    cache_write_5m: Dollars | None = Field(
        default=None, description="Prompt tokens written to it for five minutes; default as input."
    )
    cache_write_1h: Dollars | None = Field(
        default=None, description="Prompt tokens written to it for an hour; default as cache_write_5m."
    )


class Prices(_Model):
    """rules/prices.yaml: prices of your own, before genai-prices'."""

    prices: list[Price] = Field(default_factory=list, description="Prices; the longest model name that fits wins.")


class Provider(_Model):
    """A provider the gateway can call."""

    base_url: BaseUrl = Field(description="Where it is, without the path's /v1 part.")
    api_key: KeySource | None = Field(
        default=None,
        description="`env:NAME` or `file:PATH` of a key of ours, never the key itself; `none` for a server "
        "that wants no key.",
    )
    billing: Billing | None = Field(
        default=None, description="How calls are paid for, where the credential does not tell."
    )


class RouteRule(_Model):
    """Which provider serves a call to the gateway."""

    id: Word = Field(description="Name of this rule, unique.")
    path: PathPattern = Field(
        default="/**",
        description="Path as in hosts.yaml. Paths that are none of the gateway's own have to be named: the default "
        "does not match them.",
    )
    model: str = Field(default="*", description="Model name; `*` is any text.")
    provider: str = Field(description="Name of an entry of `providers`.")


class Routes(_Model):
    """rules/routes.yaml: the gateway's providers and routes."""

    providers: dict[str, Provider] = Field(default_factory=dict, description="Providers, by name.")
    allow_origins: list[str] = Field(
        default_factory=list,
        description="Origins (`https://host:port`) of web pages that may call the gateway; this machine's own may.",
    )
    routes: list[RouteRule] = Field(
        default_factory=list, description="First match wins; without one a path's own provider serves it."
    )


def field_names() -> set[str]:
    """The names of all fields of all files, to guess what a misspelt one was to be."""
    return {name for model in _Model.__subclasses__() for name in model.model_fields}
