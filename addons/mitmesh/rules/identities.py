"""The shape of rules/identities.yaml: how callers prove who they are, and what they may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mitmesh.exchange import Mode
from mitmesh.hostnames import parse_network
from mitmesh.rules.checks import Cidr, Word
from mitmesh.rules.models import NetworkIdentity, _Model


def _source(text: str) -> str:
    if not text.startswith(("https://", "http://127.0.0.1", "http://localhost", "file:")) or " " in text:
        raise ValueError("must be https://..., or file:PATH")
    return text


def _server(text: str) -> str:
    if not text.startswith("https://") or text.endswith("/"):
        raise ValueError("must be https://host[:port] without a slash at its end")
    return text


type KeySetSource = Annotated[str, AfterValidator(_source)]
type Glob = Annotated[str, Field(min_length=1, max_length=128)]
type ClaimPath = Annotated[str, Field(min_length=1, max_length=200)]


class Claims(_Model):
    """Which claims of a token say what; a dot leads into an object (`realm_access.roles`,
    `kubernetes.io.namespace`: the longest name that is there is meant)."""

    team: ClaimPath | None = Field(default="team", description="Claim with the team.")
    user: ClaimPath | None = Field(default="sub", description="Claim with the user.")
    tier: ClaimPath | None = Field(default="tier", description="Claim with the tier.")
    roles: ClaimPath | None = Field(default="roles", description="Claim with a list of roles, or words in one text.")


class Issuer(_Model):
    """Whose tokens (JWT) are believed. `none` and shared secrets (HS256 ...) never are."""

    id: Word = Field(description="Name of this rule, unique.")
    issuer: Annotated[str, Field(min_length=1, max_length=500)] = Field(description="The claim `iss`, exactly.")
    audience: list[Word] = Field(
        min_length=1, description="One of these must be in the claim `aud`, or in `audience_claim`."
    )
    audience_claim: Literal["aud", "azp", "client_id"] = Field(
        default="aud",
        description="Where tokens say for whom they are. Some issuers leave `aud` out, and name a client alone: Clerk "
        "in `azp`, Amazon Cognito's access tokens in `client_id`.",
    )
    keys: KeySetSource = Field(
        description="Its public keys (JWKS): https://..., or file:PATH. Read again when a token names a key that is "
        "not there (at most every 30 s), and every ten minutes."
    )
    ca: Annotated[str, Field(min_length=1)] | None = Field(
        default=None,
        description="PEM file of the CAs that its server's certificate is of; else those that providers' are.",
    )
    algorithms: list[Literal["RS256", "ES256", "EdDSA"]] = Field(
        default=["RS256", "ES256", "EdDSA"], min_length=1, description="How its tokens may be signed."
    )
    leeway: int = Field(default=30, ge=0, le=600, description="Seconds that clocks may differ.")
    claims: Claims = Field(default_factory=Claims, description="Which claims say what.")

    @model_validator(mode="after")
    def _ca_of_a_server(self) -> Self:
        if self.ca and not self.keys.startswith("https://"):
            raise ValueError("must have `ca` only with `keys` by https://")
        return self


class CertificateIdentity(_Model):
    """Who presents a client certificate with this name."""

    name: Glob = Field(
        description="A DNS name, e-mail or URI (SPIFFE) of the subject's alternative names, or its common name; `*` is "
        "any text."
    )
    team: Word | None = Field(default=None, description="Its team.")
    user: Word | None = Field(default=None, description="Its user; `name` stands for the name itself.")
    namespace: Word | None = Field(default=None, description="Its Kubernetes namespace.")
    service_account: Word | None = Field(default=None, description="Its service account.")


class Certificates(_Model):
    """Client certificates (mTLS), where clients speak TLS to a listener of ours (mitmproxy's `certs` and
    `request_client_cert`)."""

    ca: Annotated[str, Field(min_length=1)] = Field(description="PEM file of the CAs that issue them.")
    names: list[CertificateIdentity] = Field(min_length=1, description="Who is who; first match wins.")


class Kubernetes(_Model):
    """Pods by their address, from a live watch of the API server. Needs get, list and watch on pods, and no more."""

    server: Annotated[str, AfterValidator(_server)] = Field(
        default="https://kubernetes.default.svc", description="The API server."
    )
    ca: str = Field(
        default="/var/run/secrets/kubernetes.io/serviceaccount/ca.crt", description="PEM file of the CA that signs it."
    )
    token: str = Field(
        default="/var/run/secrets/kubernetes.io/serviceaccount/token",
        description="File with a bearer token; read again for each connection, for it is renewed.",
    )
    namespace: Word | None = Field(default=None, description="Only pods of this namespace; all if empty.")
    node: Word | None = Field(default=None, description="Only pods on this node; all if empty.")
    team_label: Word | None = Field(default=None, description="The pods' label that says the team.")
    pods: int = Field(default=50_000, ge=1, description="Most pods that are remembered; more is a problem in /health.")


class ModelRule(_Model):
    """Which models a team may use. The first rule for a team decides. Each model that a call names must be allowed,
    those that it falls back to (`models`, `fallbacks`) too."""

    id: Word = Field(description="Name of this rule, unique; refusals and the audit name it.")
    team: Word | None = Field(default=None, description="For this team; for all callers if empty.")
    allow: list[Glob] = Field(
        default_factory=list, min_length=1, description="Only these models; `*` is any text. All if not given."
    )
    refuse: list[Glob] = Field(default_factory=list, min_length=1, description="Not these; stronger than `allow`.")
    mode: Mode | None = Field(default=None, description="observe or enforce; default as mesh.yaml says.")


class Identities(_Model):
    """rules/identities.yaml: who is behind a call, and what they may ask for."""

    networks: list[NetworkIdentity] = Field(default_factory=list, description="Ranges, first match wins.")
    trust_headers_from: list[Cidr] = Field(
        default_factory=list, description="Ranges whose X-Mesh-Team, -User and -Tool headers are believed."
    )
    issuers: list[Issuer] = Field(default_factory=list, description="Whose tokens are believed.")
    certificates: Certificates | None = Field(default=None, description="Client certificates.")
    kubernetes: Kubernetes | None = Field(default=None, description="Pods by their address.")
    proxy_credentials: Literal["optional", "required"] = Field(
        default="optional",
        description="required: the forward proxy takes no connection without Proxy-Authorization (407): a virtual key "
        "as the password, or a token as Bearer.",
    )
    unknown: Literal["allow", "refuse"] = Field(
        default="allow",
        description="What becomes of calls of which neither team nor user is known. Who shows a key, a token or a "
        "certificate that holds, or runs where the kernel or the cluster knows the namespace or the service account, "
        "is known.",
    )
    unknown_team: Word | None = Field(
        default=None,
        description="The team of all callers of whom neither is known; only with `unknown: allow`.",
    )
    models: list[ModelRule] = Field(default_factory=list, description="Which models a team may use.")

    def meaningless(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """What can have no effect: the place of each, and what is wrong with it."""
        if self.unknown == "refuse" and self.unknown_team:
            yield ("unknown_team",), "must not be given with `unknown: refuse`, which lets no such caller in"
        ranges = [parse_network(entry.network) for entry in self.networks]
        for index, entry in enumerate(self.networks):
            # One that says nothing may keep a part of a later, larger range out of it.
            silent = not (entry.team or entry.user or entry.namespace)
            if silent and not any(later.overlaps(ranges[index]) for later in ranges[index + 1 :]):
                yield ("networks", index), "must have a team, a user or a namespace"
        for index, rule in enumerate(self.models):
            if not (rule.team or rule.allow or rule.refuse):
                yield ("models", index), "must have `allow` or `refuse`, or the team that may use all models"

    @model_validator(mode="after")
    def _unique(self) -> Self:
        for name, entries in (("issuers", self.issuers), ("models", self.models)):
            ids = [entry.id for entry in entries]
            if len(set(ids)) < len(ids):
                raise ValueError(f"must not have two entries of {name} with one id")
        if len({issuer.issuer for issuer in self.issuers}) < len(self.issuers):
            raise ValueError("must not have two issuers of the same name")
        cas = {issuer.keys: issuer.ca for issuer in self.issuers}
        if any(cas[issuer.keys] != issuer.ca for issuer in self.issuers):
            raise ValueError("must not have two issuers with the same `keys` and another `ca`")
        return self
