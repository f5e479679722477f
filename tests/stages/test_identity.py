from __future__ import annotations

import asyncio
import base64
import dataclasses
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mitmproxy.http import Headers

from mitmesh.attest.jwt import Claimed
from mitmesh.attest.keys import Key
from mitmesh.attest.podinfo import PodInfo
from mitmesh.cgroups import Owner
from mitmesh.dialects.base import Call, Dialect, Operation
from mitmesh.exchange import Exchange, Mode, Target
from mitmesh.kernel import Caller
from mitmesh.pods import Pod
from mitmesh.rules import HostRule, Identities, Mesh, NetworkIdentity, Rules, RulesError, load
from mitmesh.rules.identities import CertificateIdentity, Issuer, Kubernetes
from mitmesh.stages.identity import Identity, take_claims

NOWHERE = Path("/nowhere")
"""No file of keys: the stage was not started."""
RULES = Rules(
    identities=Identities(
        networks=[NetworkIdentity(network="10.1.0.0/16", team="build", namespace="ci")],
        trust_headers_from=["10.0.0.0/8"],
    )
)


def exchange(client: str, **headers: str) -> Exchange:
    return Exchange(
        dialect=Dialect(),
        call=Call(Operation.CHAT),
        host=HostRule(id="h", match=["h"], provider="p"),
        target=Target("https", "h", 443),
        path="/",
        headers=Headers(**headers),
        rules=RULES,
        client=client,
    )


@pytest.mark.parametrize(
    ("client", "headers", "expected", "sources"),
    [
        ("192.0.2.1", {}, {}, {}),
        ("192.0.2.1", {"X_Mesh_Team": "red"}, {}, {}),
        ("10.2.0.1", {"X_Mesh_Team": "red"}, {"team": "red"}, {"team": "header"}),
        ("10.2.0.1", {"x_agentmesh_team": "red"}, {"team": "red"}, {"team": "header"}),
        ("10.2.0.1", {"x_agentmesh_team": "alias", "x_mesh_team": "own"}, {"team": "own"}, {"team": "header"}),
        (
            "10.1.0.1",
            {"X_Mesh_Team": "red", "X_Mesh_User": "ada"},
            {"team": "build", "user": "ada", "namespace": "ci"},
            {"team": "network", "user": "header", "namespace": "network"},
        ),
        (
            "10.2.0.1",
            {"X_Mesh_Tool": "bot", "User_Agent": "curl/8.5.0"},
            {"tool": "bot"},
            {"tool": "header"},
        ),
        (
            "192.0.2.1",
            {"X_Mesh_Tool": "bot", "User_Agent": "curl/8.5.0"},
            {"tool": "curl", "tool_version": "8.5.0"},
            {"tool": "user_agent", "tool_version": "user_agent"},
        ),
        ("10.2.0.1", {"X_Mesh_Namespace": "prod"}, {}, {}),
        ("", {"X_Mesh_Team": "red"}, {}, {}),
    ],
)
async def test_who_calls(
    client: str, headers: dict[str, str], expected: dict[str, str], sources: dict[str, str]
) -> None:
    """The network is believed first, headers only from those who are trusted, the User-Agent last."""
    x = exchange(client, **headers)
    await Identity(NOWHERE).request(x)
    found = {name: getattr(x.identity, name) for name in ("team", "user", "tool", "tool_version", "namespace")}
    assert {name: value for name, value in found.items() if value} == expected
    assert x.identity.sources == sources


