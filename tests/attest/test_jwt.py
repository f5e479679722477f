"""Tokens: what is believed, and what is not."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from attest.clock import Clock
from mitmesh.attest import Rejected
from mitmesh.attest import jwt as module
from mitmesh.attest.jwt import LONGEST, REMEMBERED, Claimed, Tokens, header_of
from mitmesh.attest.keysets import LOOK, STALE, KeySets, KeysUnavailable
from mitmesh.rules.identities import Claims, Issuer

NOW = 1_800_000_000
GOOD = {"iss": "https://login.test", "aud": "mesh", "exp": NOW + 60, "sub": "ada", "team": "red", "tier": "gold",
        "roles": ["dev", "ops"]}  # fmt: skip
KEYS: dict[str, Any] = {
    "RS256": RSAKey.generate_key(2048, {"kid": "r"}),
    "ES256": ECKey.generate_key("P-256", {"kid": "e"}),
    "EdDSA": OKPKey.generate_key("Ed25519", {"kid": "o"}),
}


def write(file: Path, *keys: Any) -> None:
    file.write_text(json.dumps({"keys": [key.as_dict(private=False) for key in keys]}))


def issuer(file: Path, name: str = "https://login.test", **more: Any) -> Issuer:
    return Issuer(id=name, issuer=name, audience=["mesh", "mesh2"], keys=f"file:{file}", **more)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(tmp_path: Path, clock: Clock) -> Tokens:
    """Tokens of one issuer, whose keys lie in a file."""
    write(tmp_path / "keys.json", *KEYS.values())
    made = Tokens(KeySets(clock=clock), clock=lambda: NOW + clock.now)
    made.configure([issuer(tmp_path / "keys.json")])
    return made


def signed(claims: dict[str, Any], alg: str = "ES256", key: Any = None, kid: str | None = None, **head: Any) -> str:
    key = key or KEYS[alg]
    named = {"kid": kid or key.kid} if kid or key.kid else {}
    return jwt.encode({"alg": alg, **named, **head}, claims, key, algorithms=[alg])


@pytest.mark.parametrize("alg", KEYS)
async def test_each_algorithm(tokens: Tokens, alg: str) -> None:
    """A token that holds says who its holder is."""
    assert await tokens.verify(signed(GOOD, alg)) == Claimed("red", "ada", "gold", ("dev", "ops"), NOW + 90.0)


async def test_ed25519_by_its_own_name(tokens: Tokens) -> None:
    """RFC 9864 calls EdDSA with that curve Ed25519."""
    assert (await tokens.verify(signed(GOOD, "Ed25519", KEYS["EdDSA"]))).user == "ada"


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://evil.test"},
        {"aud": "other"},
        {"aud": "meshes"},
        {"aud": ["x", "y"]},
        {"exp": NOW - 31},
        {"exp": "9999999999"},
        {"nbf": NOW + 31},
    ],
)
async def test_claims_that_do_not_hold(tokens: Tokens, change: dict[str, Any]) -> None:
    """Issuer, audience and times must hold, with the leeway; nothing is quoted."""
    with pytest.raises(Rejected) as caught:
        await tokens.verify(signed(GOOD | change))
    assert "evil" not in str(caught.value)


async def test_long_names_are_told_apart(tokens: Tokens) -> None:
    """Two that only begin alike are two, of at most 128 characters; one of so many stays as it is."""
    names = ["x" * 128, "x" * 129, "x" * 200, "x" * 200 + "ü"]
    said = [await tokens.verify(signed(GOOD | {"sub": name, "team": name, "roles": [name]})) for name in names]
    assert said[0].user == names[0] and said[1].user == "x" * 112 + "18de14b9d8eea5a3"
    for users in ({each.user for each in said}, {each.team for each in said}, {each.roles for each in said}):
        assert len(users) == len(names)
    assert {len(each.user or "") for each in said} == {128}


@pytest.mark.parametrize("missing", ["iss", "aud", "exp"])
async def test_claims_that_are_missing(tokens: Tokens, missing: str) -> None:
    """Without them a token is good for anybody, or for ever."""
    with pytest.raises(Rejected):
        await tokens.verify(signed({name: value for name, value in GOOD.items() if name != missing}))


async def test_what_holds(tokens: Tokens) -> None:
    """One audience of several, and clocks that differ a little."""
    assert await tokens.verify(signed(GOOD | {"aud": ["x", "mesh2"]}))
    assert await tokens.verify(signed(GOOD | {"exp": NOW - 29, "nbf": NOW + 30}))


async def test_forged(tokens: Tokens) -> None:
    """No signature, another's, a shared secret made of the public key, other claims: none is believed."""
    head, body, mark = signed(GOOD).split(".")
    other = signed(GOOD | {"sub": "eve"}).split(".")[1]
    secret = OctKey.import_key(KEYS["RS256"].as_pem(private=False).hex())
    for token in (
        f"{head}.{other}.{mark}",
        f"{head}.{body}.",
        f"eyJhbGciOiJub25lIn0.{body}.",
        f"eyJhbGciOiJub25lIn0.{body}.{mark}",
        signed(GOOD, key=ECKey.generate_key("P-256"), kid="e"),
        signed(GOOD, key=ECKey.generate_key("P-256"), kid="unknown"),
        signed(GOOD, "HS256", secret, kid="r"),
        "",
        "a.b.c",
        "\udcff.é.x",
    ):
        with pytest.raises(Rejected):
            await tokens.verify(token)


