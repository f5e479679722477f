"""Who calls, with real SDKs over real TLS: virtual keys, tokens, proxy credentials, models by team."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google import genai
from joserfc import jwt
from joserfc.jwk import ECKey

from attest.clients import SERVER, Issuer
from e2e.certs import Authority
from e2e.conftest import MakeMesh, reachable
from e2e.mesh import RAW_TEXT, WAYS, Mesh
from e2e.provider import Provider, wait_for
from e2e.sdks import Kind, ask
from mitmesh.attest.keys import KeyFile

REAL = "sk-real-provider-key-000111222"
SIGNER = ECKey.generate_key("P-256", {"kid": "one"})
PROVIDERS = """
providers:
  openai: {base_url: https://api.openai.com, api_key: env:REAL_KEY}
  anthropic: {base_url: https://api.anthropic.com, api_key: env:REAL_KEY}
  google: {base_url: https://generativelanguage.googleapis.com, api_key: env:REAL_KEY}
"""
WHO = """
issuers:
- {{id: login, issuer: "https://login.test", audience: [mesh], keys: "file:{keys}"}}
models:
- {{id: red-models, team: red, refuse: ["*-forbidden"]}}
"""
AUTH = {"openai": openai.AuthenticationError, "anthropic": anthropic.AuthenticationError,
        "google": genai.errors.ClientError}  # fmt: skip
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello"}]}
URL = "https://api.openai.com/v1/chat/completions"


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, names: dict[str, Provider], authority: Authority) -> Iterator[Mesh]:
    """One mesh with an issuer, providers' keys and a file of virtual keys."""
    folder = tmp_path_factory.mktemp("identity")
    (folder / "keys.json").write_text(json.dumps({"keys": [SIGNER.as_dict(private=False)]}))
    local = {
        "mesh.yaml": RAW_TEXT,
        "egress.yaml": reachable(names),
        "routes.yaml": PROVIDERS,
        "identities.yaml": WHO.format(keys=folder / "keys.json"),
    }
    environ = {"REAL_KEY": REAL}
    mesh = Mesh(folder / "mesh", resolve=names, trust=authority.ca, local=local, environ=environ).start()
    yield mesh
    mesh.stop()


def virtual(mesh: Mesh, **what: Any) -> tuple[str, str]:
    """A virtual key that the mesh knows, and its id."""
    given = {"team": "red", "user": "ada", "tier": None, "scopes": (), "models": (), "expires": None, "note": ""}
    key, text = KeyFile(mesh.data).create(**given | what)
    time.sleep(1.2)  # the proxy looks twice a second
    return text, key.id


def token(**claims: Any) -> str:
    said = {"iss": "https://login.test", "aud": "mesh", "exp": int(time.time()) + 600, "sub": "bob", "team": "blue"}
    return jwt.encode({"alg": "ES256", "kid": "one"}, said | claims, SIGNER, algorithms=["ES256"])


def post(mesh: Mesh, headers: dict[str, str], body: Any = CHAT, **client: Any) -> httpx.Response:
    trust = ssl.create_default_context(cafile=str(mesh.ca))
    with httpx.Client(proxy=client.pop("proxy", mesh.proxy), verify=trust, trust_env=False) as http:
        return http.post(client.pop("url", URL), json=body, headers=headers)


@pytest.fixture(scope="module")
def red(known: Mesh) -> tuple[str, str]:
    return virtual(known)


@pytest.mark.parametrize("way_name", WAYS)
def test_a_virtual_key_with_each_sdk(
    kind: Kind, way_name: str, known: Mesh, red: tuple[str, str], provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider gets its own key, the audit the id of the virtual one and whose it is."""
    monkeypatch.setattr("e2e.sdks.KEY", red[0])
    got = ask(kind, known.way(way_name))
    (seen,) = provider.calls
    raw = seen.body + seen.target.encode() + json.dumps(seen.headers).encode()
    assert REAL.encode() in raw and b"mk-" not in raw
    row = known.exchange(got.id)
    assert (row["key_id"], row["team"], row["user"], row["credential_hash"]) == (red[1], "red", "ada", None)
    assert json.loads(row["identity_sources"])["team"] == "key"


@pytest.mark.parametrize("way_name", ["forward-h2", "gateway"])
def test_keys_that_do_not_hold(
    kind: Kind, way_name: str, known: Mesh, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown key is the SDK's ordinary error, and never leaves."""
    monkeypatch.setattr("e2e.sdks.KEY", "mk-" + "A" * 43)
    with pytest.raises(AUTH[_of(kind)]) as caught:
        ask(kind, known.way(way_name))
    assert (getattr(caught.value, "status_code", None) or getattr(caught.value, "code", None)) == 401
    assert provider.calls == []


def _of(kind: Kind) -> str:
    name = kind.name
    return "anthropic" if "anthropic" in name else "google" if "gemini" in name or "google" in name else "openai"


def test_a_key_in_any_form_stays_here(known: Mesh, red: tuple[str, str], provider: Provider) -> None:
    """In lower case, in quotes, in the query, beside another credential: the key is taken out; two keys are none."""
    forms = [f"bearer {red[0]}", f'Bearer "{red[0]}"', f"Bearer\t{red[0]}", httpx.BasicAuth(red[0], "")._auth_header]
    for headers in ({"x-vendor": red[0]}, {"x-api-key": red[0]}, *({"authorization": form} for form in forms)):
        assert post(known, headers).status_code == 200
    assert post(known, {"cookie": f"token={red[0]}"}).status_code == 401
    gemini = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent?key="
    said = {"contents": [{"parts": [{"text": "Say hello"}]}]}
    assert post(known, {}, said, url=gemini + red[0]).status_code == 200
    other, _ = virtual(known, team="other")
    assert post(known, {"authorization": f"Bearer {red[0]}", "x-api-key": other}).status_code == 401
    assert len(provider.calls) == 7
    for seen in provider.calls:
        assert b"mk-" not in seen.body + seen.target.encode() + json.dumps(seen.headers).encode()


def test_scopes_models_and_an_end(known: Mesh, provider: Provider) -> None:
    """A key is good for what it names, and until it is revoked."""
    text, key_id = virtual(known, models=("gpt-4o*",), scopes=("chat",), team=None, user=None)
    headers = {"authorization": f"Bearer {text}"}
    assert post(known, headers).status_code == 200
    refused = post(known, headers, {**CHAT, "model": "o3"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "key.model")
    vectors = post(known, headers, {"model": "gpt-4o-e", "input": "x"}, url="https://api.openai.com/v1/embeddings")
    assert (vectors.status_code, vectors.json()["error"]["code"]) == (403, "key.scope")
    KeyFile(known.data).revoke(key_id)
    time.sleep(1.2)
    assert post(known, headers).status_code == 401
    assert len(provider.calls) == 1


def test_tokens(known: Mesh, provider: Provider) -> None:
    """A token says who calls, and stays here; a forged, expired or oversized one is 401; a foreign one passes."""
    answer = post(known, {"authorization": "Bearer sk-own", "x-mesh-token": token(roles=["dev"])})
    assert answer.status_code == 200
    row = known.exchange(answer.headers["x-mesh-id"])
    assert (row["team"], row["user"]) == ("blue", "bob") and json.loads(row["identity_sources"])["team"] == "jwt"
    (seen,) = provider.calls
    assert seen.header("authorization") == "Bearer sk-own" and seen.header("x-mesh-token") is None
    good = token()
    for bad in (good[:-4] + "AAAA", token(exp=int(time.time()) - 100), token(aud="x"), "a." + "b" * 20_000 + ".c"):
        refused = post(known, {"authorization": "Bearer sk-own", "x-mesh-token": bad})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "credential")
    provider.clear()
    foreign = jwt.encode({"alg": "ES256"}, {"iss": "https://auth.openai.com"}, SIGNER, algorithms=["ES256"])
    assert post(known, {"authorization": f"Bearer {foreign}"}).status_code == 200
    assert provider.call().header("authorization") == f"Bearer {foreign}"


def test_a_token_at_the_gateway(known: Mesh, provider: Provider) -> None:
    """In Authorization it is taken out, and the gateway's own key goes to the provider."""
    answer = post(known, {"authorization": f"Bearer {token()}"}, url=f"{known.gateway}/v1/chat/completions", proxy=None)
    assert answer.status_code == 200
    assert provider.call().header("authorization") == f"Bearer {REAL}"


def test_models_by_team(known: Mesh, red: tuple[str, str], provider: Provider) -> None:
    """What a team may not use is refused, for that team."""
    body = {**CHAT, "model": "gpt-forbidden"}
    refused = post(known, {"authorization": f"Bearer {red[0]}"}, body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "red-models")
    assert post(known, {"authorization": "Bearer sk-own"}, body).status_code == 200


def test_nothing_is_kept(known: Mesh, red: tuple[str, str], provider: Provider) -> None:
    """Keys and tokens are in no file, no log, no metric."""
    post(known, {"authorization": f"Bearer {red[0]}", "x-mesh-token": (shown := token())})
    said = known.control("/metrics") + known.control("/health")
    secrets = [red[0].encode(), REAL.encode(), shown.rpartition(".")[2].encode()]
    assert not [secret for secret in secrets if secret in said]
    folder = Path(known.data)
    for file in [*folder.rglob("*"), known.log_file]:
        if file.is_file():
            assert not [secret for secret in secrets if secret in file.read_bytes()], file.name


@pytest.mark.quick
def test_proxy_credentials(make_mesh: MakeMesh, provider: Provider, plain: Provider) -> None:
    """Where they are required nothing passes without them, what is tunnelled neither."""
    mesh = make_mesh(local={"identities.yaml": "proxy_credentials: required\nunknown: refuse\n"}).start()
    text, key_id = virtual(mesh)
    with_key = mesh.proxy.replace("http://", f"http://me:{text}@")
    for url in (URL, "https://plain.example/"):
        with pytest.raises(httpx.ProxyError, match="407"):
            post(mesh, {}, url=url)
        with pytest.raises(httpx.ProxyError, match="407"):
            post(mesh, {}, url=url, proxy=mesh.proxy.replace("http://", f"http://me:mk-{'A' * 43}@"))
    answer = post(mesh, {"authorization": "Bearer sk-own"}, proxy=with_key)
    assert answer.status_code == 200
    row = mesh.exchange(answer.headers["x-mesh-id"])
    assert (row["key_id"], row["team"]) == (key_id, "red") and json.loads(row["identity_sources"])["team"] == "proxy"
    seen = provider.call()
    assert seen.header("authorization") == "Bearer sk-own" and seen.header("proxy-authorization") is None
    for url in (URL.replace("https:", "http:"), "http://plain.example/"):
        for headers in ({}, {"proxy-authorization": f"Bearer mk-{'A' * 43}"}, {"proxy-authorization": "Basic eDp5"}):
            refused = post(mesh, {"authorization": "Bearer sk-own"} | headers, url=url)
            assert refused.status_code == 407 and "Basic" in refused.headers["proxy-authenticate"], (url, headers)
        assert post(mesh, {}, "x" * 10**6, url=url).status_code == 407  # nothing of it is held
    assert plain.calls == []
    assert post(mesh, {}, url="http://plain.example/echo", proxy=with_key).status_code == 200
    assert plain.call().header("proxy-authorization") is None
    gate = post(mesh, {"authorization": "Bearer sk-own"}, url=f"{mesh.gateway}/v1/chat/completions", proxy=None)
    assert (gate.status_code, gate.json()["error"]["code"]) == (401, "unknown")


def test_client_certificates(
    tmp_path: Path, names: dict[str, Provider], authority: Authority, provider: Provider
) -> None:
    """A client shows its certificate where it speaks TLS to us; that of another CA, an expired and a server's one are
    401, one that no rule names and none at all are nobody, whatever their headers say."""
    issuer, spiffe = Issuer(), x509.UniformResourceIdentifier("spiffe://corp.example/ns/ci/sa/agent")
    (tmp_path / "ca.pem").write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
    rule = f"{{ca: {tmp_path / 'ca.pem'}, names: [{{name: 'spiffe://*/sa/agent', team: agents, user: name}}]}}"
    local = {"mesh.yaml": RAW_TEXT, "egress.yaml": reachable(names), "identities.yaml": f"certificates: {rule}\n"}
    options = ("--set", "request_client_cert=true")
    mesh = Mesh(tmp_path / "mesh", resolve=names, trust=authority.ca, local=local, options=options).start()

    def call(file: Path | None) -> httpx.Response:
        trust = ssl.create_default_context(cafile=str(mesh.ca))
        if file:
            trust.load_cert_chain(file)
        with httpx.Client(proxy=mesh.proxy, verify=trust, trust_env=False) as http:
            return http.post(URL, json=CHAT, headers={"authorization": "Bearer sk-own", "x-mesh-team": "red"})

    try:
        answer = call(issuer.written(tmp_path / "good.pem", spiffe))
        row = mesh.exchange(answer.headers["x-mesh-id"])
        assert (answer.status_code, row["team"], row["user"]) == (200, "agents", spiffe.value)
        assert json.loads(row["identity_sources"])["team"] == "certificate"
        for file in (
            Issuer().written(tmp_path / "other.pem", spiffe),
            issuer.written(tmp_path / "old.pem", spiffe, days=-1),
            issuer.written(tmp_path / "server.pem", spiffe, usage=(SERVER,)),
        ):
            assert call(file).status_code == 401
        for nobody in (issuer.written(tmp_path / "else.pem", x509.DNSName("else.example")), None):
            answer = call(nobody)
            assert (answer.status_code, mesh.exchange(answer.headers["x-mesh-id"])["team"]) == (200, None)
        assert len(provider.calls) == 3
        other = Issuer()
        (tmp_path / "ca.pem").write_bytes(other.certificate.public_bytes(Encoding.PEM))
        file = other.written(tmp_path / "new.pem", spiffe)
        wait_for(lambda: call(file).status_code == 200, "the changed file of CAs is in force")
        assert call(tmp_path / "good.pem").status_code == 401
        (tmp_path / "ca.pem").write_text("none")
        wait_for(lambda: mesh.health()["warnings"], "the damaged file is told of")
        assert (
            "rules/local/identities.yaml:1: certificates.ca: the file has no certificate"
            in mesh.health()["warnings"][0]
        )
        assert call(file).status_code == 200
    finally:
        mesh.stop()


def test_a_certificate_shown_to_the_listener_itself(
    tmp_path: Path, names: dict[str, Provider], authority: Authority, provider: Provider
) -> None:
    """To the proxy, reached by TLS, and to the gateway, whose certificate is localhost's; inside the proxy's tunnel a
    client needs none, and one that it shows there is the one that counts."""
    issuer, uri = Issuer(), x509.UniformResourceIdentifier
    (tmp_path / "ca.pem").write_bytes(issuer.certificate.public_bytes(Encoding.PEM))
    rule = f"{{ca: {tmp_path / 'ca.pem'}, names: [{{name: '*', user: name}}]}}"
    local = {"mesh.yaml": RAW_TEXT, "egress.yaml": reachable(names), "identities.yaml": f"certificates: {rule}\n"}
    options = ("--set", "request_client_cert=true")
    mesh = Mesh(tmp_path / "mesh", resolve=names, trust=authority.ca, local=local, options=options).start()

    def trusting(name: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(mesh.ca))
        if name:
            context.load_cert_chain(issuer.written(tmp_path / f"{name}.pem", uri(f"spiffe://{name}")))
        return context

    def user(url: str, inner: str | None, outer: str | None, via: str) -> str | None:
        proxy = httpx.Proxy(mesh.proxy.replace("http://127.0.0.1", "https://localhost"), ssl_context=trusting(outer))
        with httpx.Client(proxy=proxy if via == "proxy" else None, verify=trusting(inner), trust_env=False) as http:
            answer = http.post(url, json=CHAT, headers={"authorization": "Bearer sk-own"})
        assert answer.status_code == 200, answer.text
        found: str | None = mesh.exchange(answer.headers["x-mesh-id"])["user"]
        return found

    try:
        assert user(URL, None, None, "proxy") is None
        assert user(URL, None, "outer", "proxy") == "spiffe://outer"
        assert user(URL, "inner", "outer", "proxy") == "spiffe://inner"
        gateway = mesh.gateway.replace("http://127.0.0.1", "https://localhost") + "/v1/chat/completions"
        assert user(gateway, "gate", None, "gateway") == "spiffe://gate"
    finally:
        mesh.stop()


def test_a_token_too_long_does_not_leave(known: Mesh, provider: Provider) -> None:
    """One of our issuer's is refused as such, wherever it stands; it is not taken for a provider's key."""
    for name in ("authorization", "x-api-key", "x-mesh-token"):
        long = token(more="x" * 20_000)
        assert post(known, {name: f"Bearer {long}" if name == "authorization" else long}).status_code == 401
    assert provider.calls == []


def test_a_start_without_what_others_have(make_mesh: MakeMesh, provider: Provider, tmp_path: Path) -> None:
    """An issuer that is away and a damaged file of keys are no reason for nobody to be served: calls that need neither
    go on, and those that do are refused with the reason."""
    mesh = make_mesh(local={"identities.yaml": WHO.format(keys=tmp_path / "not-there.json")})
    (mesh.data / "keys.db").write_bytes(b"no database at all" * 100)
    mesh.start()
    warnings = json.loads(mesh.control("/health"))["warnings"]
    assert any("not-there.json" in said for said in warnings)
    verify = ssl.create_default_context(cafile=mesh.ca)
    with httpx.Client(proxy=mesh.proxy, verify=verify, trust_env=False, timeout=20) as http:
        assert http.post(URL, json=CHAT, headers={"authorization": "Bearer sk-own"}).status_code == 200
        refused = http.post(URL, json=CHAT, headers={"x-mesh-token": token(sub="ann")})
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "keys_unavailable")
        assert http.post(URL, json=CHAT, headers={"authorization": f"Bearer mk-{'a' * 43}"}).status_code == 401
    assert len(provider.calls) == 1