@pytest.mark.parametrize("client", ["10.2.0.1", "192.0.2.1"])
async def test_nothing_that_identifies_leaves(client: str) -> None:
    """X-Mesh-* and X-AgentMesh-* never reach a provider, believed or not; all else does, as it was."""
    x = exchange(client)
    x.headers = Headers(
        [
            (b"X-Mesh-Team", b"a"),
            (b"x-mesh-team", b"b"),
            (b"X-MESH-Other", b"c"),
            (b"X-AgentMesh-User", b"d"),
            (b"X-Meshed", b"kept"),
            (b"x-api-key", b"kept"),
            (b"Accept", b"kept"),
        ]
    )
    await Identity(NOWHERE).request(x)
    assert x.headers.fields == ((b"X-Meshed", b"kept"), (b"x-api-key", b"kept"), (b"Accept", b"kept"))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("value", "believed"),
    [
        (b"red", True),
        (b"Team Red (EU)", True),
        (b"x" * 128, True),
        (b"x" * 129, False),
        (b"", False),
        (b" ", False),
        (b"red\x00", False),
        (b"red\x1b[31m", False),
        (b"r\xc3\xa9d", True),
        ("Größe".encode(), True),
        ("研究 α".encode(), True),
        ("ö".encode() * 128, True),
        ("ö".encode() * 129, False),
        (b"r\xe9d", False),
        (b"r\xc3", False),
        ("r\u202ed".encode(), False),
        ("r\u2066d\u2069".encode(), False),
        ("r\u200bd".encode(), False),
        ("r\ufeffd".encode(), False),
        ("r\u00add".encode(), False),
        ("r\u00a0d".encode(), False),
        ("r\u2028d".encode(), False),
        ("r\u0085d".encode(), False),
        (b"\xed\xb3\xa9", False),
        (b" red", False),
        (b"red\t", False),
        (b"admin, red", False),
    ],
)
def test_claims(value: bytes, believed: bool) -> None:
    """A claim is short printable text in UTF-8; two in one (a repeated header) are none."""
    assert ("team" in take_claims(Headers([(b"X-Mesh-Team", value)]))) is believed


def test_repeated_header_is_no_claim() -> None:
    """A client that sends a claim before the one its gateway adds is not believed."""
    headers = Headers([(b"X-Mesh-Team", b"admin"), (b"X-Mesh-Team", b"red")])
    assert take_claims(headers) == {}
    assert not headers


def caller(**rest: Any) -> Caller:
    return Caller(pid=7, uid=0, gid=0, comm="curl", cgroup=5, redirected=True, wanted=("203.0.113.9", 443), **rest)


@pytest.mark.parametrize(
    ("who", "expected"),
    [
        (caller(owner=Owner("/x.service", "x.service")), {"process": "curl[7] in x.service", "user": "root"}),
        (caller(), {"process": "curl[7] in cgroup 5"}),
        (caller(owner=Owner("/k", None, "c" * 64)), {"process": f"curl[7] in {'c' * 12}"}),
        (caller(owner=Owner("/k", None, "c" * 64, "u1")), {"process": f"curl[7] in {'c' * 12}", "pod": "u1"}),
        (
            caller(owner=Owner("/k", None, "c" * 64, "u1"), pod=Pod("prod", "web", "sa")),
            {"process": "curl[7] in prod/web", "namespace": "prod", "pod": "web", "service_account": "sa"},
        ),
    ],
)
async def test_the_kernel_comes_first(who: Caller, expected: dict[str, str]) -> None:
    """What the kernel attests no header and no network contradicts; what it does not know, others may say."""
    x = exchange("10.1.0.1", X_Mesh_User="ada")
    x.caller = who
    await Identity(NOWHERE).request(x)
    found = {name: getattr(x.identity, name) for name in ("process", "user", "namespace", "pod", "service_account")}
    others = {"user": "ada", "namespace": "ci"} | expected
    assert {name: value for name, value in found.items() if value} == others
    assert {name for name, source in x.identity.sources.items() if source == "kernel"} == set(expected)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ("certificates: {names: [{name: x}],\n  ca: FILE}", "certificates.ca"),
        ("issuers:\n- {id: a, issuer: i, audience: [m], keys: 'https://i.test', ca: FILE}", "issuers[0].ca"),
    ],
)
async def test_a_file_of_cas_that_is_none(tmp_path: Path, local: bool, rule: str, field: str) -> None:
    """The mistake is told with the file and the line it is in."""
    folder = tmp_path / "rules"
    (folder / "local").mkdir(parents=True)
    (folder / "hosts.yaml").write_text("hosts: []\n")
    name = "local/identities.yaml" if local else "identities.yaml"
    ca = tmp_path / "ca.pem"
    (folder / name).write_text(rule.replace("FILE", str(ca)))
    rules = load(folder)
    assert rules.named_files() == (ca,)
    for text, said in ((None, "cannot be read: No such file"), ("none", "has no certificate")):
        if text:
            ca.write_text(text)
        with pytest.raises(RulesError) as caught:
            Identity(NOWHERE).configure(rules)
        assert str(caught.value).startswith(f"rules/{name}:2: {field}: the file {said}")