@pytest.mark.parametrize("alg", KEYS)
async def test_a_token_that_names_no_key(tmp_path: Path, tokens: Tokens, alg: str) -> None:
    """Of several keys those that are for its algorithm are tried; what none of them signed is said rightly."""
    others = [ECKey.generate_key("P-384"), ECKey.generate_key("P-256"), OKPKey.generate_key("X25519")]
    write(tmp_path / "keys.json", *others, *KEYS.values())
    token = jwt.encode({"alg": alg}, GOOD, KEYS[alg], algorithms=[alg])
    assert "kid" not in (header_of(token) or {})
    assert (await tokens.verify(token)).user == "ada"
    stranger = jwt.encode({"alg": "ES256"}, GOOD, ECKey.generate_key("P-256"), algorithms=["ES256"])
    with pytest.raises(Rejected, match="names no key"):
        await tokens.verify(stranger)
    with pytest.raises(Rejected, match="names a key that its issuer does not have"):
        await tokens.verify(signed(GOOD, key=ECKey.generate_key("P-256"), kid="unknown"))


@pytest.mark.parametrize(
    "head",
    [
        {"cat": "cl_B7d4PD111AAA"},
        {"nonce": "x", "x5t": "a"},
        {"signer": "arn:aws:x", "client": "c", "exp": 1},
        {"x5c": ["A" * 3000]},
        {"b64": True},
    ],
)
async def test_a_header_with_more_in_it(tokens: Tokens, head: dict[str, Any]) -> None:
    """Members of a header that nobody knows are ignored (RFC 7515, section 4): Clerk, Entra and AWS have some."""
    assert (await tokens.verify(signed_by_hand(head))).user == "ada"


@pytest.mark.parametrize(
    "head",
    [{"crit": ["exp"], "exp": 1}, {"crit": ["b64"], "b64": False}, {"b64": False}, {"crit": []}, {"b64": None}],
)
async def test_a_header_that_demands_more(tokens: Tokens, head: dict[str, Any]) -> None:
    """But those that must be understood, and are not."""
    with pytest.raises(Rejected, match="demands"):
        await tokens.verify(signed_by_hand(head))


@pytest.mark.parametrize(
    ("algorithm", "said"),
    [
        ("PS256", r"algorithm \(PS256\) is not one that the rules allow"),
        ("HS256", r"algorithm \(HS256\) is not"),
        ("none", r"algorithm \(none\) is not"),
        ("ES256", r"algorithm \(ES256\) is not"),
        ("<b>" + "x" * 300, "algorithm is not one that the rules allow"),
    ],
)
async def test_an_algorithm_that_is_not_allowed(
    tmp_path: Path, tokens: Tokens, clock: Clock, algorithm: str, said: str
) -> None:
    """The reason says so, for it is not the signature; nobody asks the issuer for other keys."""
    tokens.configure([issuer(tmp_path / "keys.json", algorithms=["RS256"])])
    await tokens._keysets.get(f"file:{tmp_path / 'keys.json'}")
    (tmp_path / "keys.json").unlink()
    with pytest.raises(Rejected, match=said):
        await tokens.verify(signed_by_hand({"alg": algorithm}))


async def test_two_keys_of_one_name(tmp_path: Path, tokens: Tokens) -> None:
    """Of those the ones that are for the token's algorithm are tried."""
    same = {"kid": "e"}
    write(tmp_path / "keys.json", RSAKey.generate_key(2048, same), ECKey.generate_key("P-256", same), KEYS["ES256"])
    assert (await tokens.verify(signed(GOOD))).user == "ada"


