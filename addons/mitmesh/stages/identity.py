"""Who calls: by what the kernel, the cluster, certificates, tokens, keys, networks and trusted headers attest."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mitmesh.attest import Rejected
from mitmesh.attest.allowed import in_scope, may_use, rule_for, runs_a_model
from mitmesh.attest.certificates import CertificateCheck
from mitmesh.attest.jwt import Tokens
from mitmesh.attest.keys import Key, KeyRing
from mitmesh.attest.keysets import KeySets, KeysUnavailable, trusting
from mitmesh.attest.kubernetes import PodWatch
from mitmesh.attest.shown import bare, is_key, shown_to_proxy, still_there, take_claims, take_keys, take_shown
from mitmesh.exchange import Mode
from mitmesh.identities import networks
from mitmesh.kernel import user_name
from mitmesh.rules import RulesError
from mitmesh.stage import Stage
from mitmesh.useragent import tool_of

if TYPE_CHECKING:
    from mitmesh.exchange import Exchange
    from mitmesh.exchange import Identity as Who
    from mitmesh.kernel import Caller
    from mitmesh.rules import Rules
    from mitmesh.rules.identities import Kubernetes

MOST_USERS = 1024
"""Names of users that are remembered."""
TOKENS = ("x-mesh-token", "x-agentmesh-token")
"""A header for a token of the company's, where Authorization is the provider's; the first before its alias."""

PROOFS = frozenset({"certificate", "jwt", "key", "proxy"})
"""Sources that speak only where a credential held: whoever shows one is known, though it may name nobody."""
PLACES = frozenset({"kernel", "kubernetes"})
"""Sources that know a caller by its namespace or its service account."""


class Identity(Stage):
    """Attests who calls, the strongest source first, and takes what identifies out of what leaves. `data` is the
    folder with the file of virtual keys; `trust` a file of CA certificates for issuers."""

    name = "identity"

    def __init__(self, data: Path, trust: str | None = None) -> None:
        self._users: dict[int, str] = {}
        """Names by uid; a machine has few."""
        self.keys, self.keysets = KeyRing(data), KeySets(trust)
        self.tokens = Tokens(self.keysets)
        self._certificates: CertificateCheck | None = None
        self.pods: PodWatch | None = None
        self._changing: asyncio.Task[None] | None = None
        self._cluster: Kubernetes | None = None

    def configure(self, rules: Rules) -> None:
        """Take issuers and certificates' CAs from the rules. Raises RulesError where a CA's file cannot be used."""
        who = rules.identities
        try:
            self._certificates = CertificateCheck(who.certificates) if who.certificates else None
        except (OSError, ValueError) as error:
            raise RulesError(f"{rules.where('identities', 'certificates', 'ca')}: {_unusable(error)}") from None
        for index, issuer in enumerate(who.issuers):
            try:
                if issuer.ca:
                    trusting(issuer.ca)
            except (OSError, ValueError) as error:
                raise RulesError(f"{rules.where('identities', 'issuers', index, 'ca')}: {_unusable(error)}") from None
        self.tokens.configure(who.issuers)
        if self._changing is not None:  # it was started
            self.keysets.read_ahead()
        if who.kubernetes != self._cluster and self._changing is not None:
            self._changing = asyncio.get_running_loop().create_task(self._watch(who.kubernetes, self._changing))
        self._cluster = who.kubernetes

    async def start(self) -> None:
        """Read the virtual keys, begin to watch pods. Raises AuditError where the folder's key is damaged."""
        await self.keys.start()
        self.keysets.read_ahead()
        self._changing = asyncio.get_running_loop().create_task(self._watch(self._cluster, None))
        await self._changing

    async def stop(self) -> None:
        """Let go of the file of keys, of issuers and of the cluster."""
        await asyncio.gather(self.keys.stop(), self.keysets.stop())
        if self._changing:
            await self._watch(None, self._changing)

    async def _watch(self, cluster: Kubernetes | None, before: asyncio.Task[None] | None) -> None:
        """Watch this cluster's pods in place of the one before."""
        if before:
            await asyncio.gather(before, return_exceptions=True)
        old, self.pods = self.pods, PodWatch(cluster) if cluster else None
        if old:
            await old.stop()
        if self.pods:
            await self.pods.start()

    async def request(self, x: Exchange) -> None:
        """Fill `x.identity`, and refuse who may not call; what identifies the caller leaves headers and URL."""
        known, trusted = networks(x.rules).find(x.client)
        who = x.identity
        if x.caller:
            who.attest("kernel", **await self._attested(x.caller))
        if pod := self.pods.find(x.client) if self.pods else None:
            cluster = x.rules.identities.kubernetes
            team = pod.labels.get(cluster.team_label) if cluster and cluster.team_label else None
            who.attest(
                "kubernetes", namespace=pod.namespace, pod=pod.name, service_account=pod.service_account,
                owner=pod.owner, team=team,
            )  # fmt: skip
        token, alias = (x.headers.pop(name, None) for name in TOKENS)
        token = token or alias
        claims = take_claims(x.headers)
        try:
            keys = await self._credentials(x, token)
        except Rejected as error:
            # Enforced whatever the mode: who shows a false credential is nobody.
            said = f"Your credential was not accepted: {error}. Get a new one, or leave it out."
            x.refuse(self.name, "credential", said, status=401, type="invalid_credential", mode=Mode.ENFORCE)
            return
        except KeysUnavailable:  # which source, the log and /health say
            said = "The keys of your token's issuer cannot be read now, so nobody can say whether it holds. Try again."
            kind = {"status": 503, "type": "keys_unavailable", "retry_after": 30, "mode": Mode.ENFORCE}
            x.refuse(self.name, "issuer", said, **kind)
            return
        who.attest("network", team=known.team, user=known.user, namespace=known.namespace)
        if claims and trusted:
            who.attest("header", team=claims.get("team"), user=claims.get("user"), tool=claims.get("tool"))
        agent = x.headers.get("user-agent")
        if agent and who.tool is None:
            tool, version = tool_of(agent)
            who.attest("user_agent", tool=tool, tool_version=version)
        self._judge(x, keys)

    async def _credentials(self, x: Exchange, token: str | None) -> list[Key]:
        """Certificate, tokens, keys and proxy credentials, in this order; raises Rejected for one that does not hold.
        Returns the virtual keys that were shown: what each of them may, holds."""
        who = x.identity
        if self._certificates and x.certificates:
            named = self._certificates.find(x.certificates, time.time())
            if named:
                who.attest("certificate", **named.model_dump(exclude={"name"}))
        token = bare(token) if token else None
        x.path, shown = take_shown(x.headers, x.path, self.tokens.is_ours)
        instead = self._instead_of_key(x, shown, "tokens")
        if x.user_agent and still_there({"": x.user_agent}, "", self.keys.has):
            x.user_agent = None  # for the audit keeps it
        x.path, shown = take_keys(x.headers, x.path)
        for each in filter(None, (token, instead)):
            if not is_key(each):
                await self._token(x, each, "jwt")
        texts = [token if token and is_key(token) else None, self._instead_of_key(x, shown, "virtual keys")]
        keys = [self._key(x, text, "key") for text in texts if text]
        x.headers.pop("proxy-authorization", None)
        if place := still_there(x.headers, x.path, self.keys.has):
            raise Rejected(f"{place} has a virtual key in a form that is not read; send it as Authorization: Bearer")
        if key := await self._proxy(x):
            keys.append(key)
        return keys

    async def _token(self, x: Exchange, token: str, source: str) -> None:
        claimed = await self.tokens.verify(token)
        x.identity.attest(source, team=claimed.team, user=claimed.user, tier=claimed.tier)
        x.identity.take_roles(source, claimed.roles)

    def _key(self, x: Exchange, text: str, source: str) -> Key:
        key = self.keys.find(text)
        x.identity.attest(source, key=key.id, team=key.team, user=key.user, tier=key.tier)
        return key

    def _instead_of_key(self, x: Exchange, shown: list[str], what: str) -> str | None:
        """The credential of ours that was taken from a provider's key's place: the route puts the provider's own there.
        Whatever looks like one is one, so that none leaves for a provider."""
        if len(set(shown)) > 1:
            raise Rejected(f"it has two {what}")
        if not shown:
            return None
        x.credential, x.wants_key = None, True
        return shown[0]

    async def _proxy(self, x: Exchange) -> Key | None:
        """What the client told the proxy of itself, for this call or for its connection; the virtual key, if that."""
        shown = x.proxy_credential
        required = x.rules.identities.proxy_credentials == "required" and x.via == "forward"
        secret, token = shown_to_proxy(shown) if shown else (None, None)
        if token:
            await self._token(x, token, "proxy")
        elif secret and is_key(secret):
            return self._key(x, secret, "proxy")
        elif required:  # of a connection from before they were, too
            raise Rejected("Proxy-Authorization must be a virtual key as the password, or a token as Bearer")
        return None

    async def login(self, header: str | None, rules: Rules) -> str | None:
        """May who shows this Proxy-Authorization (None: nothing) have a connection? None, or why not."""
        required = rules.identities.proxy_credentials == "required"
        if header is None:
            wanted = "this proxy wants credentials: a virtual key as the password, or a token as Bearer"
            return wanted if required else None
        secret, token = shown_to_proxy(header)
        try:
            if token:
                await self.tokens.verify(token)
            elif secret and is_key(secret):
                self.keys.find(secret)
            elif required:
                return "these are no credentials of mitmesh's: a virtual key as the password, or a token as Bearer"
        except Rejected as error:
            return str(error)
        return None

    def _judge(self, x: Exchange, keys: Sequence[Key]) -> None:
        """May they, at all, ask for this?"""
        who, rules = x.identity, x.rules.identities
        if not (who.team or who.user):
            if rules.unknown == "refuse" and not _is_known(who):
                said = "This caller is not known, and the rules serve only those who are; see rules/identities.yaml."
                x.refuse(self.name, "unknown", said, status=401, type="unknown_caller")
            who.attest("default", team=rules.unknown_team)
        this = "every model that this call names" if x.call.others else "this model"
        rule = rule_for(who.team, rules.models)
        runs_one = runs_a_model(x.method, x.path, x.provider, x.operation)
        if rule and not may_use(x.call, rule.allow, rule.refuse, runs_one=runs_one):
            whose = f"Team {who.team!r} may" if rule.team else "Callers here may"
            said = f"{whose} not use {this}. Ask for another, or have rules/identities.yaml allow it."
            x.refuse(self.name, rule.id, said, type="model_not_allowed", **({"mode": rule.mode} if rule.mode else {}))
        for key in keys:
            if not in_scope(x.operation, key):
                said = f"This virtual key is not for {x.operation.value} calls."
                x.refuse(self.name, "key.scope", said, type="key_scope", mode=Mode.ENFORCE)
            elif not may_use(x.call, key.models, runs_one=runs_one):
                said = f"This virtual key is not for {this}."
                x.refuse(self.name, "key.model", said, type="model_not_allowed", mode=Mode.ENFORCE)

    async def _attested(self, caller: Caller) -> dict[str, str | None]:
        """What the kernel says, as fields of an identity."""
        claims: dict[str, str | None] = {"process": caller.text}
        if caller.pod:
            pod = caller.pod
            claims |= {"namespace": pod.namespace, "pod": pod.name, "service_account": pod.service_account}
        elif caller.owner and caller.owner.pod:
            claims["pod"] = caller.owner.pod  # its uid: nobody told its name yet
        elif caller.on_host:
            if caller.uid not in self._users:
                if len(self._users) > MOST_USERS:
                    self._users.clear()
                self._users[caller.uid] = await asyncio.to_thread(user_name, caller.uid)
            claims["user"] = self._users[caller.uid]
        return claims

    def health(self) -> dict[str, Any]:
        """How many keys there are, how old issuers' keys are, and what is wrong with either."""
        said: dict[str, Any] = {"keys": len(self.keys), "issuers": self.keysets.health()}
        if self.pods:
            said["kubernetes"] = self.pods.health()
        if warnings := [*filter(None, [self.keys.problem]), *self.keysets.problems()]:
            said["warning"] = "; ".join(warnings)
        return said


def _is_known(who: Who) -> bool:
    """Did the caller prove who it is, or did the kernel or the cluster say where it runs? With a team or without."""
    places = (who.sources.get("namespace"), who.sources.get("service_account"))
    return not PROOFS.isdisjoint(who.heard) or not PLACES.isdisjoint(places)


def _unusable(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
        return "the file has no certificate (PEM)"
    return f"the file cannot be read: {error.strerror}"