SOURCES = ("kubernetes", "certificate", "jwt", "key", "proxy", "network", "header", "default")
"""Those that name a team, the strongest first."""
MK, PROXY_MK = "mk-" + "A" * 43, "mk-" + "B" * 43


def attested_by(*sources: str) -> tuple[Identity, Exchange]:
    """A stage and a call in which these say each its own team, named like itself."""
    rules = Rules(
        identities=Identities(
            networks=[NetworkIdentity(network="10.0.0.0/8", team="network")] if "network" in sources else [],
            trust_headers_from=["10.0.0.0/8"],
            kubernetes=Kubernetes(team_label="team"),
            unknown_team="default" if "default" in sources else None,
        )
    )
    stage = Identity(NOWHERE)
    x = exchange("10.2.0.1")
    x.rules, x.headers = rules, {}
    if "kubernetes" in sources:
        pod = PodInfo("ns", "web", "u", "sa", "Deployment/web", {"team": "kubernetes"}, None)
        stage.pods = SimpleNamespace(find=lambda _: pod)  # type: ignore[assignment]
    if "certificate" in sources:
        named = CertificateIdentity(name="*", team="certificate")
        stage._certificates = SimpleNamespace(find=lambda *_: named)  # type: ignore[assignment]
        x.certificates = (b"der",)
    if "jwt" in sources:
        x.headers["x-mesh-token"] = "token"
    if "key" in sources:
        x.headers["authorization"] = f"Bearer {MK}"
    if "proxy" in sources:
        x.proxy_credential = "Basic " + base64.b64encode(f"me:{PROXY_MK}".encode()).decode()
    if "header" in sources:
        x.headers["x-mesh-team"] = "header"

    async def verify(_: str) -> Claimed:
        return Claimed("jwt", None, None, (), 0)

    stage.tokens = SimpleNamespace(verify=verify, is_ours=lambda _: False)  # type: ignore[assignment]
    found = {MK: "key", PROXY_MK: "proxy"}
    stage.keys = SimpleNamespace(  # type: ignore[assignment]
        find=lambda text: Key(found[text], found[text], None, None, (), (), 0, None, None, ""),
        has=lambda text: text in found,
    )
    return stage, x


@pytest.mark.parametrize(("strong", "weak"), itertools.combinations(SOURCES, 2))
async def test_a_weaker_source_never_overrides(strong: str, weak: str) -> None:
    """Of any two sources the stronger one says the team, and nothing that identified the caller is left."""
    stage, x = attested_by(strong, weak)
    await stage.request(x)
    assert (x.identity.team, x.identity.sources["team"]) == (strong, strong)
    assert x.headers == {} and not x.refusal


async def test_all_at_once() -> None:
    """Each field has the strongest source that knows it."""
    stage, x = attested_by(*SOURCES)
    await stage.request(x)
    who = x.identity
    assert (who.team, who.namespace, who.owner, who.key) == ("kubernetes", "ns", "Deployment/web", "key")
    assert x.credential is None and x.wants_key


