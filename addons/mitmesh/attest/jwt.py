"""Tokens (JWT): verified against the issuers of rules/identities.yaml, or not believed at all."""

from __future__ import annotations

import base64
import json
import logging
import re
import secrets
import time
import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from joserfc import jwt
from joserfc.errors import (
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
)
from joserfc.jwk import Key, KeySet
from joserfc.jws import JWSRegistry

from mitmesh.attest import Rejected
from mitmesh.attest.keysets import KeySets
from mitmesh.rules.identities import Issuer

# joserfc warns of the name EdDSA, which RFC 9864 split; issuers will go on using it for years.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", module="joserfc")

LONGEST = 16 * 1024
"""Characters of a token; no header of a request that serious servers take is longer."""
REMEMBERED = 4096
"""Tokens that were verified before: an agent sends the same one with every call."""
MOST_TRIED = 8
"""Keys that are tried for a token: of those with the name it says, or of all if it says none."""
_KINDS = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP", "Ed25519": "OKP"}
_ALGORITHM = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,11}")
"""One that may be named in an answer."""
_WHY = {
    "aud": "audience (aud) is none of those that the rules name",
    "nbf": "time has not come yet (nbf), by the clock here",
    "iat": "time of issue (iat) has not come yet, by the clock here",
}
"""What is wrong with a claim, in other words than that it does not hold."""
_WORD = 128
"""Characters of a name; as the rules and claims in headers have them."""

log = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Claimed:
    """What a token says of its holder, after its signature held. `until` is when it expires (seconds since 1970)."""

    team: str | None
    user: str | None
    tier: str | None
    roles: tuple[str, ...]
    until: float


class Tokens:
    """Verifies tokens. `clock` gives seconds since 1970."""

    def __init__(self, keysets: KeySets, clock: Callable[[], float] = time.time) -> None:
        self._keysets, self._clock = keysets, clock
        self._issuers: dict[str, Issuer] = {}
        self._names: frozenset[str] = frozenset()
        """The issuers, without a slash at the end: people leave it out, and such a token is ours all the same."""
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, tuple[KeySet, Claimed]] = OrderedDict()
        """Tokens that held, and the keys by which: with others they are verified anew, for one may be withdrawn."""

    def configure(self, issuers: list[Issuer]) -> None:
        """Believe these issuers from now on."""
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._names = frozenset(name.rstrip("/") for name in self._issuers)
        self._known.clear()
        self._keysets.configure({issuer.keys: issuer.ca for issuer in issuers})

    def is_ours(self, token: str) -> bool:
        """Does it claim to be of an issuer of ours, or is it a token of which nobody can say? Others' are none of our
        business: a provider may use such too."""
        if not self._issuers or token.count(".") != 2:
            return False
        claims = claims_of(token)
        if claims is not None and str(claims.get("iss")).rstrip("/") in self._names:
            return True
        return (claims is None or len(token) > LONGEST) and header_of(token) is not None

    async def verify(self, token: str) -> Claimed:
        """What it says, if all of it holds. Raises Rejected, and KeysUnavailable where the issuer's keys are not to be
        had."""
        if len(token) > LONGEST:
            raise Rejected(f"the token is longer than {LONGEST} characters")
        said = claims_of(token)
        if said is None:
            raise Rejected("the token cannot be read")
        issuer = self._issuers.get(str(said.get("iss")))
        if issuer is None:
            but = ", but for a slash at its end" if str(said.get("iss")).rstrip("/") in self._names else ""
            raise Rejected(f"its issuer is not one of rules/identities.yaml{but}")
        keys = await self._keysets.get(issuer.keys)
        name = blake2b(token.encode("utf-8", "surrogatepass"), key=self._secret, digest_size=16).digest()
        known = self._known.get(name)
        if known is not None and known[0] is keys and known[1].until > self._clock():
            self._known.move_to_end(name)
            return known[1]
        self._known.pop(name, None)
        keys, claims = await self._decoded(token, issuer, keys)
        claimed = self._held(claims, issuer)
        self._known[name] = (keys, claimed)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return claimed

    async def _decoded(self, token: str, issuer: Issuer, keys: KeySet) -> tuple[KeySet, dict[str, Any]]:
        """What a token says whose signature holds, and by which keys: if by none that we know, they may be new."""
        header = _header(token, issuer)
        try:
            return keys, _decode(token, header, keys)
        except Rejected:
            newer = await self._keysets.get(issuer.keys, anew=True)
            if newer is keys:
                raise
            return newer, _decode(token, header, newer)

    def _held(self, claims: dict[str, Any], issuer: Issuer) -> Claimed:
        now = int(self._clock())
        wanted: dict[str, jwt.ClaimsOption] = {
            "iss": {"essential": True, "value": issuer.issuer},
            issuer.audience_claim: {"essential": True, "values": issuer.audience},
            "exp": {"essential": True},
        }
        registry = jwt.JWTClaimsRegistry(now=now, leeway=issuer.leeway, **wanted)
        try:
            registry.validate(claims)
        except ExpiredTokenError:
            raise Rejected("the token has expired") from None
        except MissingClaimError as error:
            raise Rejected(f"the token has no claim {_word(error.claim)}") from None
        except InvalidClaimError as error:
            why = _WHY.get(error.claim, f"claim {_word(error.claim)} does not hold")
            raise Rejected(f"the token's {why}") from None
        except JoseError:
            raise Rejected("the token's claims do not hold") from None
        return _claimed(claims, issuer)


