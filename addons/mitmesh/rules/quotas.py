"""The shape of rules/quotas.yaml: who may use how much of what, and what happens where it is used up."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from mitmesh.exchange import Billing, Mode
from mitmesh.rules.checks import KeySource, Word
from mitmesh.rules.errors import sentence
from mitmesh.rules.models import _Model

MOST = 10**12
"""Largest limit, in its unit: Redis' scripts count exactly to 2**53, and a million of micro-dollars is one."""

type Unit = Literal["tokens", "dollars", "requests", "concurrent"]
type Per = Literal["minute", "hour", "day", "month", "total"]
type Span = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,4}[mhd]$")]
type Size = Annotated[str, BeforeValidator(lambda value: _size(value))]


def _size(value: object) -> object:
    """YAML's numbers as text. Raises ValueError for what is no amount."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return value  # pydantic says what is wrong
    text = str(value)
    if re.fullmatch(r"-\d+(\.\d+)?", text):
        raise ValueError("must not be negative")
    if not re.fullmatch(r"\d{1,12}(\.\d{1,6})?", text, re.ASCII):
        raise ValueError(
            "must be a plain number below 10**12, of dollars with up to six decimals: such as 2000000 or 0.5"
        )
    return text


DIMENSIONS = ("team", "user", "tool", "model", "provider", "namespace", "key")
"""What a limit can be about, in the order in which a message names it."""


class Limit(_Model):
    """One limit: how much of what, in which time, for whom. Of several that match a call all are checked."""

    id: Word = Field(description="Name of this limit, unique; counts, refusals, metrics and grants go by it.")
    unit: Unit = Field(
        description="tokens in and out; dollars; requests (a call counts when it is sent); concurrent calls."
    )
    limit: Size = Field(description="How much: a whole number, of dollars also with up to six decimals.")
    per: Per | None = Field(
        default=None,
        description="Calendar window in UTC; `total` never begins anew. Give this or `rolling`, but for concurrent.",
    )
    rolling: Span | None = Field(
        default=None, description="The last so many minutes, hours or days, such as `5h`; forgets in sixtieths of it."
    )
    team: Word | None = Field(
        default=None, description="For whom: a name, or `each` for a count of their own each. All given must hold."
    )
    user: Word | None = Field(default=None, description="The same for the user.")
    tool: Word | None = Field(default=None, description="The same for the tool.")
    model: Word | None = Field(
        default=None, description="The same for the model; `*` in a name is any text. `each` goes by the price list."
    )
    provider: Word | None = Field(default=None, description="The same for the provider.")
    namespace: Word | None = Field(default=None, description="The same for the Kubernetes namespace.")
    key: Word | None = Field(default=None, description="The same for the id of the virtual key.")
    warn_at: int = Field(
        default=80,
        ge=1,
        le=1000,
        description="From here on answers carry a warning, in percent; by default not above 80 percent of "
        "`hard_stop_at`.",
    )
    hard_stop_at: int = Field(default=100, ge=1, le=1000, description="Here calls are refused, in percent.")
    mode: Mode | None = Field(default=None, description="observe or enforce; default as mesh.yaml says.")
    billing: list[Billing] | None = Field(
        default=None,
        min_length=1,
        description="Only calls that are paid for so count; if empty, under a limit in dollars metered ones and those "
        "of which nobody knows, else all.",
    )
    unpriced_tokens: int | None = Field(
        default=None,
        ge=0,
        le=MOST,
        description="Of dollars: tokens that calls of unknown price may use in the window; without it they are "
        "refused.",
    )
    output_cap: int | None = Field(
        default=None, ge=1, le=2**31 - 1, description="Of tokens and dollars: as the file's, for these calls."
    )

    @cached_property
    def about(self) -> tuple[tuple[str, str], ...]:
        """What it is about: the dimensions it names, each with the name it wants, or `each`."""
        named = ((name, getattr(self, name)) for name in DIMENSIONS)
        return tuple((name, wanted) for name, wanted in named if wanted is not None)

    @cached_property
    def paid(self) -> frozenset[Billing]:
        """Calls count that are paid for so."""
        return frozenset(self.billing or ([Billing.METERED, Billing.UNKNOWN] if self.unit == "dollars" else Billing))

    @cached_property
    def amount(self) -> int:
        """The limit in its smallest unit: micro-dollars, else as it is. Exact."""
        whole, _, part = self.limit.partition(".")
        return int(whole) * 1_000_000 + int(part.ljust(6, "0")) if self.unit == "dollars" else int(whole)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.unit != "dollars" and "." in self.limit:
            raise ValueError(f"`limit` must be a whole number of {self.unit}")
        if self.unit == "concurrent":
            if self.per or self.rolling:
                raise ValueError("concurrent calls have no window; leave `per` and `rolling` out")
        elif (self.per is None) == (self.rolling is None):
            raise ValueError("must have either `per` or `rolling`")
        if self.unit != "dollars" and self.unpriced_tokens is not None:
            raise ValueError("`unpriced_tokens` is for limits in dollars")
        if self.unit not in ("dollars", "tokens") and self.output_cap is not None:
            raise ValueError("`output_cap` is for limits on tokens or dollars")
        if "warn_at" not in self.model_fields_set:
            usual = min(self.warn_at, max(1, self.hard_stop_at * 80 // 100))
            object.__setattr__(self, "warn_at", usual)  # it is frozen
        elif self.warn_at > self.hard_stop_at:
            raise ValueError("`warn_at` must not be above `hard_stop_at`, or nobody is ever warned")
        for name in DIMENSIONS:
            if name != "model" and "*" in (getattr(self, name) or ""):
                raise ValueError(f"`{name}` takes a name or `each`; only `model` takes `*`")
        return self


def team_limits(rules: Quotas, spec: str, warn_at: int, hard_stop_at: int) -> Quotas:
    """The rules with AgentMesh's limits before them: `spec` is `team=tokens`, several with commas, a calendar month
    each. Raises ValueError that says what is wrong."""
    found: list[Limit] = []
    for pair in filter(None, spec.split(",")):
        team, _, tokens = pair.rpartition("=")
        if not team.strip() or not tokens.strip().isdecimal():
            raise ValueError(f"a team's limit must be TEAM=TOKENS, such as engineering=2000000; it is {pair!r}")
        limit = _team_limit(team.strip(), tokens.strip(), warn_at, hard_stop_at)
        if any(limit.id == other.id for other in (*found, *rules.limits)):
            raise ValueError(f"a team has one limit; there are two for {limit.team!r}")
        found.append(limit)
    return rules.model_copy(update={"limits": [*found, *rules.limits]}) if found else rules


_FLAGS = {"limit": "a team's limit", "warn_at": "--warn-at", "hard_stop_at": "--hard-stop-at"}


def _team_limit(team: str, tokens: str, warn_at: int, hard_stop_at: int) -> Limit:
    given = {"id": f"team-limit:{team}", "unit": "tokens", "limit": tokens, "per": "month", "team": team}
    default = Limit.model_fields["warn_at"].default  # the flag's too, so it may stand above a --hard-stop-at
    warning = {} if warn_at == default else {"warn_at": warn_at}
    try:
        return Limit.model_validate({**given, **warning, "hard_stop_at": hard_stop_at})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = first["loc"][0] if first["loc"] else ""
        if field == "limit":
            raise ValueError(f"a team's limit must be a whole number below {MOST:,}; it is {tokens[:30]!r}") from None
        name = _FLAGS.get(str(field), "a team's name") if field else "--warn-at and --hard-stop-at:"
        raise ValueError(f"{name} {sentence(first)}") from None


class Loops(_Model):
    """An agent that goes round in circles: the same session says the same, or nearly, again and again."""

    warn: int | None = Field(default=None, ge=2, le=100, description="Warn at so many times; none if empty.")
    stop: int | None = Field(default=None, ge=2, le=100, description="Refuse at so many times; none if empty.")
    minutes: int = Field(default=10, ge=1, le=1440, description="Within so many minutes.")
    alike: int = Field(default=90, ge=50, le=100, description="From here on two steps are the same, in percent.")
    mode: Mode | None = Field(default=None, description="observe or enforce; default as mesh.yaml says.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.warn and self.stop and self.warn > self.stop:
            raise ValueError("`warn` must not be above `stop`, or nobody is ever warned")
        return self


class Quotas(_Model):
    """rules/quotas.yaml: who may use how much, and what happens where it is used up."""

    redis: KeySource | None = Field(
        default=None,
        description="`env:NAME` or `file:PATH` of the redis:// address that several machines share; without it "
        "quota.db in the data folder counts for this machine.",
    )
    redis_away: Literal["refuse", "spend_share"] = Field(
        default="refuse",
        description="While Redis cannot be reached: refuse, or spend what was set aside for this node.",
    )
    share: int = Field(
        default=5, ge=1, le=50, description="Of what is left of a limit, what a node sets aside so, in percent."
    )
    output_cap: int = Field(
        default=8192,
        ge=1,
        le=2**31 - 1,
        description="Most output tokens of a call that names none, under a limit on tokens or dollars; the call is "
        "given it where the dialect allows.",
    )
    stream_first: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Of a stream's output, tokens that are set aside at first; more follow as it runs. All if empty.",
    )
    batches: Literal["charge", "refuse", "free"] = Field(
        default="charge",
        description="Batches under a limit on tokens or dollars: charge prompts and bounds of output of all requests "
        "when they are sent (refused where they are in a file, or of several models), refuse all, or count none.",
    )
    lease_seconds: int = Field(
        default=60, ge=5, le=3600, description="A worker that said nothing for so long is gone; its calls are settled."
    )
    limits: list[Limit] = Field(default_factory=list, description="The limits; all that match a call are checked.")
    loops: Loops = Field(default_factory=Loops, description="When an agent goes round in circles.")