@pytest.mark.parametrize("place", ["authorization", "x-api-key", "x-goog-api-key", "api-key", "?key="])
async def test_a_token_in_a_providers_keys_place(place: str) -> None:
    """Wherever a client puts its key, a token of ours is taken out and a provider's own key goes in; others' stay."""
    for ours in (True, False):
        stage, x = attested_by()
        stage.tokens.is_ours = lambda text, ours=ours: ours and text == "a.b.c"  # type: ignore[method-assign]
        if place.startswith("?"):
            x.path = "/v1/models?key=a.b.c"
        else:
            x.headers[place] = "Bearer a.b.c" if place == "authorization" else "a.b.c"
        await stage.request(x)
        assert (x.identity.team == "jwt", x.wants_key) == (ours, ours)
        assert ("a.b.c" in f"{x.path} {x.headers}") is not ours


@pytest.mark.parametrize("names", [("x-agentmesh-token",), ("x-mesh-token", "x-agentmesh-token")])
async def test_a_token_in_the_aliass_header(names: tuple[str, ...]) -> None:
    """X-AgentMesh-Token is X-Mesh-Token, which comes before it; neither leaves."""
    stage, x = attested_by()
    verify, seen = stage.tokens.verify, []
    stage.tokens.verify = lambda token: (seen.append(token), verify(token))[1]  # type: ignore[method-assign,func-returns-value]
    x.headers |= {name: name for name in names}
    await stage.request(x)
    assert seen == [names[0]] and x.identity.team == "jwt" and x.headers == {}


@pytest.mark.parametrize("text", ["Bearer a.b.c", "bearer  a.b.c", "a.b.c", '"a.b.c"', " Bearer 'a.b.c' "])
async def test_how_a_token_is_written(text: str) -> None:
    """In X-Mesh-Token too people write Bearer before a token, and quotes around it."""
    stage, x = attested_by()
    verify, seen = stage.tokens.verify, []
    stage.tokens.verify = lambda token: (seen.append(token), verify(token))[1]  # type: ignore[method-assign,func-returns-value]
    x.headers["x-mesh-token"] = text
    await stage.request(x)
    assert seen == ["a.b.c"] and x.identity.team == "jwt" and x.headers == {}


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("what", [MK, "a.b.c"])
@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("authorization", 'Bearer "{}"'),
        ("authorization", "Bearer '{}'"),
        ("authorization", "'Bearer {}'"),
        ("authorization", "Bearer \u201c{}\u201d"),
        ("authorization", "Bearer\t{}"),
        ("authorization", "Bearer {}, Bearer sk-own"),
        ("authorization", "basic:{}:"),
        ("authorization", "basic:me:{}"),
        ("authorization", "basic:me:{}\n"),
        ("x-api-key", '"{}"'),
        ("ocp-apim-subscription-key", "{}"),
        ("path", "/v1?key=%22{}%22&alt=sse"),
    ],
)
async def test_how_a_credential_is_written(name: str, form: str, what: str) -> None:
    """In quotes, after a tab, as Basic, in another vendor's header: the caller is known by it; it does not leave."""
    stage, x = attested_by()
    stage.tokens.is_ours = lambda text: text == "a.b.c"  # type: ignore[method-assign]
    if name == "path":
        x.path = form.format(what)
    else:
        said = form.format(what)
        x.headers |= {name: basic(said.removeprefix("basic:")) if said.startswith("basic:") else said}
    await stage.request(x)
    assert x.identity.team == ("key" if what is MK else "jwt") and x.wants_key and not x.refusal
    assert x.headers == {} and x.path == ("/v1?alt=sse" if name == "path" else "/")


