"""The shape of rules/cache.yaml: which answers are kept, for whom, and for how long."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mitmesh.exchange import Mode
from mitmesh.rules.checks import HeaderName, Number, Word
from mitmesh.rules.models import _Model


class CacheSkip(_Model):
    """Calls that are neither answered from the cache nor kept in it. All that are given must hold."""

    team: Word | None = Field(default=None, description="The caller's team.")
    namespace: Word | None = Field(default=None, description="The caller's namespace.")
    user: Word | None = Field(default=None, description="The caller's user.")
    tool: Word | None = Field(default=None, description="The caller's tool.")
    provider: Word | None = Field(default=None, description="Who serves the call.")
    model: Word | None = Field(default=None, description="The model asked for; `*` is any text.")


class CacheWait(_Model):
    """Calls that are the same at the same time: one asks the provider, the others wait for its answer."""

    seconds: int = Field(
        default=30,
        ge=0,
        le=300,
        description="How long a call waits for another's answer before it asks the provider itself, in seconds. 0: "
        "none waits.",
    )
    calls: int = Field(default=100, ge=1, le=10_000, description="How many calls may wait for one answer.")


class CacheNormalise(_Model):
    """What makes no other call of it, in the last user turn, outside code and quotes. `unicode` and `whitespace` change
    nothing that a model answers to. The others suit questions to an assistant, not prompts that make the user's text
    their material (translate, proofread, count what I say) by the system prompt; where the turn itself asks about form,
    they do nothing."""

    unicode: bool = Field(default=True, description="Letters composed or not (NFC).")
    whitespace: bool = Field(
        default=True,
        description="How many spaces between words of prose, and empty lines; indentation counts, and so do spaces "
        "between signs, numbers and single letters.",
    )
    markdown: bool = Field(default=False, description="Marks of emphasis and headings.")
    politeness: bool = Field(default=False, description="Greeting, please and thanks before and after.")
    persona: bool = Field(
        default=False, description="A first sentence that says no more than: know the subject (`You are an expert.`)."
    )
    dates: bool = Field(default=False, description="How a date is written that can be read in one way only.")
    thousands: bool = Field(default=False, description="Commas between thousands.")
    spelling: bool = Field(default=False, description="British or American spelling of everyday words.")


class CacheSemantic(_Model):
    """Answers to questions that mean the same, found by a model. All but the last user turn must be equal, and the
    values behind placeholders too; numbers, names, negation, code and the like must agree."""

    enabled: bool = Field(default=False, description="Whether answers are found by meaning. `exact` must be on.")
    least_similarity: Number = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Least cosine of both questions' vectors, where more is wanted than what was learned "
        "(0.85 to 0.965, less where they share more words).",
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="Another sentence-transformers model than the one that is shipped: a folder, or a name it has "
        "already. It runs in a process of its own.",
    )
    python: str = Field(
        default="python3",
        min_length=1,
        max_length=500,
        description="The interpreter for that process; it has sentence-transformers.",
    )
    seconds: Number = Field(
        default=0.5,
        gt=0,
        le=10,
        description="How long a call may be looked for by meaning before it goes on as a miss, in seconds; always less "
        "than a tenth of limits.stage_seconds of mesh.yaml.",
    )
    most_entries: int = Field(
        default=100_000,
        ge=10,
        le=1_000_000,
        description="How many answers each worker can find by meaning (about 1 KB of memory each); the newest.",
    )

    @model_validator(mode="after")
    def _alike(self) -> CacheSemantic:
        if self.model is not None and not self.least_similarity:
            raise ValueError("`model` needs `least_similarity`: what was learned is for the model that is shipped")
        return self


class Cache(_Model):
    """rules/cache.yaml: which answers are kept, for whom, and for how long."""

    mode: Mode | None = Field(
        default=None, description="observe only records what would have been answered; default as mesh.yaml says."
    )
    exact: bool = Field(default=True, description="Answer a call that was answered before, word for word.")
    normalise: CacheNormalise = Field(
        default_factory=CacheNormalise, description="Differences of form that make no other call of it."
    )
    semantic: CacheSemantic = Field(default_factory=CacheSemantic, description="Answers found by meaning.")
    vendor: bool = Field(
        default=False,
        description="Set breakpoints (`cache_control`) of Anthropic's own prompt cache where tools, system prompt or "
        "history come again within five minutes: at most four with the client's own, behind those, in metered calls "
        "to Anthropic, Vertex and Azure, never in a signed one.",
    )
    tenant: Literal["team", "namespace"] = Field(
        default="team",
        description="Who shares answers. A caller whose team (or namespace) nothing attests (a header or default does "
        "not) shares only under its own credential; with none, and unknown, it is never answered from the cache.",
    )
    ttl_seconds: int = Field(
        default=86_400, ge=1, le=366 * 86_400, description="How old an answer may be that is given again, in seconds."
    )
    most_temperature: Number = Field(
        default=1.0,
        ge=0,
        le=2,
        description="A call that sets a higher `temperature` asks for variety: it is never answered from the cache.",
    )
    tool_calls: bool = Field(default=False, description="Whether answers that call tools are kept.")
    embeddings: bool = Field(default=True, description="Whether embeddings are kept (exact only).")
    ignore_headers: list[HeaderName] = Field(
        default_factory=list,
        description="Request headers that do not change an answer, besides the known ones: any other header is part of "
        "what must be equal.",
    )
    skip: list[CacheSkip] = Field(default_factory=list, description="Calls that the cache leaves alone.")
    most_bytes: int = Field(
        default=512 * 2**20, ge=2**20, description="Size of the answers kept on disk; the least used go, in bytes."
    )
    most_entries: int = Field(default=100_000, ge=10, description="How many answers are kept.")
    entry_bytes: int = Field(
        default=2**20, ge=1024, le=16 * 2**20, description="Largest answer that is kept, in bytes."
    )
    memory_bytes: int = Field(
        default=32 * 2**20, ge=0, description="Answers also held in memory, by each worker, in bytes."
    )
    wait: CacheWait = Field(default_factory=CacheWait, description="Calls that are the same at the same time.")

    @model_validator(mode="after")
    def _layers(self) -> Cache:
        if self.semantic.enabled and not self.exact:
            raise ValueError("`semantic.enabled` needs `exact: true`: what is found by meaning is kept by that layer")
        return self