def signed_by_hand(head: dict[str, Any]) -> str:
    """A token with a header that no library would write."""
    said = f"{packed({'alg': 'ES256', 'kid': 'e'} | head)}.{packed(GOOD)}"
    r, s = decode_dss_signature(KEYS["ES256"].private_key.sign(said.encode(), ECDSA(SHA256())))
    return f"{said}.{packed(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def packed(said: object) -> str:
    raw = said if isinstance(said, bytes) else json.dumps(said).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@pytest.mark.parametrize(
    ("token", "ours"),
    [
        (f"{packed({'alg': 'RS256'})}.{packed({'iss': 'https://login.test'})}.x", True),
        (f"no-header.{packed({'iss': 'https://login.test'})}.x", True),
        (f"{packed({'alg': 'RS256'})}.{packed({'iss': 'https://theirs.test'})}.x", False),
        (f"{packed({'alg': 'HS256'})}.{packed({'api_key': 'x'})}.x", False),  # a provider's own, without issuer
        (f"{packed({'alg': 'RS256'})}.{packed({'iss': 'https://theirs.test', 'x': 'y' * LONGEST})}.x", True),
        (f"{packed({'alg': 'RS256'})}.{packed(b'not JSON')}.x", True),
        (f"{packed({'alg': 'RS256'})}.{packed(['https://login.test'])}.x", True),
        (f"{packed({'alg': 'RS256'})}.%%%.x", True),
        (f"{packed({'typ': 'JWT'})}.{packed(b'not JSON')}.x", False),
        ("sk-proj.v1." + "x" * 20_000, False),
        ("sk." + "x" * LONGEST + ".y", False),
        ("x" * 20_000, False),
        (f"{packed({'alg': 'dir', 'enc': 'A256GCM'})}.a.b.c.d", False),
    ],
)
def test_whose_a_token_is(tokens: Tokens, token: str, ours: bool) -> None:
    """In a provider's key's place: ours by its issuer, or where it has a token's shape and nobody can say whose it is.
    Providers' own keys and tokens pass; without issuers all do."""
    assert tokens.is_ours(token) is ours
    tokens.configure([])
    assert not tokens.is_ours(token)


async def test_oversized(tokens: Tokens) -> None:
    """A token longer than any header is not even read."""
    with pytest.raises(Rejected, match="longer"):
        await tokens.verify(f"a.{'b' * LONGEST}.c")


async def test_an_issuer_signs_for_itself_alone(tmp_path: Path, clock: Clock) -> None:
    """The key of one issuer makes no tokens of another."""
    mine, theirs = ECKey.generate_key("P-256", {"kid": "e"}), ECKey.generate_key("P-256", {"kid": "e"})
    write(tmp_path / "a.json", mine)
    write(tmp_path / "b.json", theirs)
    tokens = Tokens(KeySets(clock=clock), clock=lambda: NOW)
    tokens.configure([issuer(tmp_path / "a.json"), issuer(tmp_path / "b.json", "https://b.test")])
    assert await tokens.verify(signed(GOOD, key=mine))
    with pytest.raises(Rejected):
        await tokens.verify(signed(GOOD, key=theirs))


@pytest.mark.parametrize("kid", [{"kid": "new"}, {"kid": "e"}, {}])
async def test_rotation_of_a_file(tmp_path: Path, tokens: Tokens, clock: Clock, kid: dict[str, str]) -> None:
    """A file that was put in another's place holds within a second, whatever its keys are called: new tokens pass, and
    those of the key before do not, though they were believed a moment ago."""
    old = signed(GOOD)
    assert await tokens.verify(old)
    new = ECKey.generate_key("P-256", kid or None)
    write(tmp_path / "next.json", new)
    (tmp_path / "next.json").replace(tmp_path / "keys.json")
    clock.now = LOOK + 0.1
    assert (await tokens.verify(signed(GOOD, key=new))).user == "ada"
    with pytest.raises(Rejected):
        await tokens.verify(old)


async def test_keys_that_cannot_be_read(tmp_path: Path, tokens: Tokens, clock: Clock) -> None:
    """The keys that were read hold for a day; then nobody can be believed. Never read: neither."""
    assert await tokens.verify(signed(GOOD))
    (tmp_path / "keys.json").unlink()
    clock.now = STALE - 10
    assert await tokens.verify(signed(GOOD | {"exp": NOW + 10**6, "jti": "1"}))
    clock.now = STALE + 10
    with pytest.raises(KeysUnavailable, match=r"keys\.json"):
        await tokens.verify(signed(GOOD | {"exp": NOW + 10**6, "jti": "2"}))
    (tmp_path / "none.json").write_text("{}")
    tokens.configure([issuer(tmp_path / "none.json")])
    with pytest.raises(KeysUnavailable):
        await tokens.verify(signed(GOOD))