@pytest.mark.parametrize("value", [MK, f"Token {MK}", f'"{MK}"', basic(f"{MK}:"), f"Basic\t{basic(MK)[6:].strip('=')}"])
@pytest.mark.parametrize("name", ["x-vendor-key", "x-forwarded-authorization", "apikey"])
async def test_a_key_in_any_header(name: str, value: str) -> None:
    """A virtual key that stands by itself in a header that nobody has heard of is taken all the same."""
    stage, x = attested_by()
    x.headers |= {name: value, "authorization": "Bearer sk-own"}
    await stage.request(x)
    assert x.identity.key == "key" and x.headers == {"authorization": "Bearer sk-own"}


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("cookie", f"a=b; token={MK}; c=d", "the header cookie"),
        ("authorization", f"Bearer:{MK}", "the header authorization"),
        ("user-agent", f"bot/1.0 (key={MK})", "the header user-agent"),
        ("cookie", f"token=%22{MK}%22", "the header cookie"),
        ("x-vendor", basic(f"a:b:{MK}"), "the header x-vendor"),
        ("path", f"/v1/{MK}/chat", "the URL"),
        ("path", f"/v1?q=a+{MK}", "the URL"),
        ("path", f"/v1?q=a%2520{MK}x", "the URL"),
    ],
)
async def test_a_key_that_is_part_of_something(name: str, value: str, place: str) -> None:
    """It is not taken, and not sent either: the reason says where it is, and not what."""
    stage, x = attested_by()
    if name == "path":
        x.path = value
    else:
        x.headers[name], x.user_agent = value, value
    await stage.request(x)
    assert (
        not x.user_agent
        and x.refusal
        and x.refusal.status == 401
        and place in x.refusal.reason
        and MK not in x.refusal.reason
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cookie", "a=mk-short; b=c"),
        ("user-agent", "mk-agent/1.0 basic"),
        ("x-build", "mk-" + "b" * 44),
        ("authorization", "Bearer eyJmk-" + "c" * 60),
        ("authorization", basic("me:secret")),
        ("x-level", "basic"),
        ("x-level", "basic !"),
    ],
)
async def test_what_is_no_key(name: str, value: str) -> None:
    """Headers that only look a little like one pass as they came."""
    stage, x = attested_by()
    x.headers[name] = value
    await stage.request(x)
    assert not x.refusal and x.headers == {name: value} and x.identity.key is None


@pytest.mark.parametrize(("header", "team"), [("x-mesh-token", "key"), ("proxy", "proxy")])
async def test_a_key_in_a_tokens_place(header: str, team: str) -> None:
    """A virtual key as Bearer, where a token could be: the key is meant. The caller's own credential stays."""
    stage, x = attested_by()
    x.headers |= {"authorization": "Bearer sk-own"}
    if header == "proxy":
        x.proxy_credential = f"Bearer {PROXY_MK}"
    else:
        x.headers[header] = f"Bearer {MK}"
    await stage.request(x)
    assert x.identity.team == team and x.headers == {"authorization": "Bearer sk-own"} and not x.wants_key


async def test_two_tokens_of_ours() -> None:
    """Nobody can say which of them it is."""
    stage, x = attested_by()
    stage.tokens.is_ours = lambda _: True  # type: ignore[method-assign]
    x.headers |= {"authorization": "Bearer a.b.c", "x-api-key": "d.e.f"}
    await stage.request(x)
    assert x.refusal and x.refusal.status == 401 and x.headers == {}


@pytest.mark.parametrize("source", ["key", "proxy"])
@pytest.mark.parametrize(("scopes", "models"), [(("embeddings",), ()), ((), ("o3",))])
async def test_what_a_key_may(source: str, scopes: tuple[str, ...], models: tuple[str, ...]) -> None:
    """Scopes and models of a virtual key hold wherever it was shown: as a provider's key, or to the proxy."""
    stage, x = attested_by(source)
    find = stage.keys.find
    stage.keys.find = lambda text: dataclasses.replace(find(text), scopes=scopes, models=models)  # type: ignore[method-assign]
    await stage.request(x)
    assert x.refusal and x.refusal.status == 403