class _Registry(JWSRegistry):
    """Takes one algorithm. Header members that nobody knows are ignored (RFC 7515, section 4); what they and a chain of
    certificates (`x5c`) take is bounded by LONGEST alone."""

    max_header_length = max_signature_length = LONGEST

    def __init__(self, algorithm: str) -> None:
        super().__init__(algorithms=[algorithm], strict_check_header=False)


def _header(token: str, issuer: Issuer) -> dict[str, Any]:
    """The header of a token, of which its signature must hold yet. Raises Rejected where it is none to go by."""
    header = header_of(token)
    if header is None:
        raise Rejected("the token's header cannot be read, or names no algorithm")
    algorithm = header["alg"]
    allowed = [*issuer.algorithms, *(["Ed25519"] if "EdDSA" in issuer.algorithms else [])]  # RFC 9864's name
    if algorithm not in allowed:
        named = f" ({algorithm})" if _ALGORITHM.fullmatch(algorithm) else ""
        raise Rejected(f"the token's algorithm{named} is not one that the rules allow")
    if "crit" in header or header.get("b64", True) is not True:
        raise Rejected("the token's header demands (crit, b64) what is not understood here")
    return header


def _decode(token: str, header: dict[str, Any], keys: KeySet) -> dict[str, Any]:
    named = [key for key in keys.keys if key.kid == header["kid"]] if "kid" in header else keys.keys
    if not named:
        raise Rejected("the token names a key that its issuer does not have")
    registry = _Registry(header["alg"])
    for key in _fitting(header["alg"], named):
        try:
            return dict(jwt.decode(token, key, registry=registry).claims)
        except (JoseError, ValueError, TypeError, RecursionError):
            continue
    if "kid" not in header:
        raise Rejected("the token names no key, and is signed by none that fits")
    raise Rejected("the token's signature does not hold")


def _fitting(algorithm: str, keys: list[Key]) -> list[Key]:
    """Those that are for this algorithm."""
    kind = _KINDS[algorithm]
    return [key for key in keys if key.key_type == kind and key.alg in (None, algorithm)][:MOST_TRIED]


def claims_of(token: str) -> dict[str, Any] | None:
    """What a token says; nothing of that is verified. None where it cannot be read."""
    return _part(token, 1)


def header_of(token: str) -> dict[str, Any] | None:
    """The header of what has the shape of a token: three parts, and an algorithm in the first (RFC 7515); else None."""
    header = _part(token, 0) if token.count(".") == 2 else None
    return header if header is not None and isinstance(header.get("alg"), str) else None


def _part(token: str, index: int) -> dict[str, Any] | None:
    try:
        part = token.split(".", 2)[index]
        said = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, IndexError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def _claimed(claims: dict[str, Any], issuer: Issuer) -> Claimed:
    names = issuer.claims
    roles = _at(claims, names.roles)
    if isinstance(roles, str):
        roles = roles.split()
    words = tuple(word for role in roles if (word := _word(role))) if isinstance(roles, list) else ()
    return Claimed(
        _word(_at(claims, names.team)), _word(_at(claims, names.user)), _word(_at(claims, names.tier)), words[:64],
        float(claims["exp"]) + issuer.leeway,
    )  # fmt: skip


def _at(claims: Any, path: str | None) -> Any:
    """The claim of that name, else the one that its dots lead to. A name may have dots itself (a URL, kubernetes.io):
    the longest one that is there is meant."""
    if path is None or not isinstance(claims, dict):
        return None
    if path in claims:
        return claims[path]
    steps = path.split(".")
    for count in range(len(steps) - 1, 0, -1):
        found = _at(claims.get(".".join(steps[:count])), ".".join(steps[count:]))
        if found is not None:
            return found
    return None


def _word(value: Any) -> str | None:
    """A name fit for rules, the audit and metrics; anything else is none. What is longer ends in a hash of the whole:
    two that only begin alike are not one."""
    if not isinstance(value, str) or not value.isprintable():
        return None
    name = value.strip()
    if len(name) > _WORD:
        mark = blake2b(name.encode(), digest_size=8).hexdigest()
        name = name[: _WORD - len(mark)] + mark
    return name or None