async def test_remembered_until_it_expires(tokens: Tokens, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token seen before costs no signature, and is not believed past its time or after its issuer is gone."""
    token = signed(GOOD)
    await tokens.verify(token)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_decode", None)
        assert await tokens.verify(token)
    clock.now = 91
    with pytest.raises(Rejected):
        await tokens.verify(token)
    tokens.configure([])
    with pytest.raises(Rejected):
        await tokens.verify(token)


async def test_memory_is_bounded(tokens: Tokens) -> None:
    """As many tokens are remembered as may be."""
    for n in range(40):
        await tokens.verify(signed(GOOD | {"jti": str(n)}))
    assert len(tokens._known) == 40 < REMEMBERED


async def test_claims_by_rule(tmp_path: Path, clock: Clock) -> None:
    """The rules say which claims say what; a dot leads into an object, roles may be words of one text."""
    write(tmp_path / "keys.json", KEYS["ES256"])
    claims = Claims(team="org.unit", user="email", tier=None, roles="realm.roles")
    tokens = Tokens(KeySets(clock=clock), clock=lambda: NOW)
    tokens.configure([issuer(tmp_path / "keys.json", claims=claims)])
    said = GOOD | {"org": {"unit": "blue"}, "email": "a@b.example", "realm": {"roles": "x y"}}
    assert await tokens.verify(signed(said)) == Claimed("blue", "a@b.example", None, ("x", "y"), NOW + 90.0)
    odd = await tokens.verify(signed(GOOD | {"org": "text", "email": "a\nb", "realm": {"roles": [1, "z"]}}))
    assert (odd.team, odd.user, odd.roles) == (None, None, ("z",))


@pytest.mark.parametrize(
    ("claims", "path"),
    [
        ({"https://corp.example/team": "red"}, "https://corp.example/team"),
        ({"https://corp.example/app": {"team": "red"}}, "https://corp.example/app.team"),
        ({"kubernetes.io": {"namespace": "red"}}, "kubernetes.io.namespace"),
        ({"resource_access": {"my.app": {"team": "red"}}}, "resource_access.my.app.team"),
        ({"a.b": {"c": "red"}, "a": {"b": {"c": "blue"}}}, "a.b.c"),
    ],
)
async def test_claims_whose_names_have_dots(tmp_path: Path, clock: Clock, claims: dict[str, Any], path: str) -> None:
    """Auth0 and Okta name claims by URLs, Kubernetes by kubernetes.io, Keycloak by clients' names."""
    write(tmp_path / "keys.json", KEYS["ES256"])
    tokens = Tokens(KeySets(clock=clock), clock=lambda: NOW)
    tokens.configure([issuer(tmp_path / "keys.json", claims=Claims(team=path))])
    assert (await tokens.verify(signed({name: GOOD[name] for name in ("iss", "aud", "exp")} | claims))).team == "red"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"aud": "other"}, r"audience \(aud\) is none of those"),
        ({"nbf": NOW + 60}, "has not come yet"),
        ({"iat": NOW + 60}, "has not come yet"),
        ({"jti": 5}, "claim jti does not hold"),
        ({"iss": "https://login.test/"}, "but for a slash at its end"),
        ({"iss": "https://other.test/"}, r"identities\.yaml$"),
    ],
)
async def test_what_is_wrong_is_said(tokens: Tokens, change: dict[str, Any], said: str) -> None:
    """So that nobody need guess; and a token of an issuer that is written with a slash more does not leave."""
    with pytest.raises(Rejected, match=said):
        await tokens.verify(token := signed(GOOD | change))
    assert tokens.is_ours(token) is ("other" not in str(change.get("iss")))


@pytest.mark.parametrize("claim", ["azp", "client_id"])
async def test_where_the_audience_is(tmp_path: Path, tokens: Tokens, claim: Any) -> None:
    """Clerk and Amazon Cognito name the client alone: only where the rules say so, and then it must hold."""
    said = {name: value for name, value in GOOD.items() if name != "aud"}
    with pytest.raises(Rejected, match="no claim aud"):
        await tokens.verify(signed(said | {claim: "mesh"}))
    tokens.configure([issuer(tmp_path / "keys.json", audience_claim=claim)])
    assert (await tokens.verify(signed(said | {claim: "mesh"}))).user == "ada"
    for wrong in (said | {claim: "other"}, said | {claim: 5}, said | {claim: {"mesh": 1}}, said, GOOD):
        with pytest.raises(Rejected, match=f"claim {claim}"):
            await tokens.verify(signed(wrong))


def test_whose(tokens: Tokens) -> None:
    """Tokens of issuers that are not ours are left alone: a provider may use such too."""
    assert tokens.is_ours(signed(GOOD))
    for other in (signed(GOOD | {"iss": "https://auth.openai.com"}), "sk-abc", "a.b.c", "", "..", "x.e30.y"):
        assert not tokens.is_ours(other)
    assert tokens.is_ours(signed(GOOD | {"long": "x" * 3 * LONGEST}))  # refused as ours, not sent to a provider