@pytest.mark.parametrize(("via", "refused"), [("forward", True), ("gateway", False), ("transparent", False)])
@pytest.mark.parametrize("shown", [None, "Basic eDp5"])
async def test_proxy_credentials_on_an_old_connection(via: str, refused: bool, shown: str | None) -> None:
    """Its CONNECT was let in before credentials were required: its next call is not."""
    stage, x = attested_by()
    x.rules, x.via, x.proxy_credential = Rules(identities=Identities(proxy_credentials="required")), via, shown
    await stage.request(x)
    assert bool(x.refusal) is refused


@pytest.mark.parametrize(
    ("rules", "team", "status"),
    [
        ({}, None, None),
        ({"unknown_team": "guests"}, "guests", None),
        ({"unknown": "refuse"}, None, 401),
    ],
)
async def test_who_is_not_known(rules: dict[str, Any], team: str | None, status: int | None) -> None:
    """Callers of whom nothing is known are let in, given a team, or refused; observed, they are let in."""
    for mode in Mode:
        x = exchange("192.0.2.1")
        x.rules = Rules(identities=Identities(**rules), mesh=Mesh(mode=mode))
        await Identity(NOWHERE).request(x)
        assert x.identity.team == team
        wanted = status if mode is Mode.ENFORCE else None
        assert (x.refusal.status if x.refusal else None) == wanted
        assert bool(x.verdicts) is (status is not None)


@pytest.mark.parametrize("unknown_team", [None, "guests"])
@pytest.mark.parametrize(
    ("source", "known"),
    [
        ("kubernetes", True),
        ("certificate", True),
        ("jwt", True),
        ("key", True),
        ("proxy", True),
        ("kernel", True),
        ("kernel process", False),
        ("network", False),
        ("header", False),
    ],
)
async def test_who_is_known_without_a_team(source: str, known: bool, unknown_team: str | None) -> None:
    """Whoever shows what holds, or runs in a namespace that the kernel or the cluster knows, is no stranger, though
    neither team nor user is said. The default team is for them too."""
    stage, x = attested_by(source)
    pod = PodInfo("ns", "web", "u", "sa", "Deployment/web", {}, None)
    if source == "kubernetes":
        stage.pods = SimpleNamespace(find=lambda _: pod)  # type: ignore[assignment]
    stage._certificates = SimpleNamespace(find=lambda *_: CertificateIdentity(name="*"))  # type: ignore[assignment]

    async def verify(_: str) -> Claimed:
        return Claimed(None, None, None, (), 0)

    stage.tokens.verify = verify  # type: ignore[method-assign]
    stage.keys.find = lambda _: Key("k", None, None, None, (), (), 0, None, None, "")  # type: ignore[method-assign]
    if source == "kernel":
        x.caller = caller(owner=Owner("/k", None, "c" * 64, "u1"), pod=Pod("prod", "web", "sa"))
    elif source == "kernel process":
        x.caller = caller()
    said: dict[str, Any] = {"unknown_team": unknown_team} if unknown_team else {"unknown": "refuse"}
    if source == "network":
        said["networks"] = [NetworkIdentity(network="10.0.0.0/8", namespace="prod")]
    x.rules, x.headers = Rules(identities=Identities(**said)), {n: v for n, v in x.headers.items() if v != "header"}
    await stage.request(x)
    assert bool(x.refusal) is not (known or unknown_team is not None) and x.identity.team == unknown_team


async def test_an_issuer_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """/health warns of it, from the start and after a change of the rules: with the source, and what is wrong."""

    def rules(name: str) -> Rules:
        issuer = Issuer(id=name, issuer=name, audience=["mesh"], keys=f"file:{tmp_path / name}")
        return Rules(identities=Identities(issuers=[issuer]))

    stage = Identity(tmp_path)
    stage.configure(rules("first.json"))
    await stage.start()
    for name in ("first.json", "second.json"):
        stage.configure(rules(name))
        async with asyncio.timeout(10):
            while "warning" not in stage.health():
                await asyncio.sleep(0.01)
        assert f"{name} cannot be read: No such file" in stage.health()["warning"]
    await stage.stop()
