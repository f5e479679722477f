"""The shape of rules/pii.yaml: what is looked for, and what is done with it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mitmesh.dialects.base import Provenance
from mitmesh.exchange import Mode
from mitmesh.redaction.findings import Type
from mitmesh.rules.checks import PiiRegex, Word
from mitmesh.rules.models import _Model
from mitmesh.rules.pii_return import PiiOutput, PiiSigning, PiiVault

type TypeName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,39}$")]
type Treatment = Literal["replace", "mask", "hash", "refuse", "allow"]


class PiiAction(_Model):
    """What is done with findings: of whom, where and of which type. All that are given must hold."""

    id: Word = Field(description="Name of this rule, unique; the audit and refusals name it.")
    types: list[TypeName] = Field(default_factory=list, description="Types of findings; any if empty.")
    provenance: list[Provenance] = Field(default_factory=list, description="Who wrote the text; any if empty.")
    team: Word | None = Field(default=None, description="The caller's team.")
    user: Word | None = Field(default=None, description="The caller's user.")
    tool: Word | None = Field(default=None, description="The caller's tool.")
    provider: Word | None = Field(default=None, description="Who serves the call.")
    action: Treatment = Field(
        description="replace: by a placeholder, put back in the answer; mask: by asterisks; hash: by a keyed hash; "
        "refuse the call; allow: leave it."
    )
    mode: Mode | None = Field(default=None, description="observe or enforce; default as mesh.yaml says.")


class PiiPattern(_Model):
    """A pattern of something to find: a secret of a known form, or what only your company knows."""

    id: Word = Field(description="Name of this rule, unique; the audit names it.")
    type: TypeName = Field(default="SECRET", description="Type of what it finds; the placeholder's name.")
    regex: PiiRegex = Field(
        description="Python regular expression. The group named `value` is what is found, else the whole match."
    )
    keywords: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="The regex is tried only where the text has one of these words in it (letter case aside).",
    )
    entropy: Annotated[str, Field(pattern=r"^[0-9](\.[0-9]{1,2})?$")] | None = Field(
        default=None, description="Least Shannon entropy of the value, in bits per character; quote it."
    )
    check: Literal["luhn", "jwt", "mixed", "assigned", "password", "encoded"] | None = Field(
        default=None, description="What the value must also pass."
    )
    score: int = Field(default=90, ge=1, le=100, description="How sure a match is, in percent.")
    context: list[Word] = Field(
        default_factory=list, description="Words near it that add 35 to the score; letter case aside, whole words."
    )


class PiiTerm(_Model):
    """Words that must not leave: project names, customers, hosts."""

    id: Word = Field(description="Name of this rule, unique; the audit names it.")
    type: TypeName = Field(default="TERM", description="Type of what it finds; the placeholder's name.")
    words: list[Annotated[str, Field(min_length=2, max_length=200)]] = Field(
        min_length=1, description="The words, whole; letter case aside. Any white space may stand between several."
    )


class PiiModel(_Model):
    """A model that finds what has no pattern: people's names, streets, organisations. Loaded in the pool's processes,
    never in the proxy's; its library must be installed beside."""

    id: Word = Field(description="Name of this rule, unique; the audit names it.")
    kind: Literal["spacy", "gliner", "transformers"] = Field(description="The library that runs it.")
    name: Word = Field(description="Package or folder of the model; nothing is downloaded.")
    entities: dict[str, TypeName] = Field(
        default_factory=lambda: {"PERSON": "PERSON"}, description="The model's labels, and the type of each."
    )


class PiiFinder(_Model):
    """The processes that search."""

    workers: int = Field(default=2, ge=1, le=64, description="How many; each takes about 150 MB, more with a model.")
    seconds: int = Field(
        default=5,
        ge=1,
        le=600,
        description="Longest search of one piece (32 kB); then it is ended and the call refused.",
    )
    new_characters: int = Field(
        default=5_000_000,
        ge=200_000,
        description="Most characters of one call that were not searched before; a call with more is refused (413), for "
        "it would only run out of its time (limits.stage_seconds).",
    )
    dense_characters: int = Field(
        default=500_000,
        ge=200_000,
        description="The same for characters around what may be a value (digits, @): they take twenty times as long.",
    )
    memory_bytes: int = Field(
        default=32 * 2**20, ge=0, description="What is remembered of texts searched before, in bytes."
    )


class Pii(_Model):
    """rules/pii.yaml: personal data and secrets: what is looked for, and what is done with it."""

    action: Treatment = Field(default="replace", description="What is done where no entry of `actions` holds.")
    actions: list[PiiAction] = Field(
        default_factory=list, description="What is done with which findings; first match wins."
    )
    least_score: int = Field(default=50, ge=1, le=100, description="Findings less sure are dropped, in percent.")
    skip: list[TypeName] = Field(default_factory=list, description="Types that are not looked for at all.")
    never: list[str] = Field(
        default_factory=list, description="Values that are never flagged, such as your public addresses."
    )
    regions: list[Annotated[str, Field(pattern=r"^[A-Z]{2}$")]] = Field(
        default_factory=lambda: ["US", "GB", "DE", "FR", "IN", "CA", "AU"],
        description="Countries whose phone numbers are known without a leading +.",
    )
    patterns: list[PiiPattern] = Field(default_factory=list, description="Patterns, the shipped ones of secrets too.")
    terms: list[PiiTerm] = Field(default_factory=list, description="Words that must not leave.")
    models: list[PiiModel] = Field(
        default_factory=list, description="Models for names, streets and organisations; none is shipped."
    )
    finder: PiiFinder = Field(default_factory=PiiFinder, description="The processes that search.")
    output: PiiOutput = Field(
        default_factory=PiiOutput, description="What is done with values in answers that the caller did not send."
    )
    vault: PiiVault = Field(
        default_factory=PiiVault, description="What is kept for conversations whose history lives at the provider."
    )
    signing: PiiSigning | None = Field(
        default=None, description="Credentials to sign changed bodies with that came signed (AWS, Bedrock)."
    )

    @property
    def known_types(self) -> frozenset[str]:
        """The types of all that is found: our own, and those that patterns, terms and models bring."""
        entities = (kind for model in self.models for kind in model.entities.values())
        own = *(rule.type for rule in self.patterns), *(rule.type for rule in self.terms)
        return frozenset([*Type, *own, *entities])
